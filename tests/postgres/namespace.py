"""A network of its own for one process, joined to this machine's by one link that can be taken down: what is sent
then goes nowhere, and nobody is told. It needs root and the right to make networks.
"""

from __future__ import annotations

import os
import subprocess
from random import Random
from typing import Self


class NoNamespaces(Exception):
    """This machine, or this user, cannot have them; the message says why."""


class Namespace:
    """A network namespace and its link. `link` is this side's address with its mask."""

    def __init__(self) -> None:
        dice = Random(os.urandom(8))
        network = f"198.18.{dice.randrange(256)}.{4 * dice.randrange(64)}"  # kept for tests of networks
        begin, _, last = network.rpartition(".")
        self.link = f"{begin}.{int(last) + 1}/30"
        self.name = f"nrw{dice.randrange(1 << 32):08x}"
        self._there = f"{begin}.{int(last) + 2}/30"

    @property
    def command(self) -> list[str]:
        """What goes before a command that is to run in it."""
        return ["ip", "netns", "exec", self.name]

    def cut(self) -> None:
        self._run("link", "set", f"{self.name}a", "down")

    def heal(self) -> None:
        self._run("link", "set", f"{self.name}a", "up")

    def __enter__(self) -> Self:
        """Raises NoNamespaces."""
        inside = ("-n", self.name)
        try:
            self._run("netns", "add", self.name)
        except (OSError, subprocess.CalledProcessError) as error:
            raise NoNamespaces(_why(error)) from error
        try:
            ends = (f"{self.name}a", "type", "veth", "peer", "name", f"{self.name}b")
            self._run("link", "add", *ends, "netns", self.name)
            self._run("address", "add", self.link, "dev", f"{self.name}a")
            self._run(*inside, "address", "add", self._there, "dev", f"{self.name}b")
            self._run(*inside, "link", "set", "lo", "up")
            self._run(*inside, "link", "set", f"{self.name}b", "up")
            self.heal()
        except subprocess.CalledProcessError as error:
            self.close()
            raise NoNamespaces(_why(error)) from error
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove it; its link goes with it."""
        self._run("netns", "delete", self.name)

    def _run(self, *arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def _why(error: Exception) -> str:
    """What is missing, as the system says it."""
    if isinstance(error, subprocess.CalledProcessError):
        return f"`{' '.join(error.cmd)}` says: {error.stderr.strip()}"
    return str(error)
