"""The documents hold: marked examples are run against a real server, links resolve, commands and
paths that are named exist. An example is marked by a comment in the line before its fence:

    <!-- run -->                        it ends with exit code 0
    <!-- run, prints: a "b" c -->       and each of these words stands in its output
    <!-- run, exits: 6 -->              it ends with this exit code
    <!-- run in background: ready KEY --> it is started, and the next begins when KEY is waited on

Examples of a document run in order, in one folder, with one server. Not here: what the API does.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.main import get_command

from narrows.cli import main
from narrows.client import Client
from narrows.errors import NarrowsError

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    [*ROOT.glob("*.md"), *(page for name in ("docs", "examples") for page in (ROOT / name).rglob("*.md"))]
)
RUN = ("README.md", "docs/quick-start.md")

EXAMPLE = re.compile(
    r"^<!-- run(?P<how>[^\n]*?) ?-->\n```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]\n]+\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:^|[`\s|(])narrows ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)?)([^\n`]*)", re.MULTILINE)


class Example(NamedTuple):
    how: str
    language: str
    code: str


class Machine:
    """A folder in which `narrows` and `./deploy.sh` are commands, and one server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = self._free_port()
        self._script(folder / "bin" / "narrows", f'exec {shlex.quote(sys.executable)} -m narrows "$@"')
        self._script(folder / "deploy.sh", "echo deployed")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("NARROWS_")}
        self.environment = kept | {
            "PYTHONPATH": str(ROOT / "src"),
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "NARROWS_URL": f"http://localhost:{self.port}",
        }
        self.server = self.start(f"narrows dev --port {self.port}", "server.log")

    @staticmethod
    def _free_port() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    @staticmethod
    def _script(path: Path, line: str) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    def start(self, line: str, log: str) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("wb") as output:
            return subprocess.Popen(
                ["bash", "-c", f"exec {line}" if "&&" not in line else line],
                cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip

    def run(self, example: Example) -> tuple[int, str]:
        code = example.code.replace("localhost:8080", f"localhost:{self.port}")
        command = (
            [sys.executable, "-c", code]
            if example.language == "python"
            else ["bash", "-c", f"set -e\n{code}\nwait"]
        )
        ended = subprocess.run(
            command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
        )  # fmt: skip
        return ended.returncode, ended.stdout

    def until_waiting(self, client: Client, key: str) -> None:
        until = time.monotonic() + 30
        while True:
            try:
                if client.get(key).status == "waiting":
                    return
            except NarrowsError:
                assert time.monotonic() < until, (self.folder / "server.log").read_text()
            time.sleep(0.05)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    try:
        yield machine
    finally:
        os.killpg(machine.server.pid, signal.SIGTERM)
        machine.server.wait(30)


def examples(page: str) -> list[Example]:
    return [Example(*found) for found in EXAMPLE.findall((ROOT / page).read_text())]


@pytest.mark.parametrize("page", RUN)
def test_the_examples_do_what_they_say(page: str, machine: Machine) -> None:
    if shutil.which("curl") is None:
        pytest.skip("the examples need curl")
    started: list[tuple[subprocess.Popen[bytes], str]] = []
    with Client(f"http://localhost:{machine.port}", retry_secs=30) as client:
        client.live()
        for number, example in enumerate(examples(page)):
            how, _, what = example.how.partition(":")
            if "background" in how:
                log = f"{number}.log"
                started.append((machine.start(example.code.strip(), log), log))
                machine.until_waiting(client, what.removeprefix(" ready ").strip())
                continue
            code, output = machine.run(example)
            assert code == (int(what) if "exits" in how else 0), (example.code, output)
            words = shlex.split(what, posix=False) if "prints" in how and "{" not in what else [what.strip()]
            assert "prints" not in how or all(word in output for word in words), (example.code, output)
    for process, log in started:
        assert process.wait(30) == 0
        assert "deployed" in (machine.folder / log).read_text()
    assert len(examples(page)) >= 5


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_resolve(page: Path) -> None:
    broken = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def commands() -> dict[str, set[str]]:
    """Every command -> its options, groups included."""
    found: dict[str, set[str]] = {}

    def walk(command: object, path: str) -> None:
        found[path] = {option for each in command.params for option in each.opts}  # type: ignore[attr-defined]
        for name, child in getattr(command, "commands", {}).items():
            walk(child, f"{path} {name}".strip())

    walk(get_command(main.app), "")
    return found


def named_commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """What stands after `narrows ` in code, with its long options."""
    code = "\n".join([*FENCE.findall(text), *re.findall(r"`[^`\n]+`", FENCE.sub("", text))])
    for words, rest in COMMAND.findall(code):
        yield words, re.findall(r"(?<=\s)--[a-z][a-z-]*", " " + rest.partition(" && ")[0].partition(" | ")[0])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_named_commands_exist(page: Path) -> None:
    known, unknown = commands(), []
    for words, options in named_commands(page.read_text()):
        first = words.partition(" ")[0]
        is_group = any(name.startswith(f"{first} ") for name in known)
        name = words if is_group else first
        unknown += [name] if name not in known else []
        unknown += [
            f"{name} {option}" for option in options if option not in known.get(name, set()) | {"--help"}
        ]
    assert unknown == []


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "RELIABILITY.md"])
def test_tables_name_existing_paths(page: str) -> None:
    """In its tables a path is `a/b`, below the root, the package, or the first folder of its row."""
    missing = []
    for row in re.findall(r"^\| .+ \|$", (ROOT / page).read_text(), re.MULTILINE):
        paths = [
            path
            for path in re.findall(r"`([\w./*-]+)`", row)
            if "/" in path or re.search(r"\.(py|sql)$", path)
        ]
        home = next((path for path in paths if path.endswith("/")), "")
        package = ROOT / "src" / "narrows"
        places = (ROOT, package, ROOT / home, package / home)
        missing += [path for path in paths if not any(any(place.glob(path.rstrip("/"))) for place in places)]
    assert missing == []
