"""Files that hold definitions of workflows, in JSON or YAML, one or several; and how a definition differs from
the one that the server has. Not here: what is right in a definition, which only the server says."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec
import typer

from narrows.cli import inputs
from narrows.cli.yaml_texts import YamlInvalid, YamlMissing, json_texts

#: What a change of a definition may replace, and what it is where it is left out.
MEMBERS: Final[dict[str, Any]] = {
    "name": None,
    "description": None,
    "tags": {},
    "timeout_secs": 0,
    "max_parallel_steps": 0,
    "steps": None,
}
_NOTHING: Final = msgspec.Raw(b"null")


class Document(NamedTuple):
    """One definition: where it stands, and its members as the texts that they were written as."""

    where: str
    members: dict[str, msgspec.Raw]

    @property
    def slug(self) -> str:
        """Empty where there is none, or one that is no text."""
        slug = msgspec.json.decode(self.members.get("slug", _NOTHING))
        return slug if isinstance(slug, str) else ""


def read(path: str) -> list[Document]:
    """The definitions of a file, or (`-`) of stdin. Raises BadParameter with the place of what is wrong."""
    raw = inputs.stdin() if path == "-" else inputs.read_file(path)
    where = "stdin" if path == "-" else path
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"{where} is not UTF-8: byte {error.start + 1} is wrong.") from None
    is_json = path.lower().endswith(".json") or (path == "-" and text.lstrip()[:1] in ("{", "["))
    documents = _json(text, where) if is_json else _yaml(text, where)
    found = [each for document in documents for each in _several(document)]
    if not found:
        raise typer.BadParameter(f"{where} holds no definition.")
    places = [where] if len(found) == 1 else [f"{where}, number {n + 1}" for n in range(len(found))]
    return [_document(document, place) for document, place in zip(found, places, strict=True)]


def _json(text: str, where: str) -> list[bytes]:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(f"{where}:{error.lineno}:{error.colno}: {error.msg}.") from None
    except (RecursionError, ValueError) as error:  # nested too deep, or a number of thousands of digits
        raise typer.BadParameter(f"{where} is no JSON that is read here: {error}.") from None
    return [text.encode()]


def _yaml(text: str, where: str) -> list[bytes]:
    try:
        return [document.encode("utf-8", "surrogatepass") for document in json_texts(text)]
    except YamlInvalid as error:
        raise typer.BadParameter(f"{where}:{error.line}:{error.column}: {error.problem}.") from None
    except YamlMissing:
        raise typer.BadParameter(
            f"{where} is YAML, for which PyYAML is missing: `pip install 'narrows[workflows]'` brings it. "
            "JSON is read without it; name such a file *.json."
        ) from None


def _several(document: bytes) -> list[bytes]:
    """A list of definitions is several of them."""
    if document.lstrip()[:1] != b"[":
        return [document]
    return [bytes(each) for each in _decode(document, list[msgspec.Raw])]


def _document(text: bytes, where: str) -> Document:
    if text.lstrip()[:1] != b"{":
        raise typer.BadParameter(f"{where}: a definition is an object with `slug` and `steps`.")
    return Document(where, _decode(text, dict[str, msgspec.Raw]))


def _decode(text: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise typer.BadParameter(f"that is not the JSON of a definition: {error}.") from None


def changes(document: Document, current: bytes) -> dict[str, Any]:
    """What has to be changed of a workflow, as the server gave it, to make it what the document says; empty
    where they are the same."""
    there = msgspec.json.decode(current, type=dict[str, msgspec.Raw])
    found: dict[str, Any] = {}
    for name, default in MEMBERS.items():
        wanted = _canonical(document.members.get(name, _NOTHING), default)
        if wanted != _canonical(there.get(name, _NOTHING), default):
            found[name] = document.members.get(name, _NOTHING)
    return found


def _canonical(text: msgspec.Raw, default: Any) -> str:
    """The same text for the same JSON value: neither the order of members nor the spelling of a fraction
    counts, but each digit of a number does."""
    value = json.loads(bytes(text), parse_float=lambda number: {"\0": str(Decimal(number).normalize())})
    return json.dumps(default if value is None else value, sort_keys=True)
