"""Templates: texts and payloads of a definition in which `{{payload.user.id}}` stands for a value that is
known when the step starts. Placeholders are all there is: no expressions, no filters, no escapes.

A template is taken apart once, with the definition (`compile_text`, `compile_json`), and filled in for each
start (`render`). What does not resolve raises InvalidRequest with a sentence that names the placeholder;
it is never left standing, and never becomes an empty text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from narrows.core.json_texts import Document, dumps, object_of, quote
from narrows.core.payloads import MAX_PAYLOAD_BYTES, is_too_large
from narrows.errors import InvalidRequest

TOO_LARGE: Final = "what comes out of a template is over 1 MiB; take less, by an output_transform or a member"
TOO_MUCH: Final = (
    "its payload with parent_outputs is over 1 MiB; shorten what it depends on by output_transform"
)
_PLACEHOLDER: Final = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_PATH: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*", re.ASCII)
_PAYLOAD, _OUTPUTS, _RUN, _STEP = "payload", "parent_outputs", "workflow_run_id", "step_ref"


class Placeholder(NamedTuple):
    """`whole`: it is the whole value, which keeps its JSON type; else it stands within a text."""

    source: str
    path: tuple[str, ...]
    whole: bool

    @property
    def output_of(self) -> str | None:
        """The step whose output it names: what can only be known once that step has ended."""
        return self.path[1] if self.path[0] == _OUTPUTS else None


class Template(NamedTuple):
    """Literal pieces and placeholders in turn. `is_json`: what comes out is a JSON text, else a plain one."""

    pieces: tuple[str | Placeholder, ...]
    is_json: bool

    @property
    def placeholders(self) -> tuple[Placeholder, ...]:
        return tuple(piece for piece in self.pieces if isinstance(piece, Placeholder))

    @property
    def is_placeholder(self) -> bool:
        """Whether it is one placeholder and nothing else, so that its type cannot be told yet."""
        return any(placeholder.whole for placeholder in self.placeholders) and not any(
            map(_is_text, self.pieces)
        )


def _is_text(piece: str | Placeholder) -> bool:
    return isinstance(piece, str) and bool(piece)


class Scope(NamedTuple):
    """What placeholders may name. `payload` is what the workflow was triggered with, None if nothing;
    `outputs` are those of ended steps by their refs."""

    payload: Document | None
    outputs: Mapping[str, Document]
    workflow_run_id: str
    step_ref: str


def compile_text(text: str) -> Template:
    """A template whose result is a text: an event key, a time. Raises InvalidRequest on its syntax."""
    return Template(tuple(_pieces(text, whole=False)), is_json=False)


def compile_json(value: Any) -> Template:
    """A template whose result is a JSON value: placeholders may stand in its strings. `value` is decoded
    by `json_texts.loads`. Raises InvalidRequest."""
    return Template(tuple(_joined(_json_pieces(value))), is_json=True)


def render(template: Template, scope: Scope) -> str:
    """The text with every placeholder filled in. Raises InvalidRequest for one that does not resolve, and for what
    comes out too large: a definition may name a large value as often as it likes."""
    parts, size = [], 0
    for piece in template.pieces:
        part = piece if isinstance(piece, str) else _value(piece, scope, template.is_json)
        size += len(part)
        if size > MAX_PAYLOAD_BYTES:
            raise InvalidRequest(TOO_LARGE)
        parts.append(part)
    return "".join(parts)


def _pieces(text: str, whole: bool) -> Iterator[str | Placeholder]:
    """The literals and placeholders of one text, the former as they stand."""
    at = 0
    for match in _PLACEHOLDER.finditer(text):
        yield _literal(text[at : match.start()])
        path = match[1].strip()
        if not _PATH.fullmatch(path):
            raise InvalidRequest(f"{match[0]!r} is no placeholder; write one like {{{{payload.user.id}}}}.")
        placeholder = Placeholder(match[0], tuple(path.split(".")), whole and match[0] == text)
        if placeholder.path == (_OUTPUTS,):
            raise InvalidRequest(f"{match[0]!r} must name a step, like {{{{parent_outputs.step.field}}}}.")
        yield placeholder
        at = match.end()
    yield _literal(text[at:])


def _literal(text: str) -> str:
    if "{{" in text:
        raise InvalidRequest(f"{text!r} opens a placeholder with {{{{ and does not close it with }}}}.")
    return text


def _json_pieces(value: Any) -> Iterator[str | Placeholder]:
    if isinstance(value, str):
        pieces = list(_pieces(value, whole=True))
        whole = any(isinstance(piece, Placeholder) and piece.whole for piece in pieces)
        marks = "" if whole else '"'
        yield from (marks, *(quote(each)[1:-1] if isinstance(each, str) else each for each in pieces), marks)
    elif isinstance(value, Mapping):
        for place, (name, each) in enumerate(value.items()):
            if _PLACEHOLDER.search(name):
                raise InvalidRequest(f"{name!r} is the name of a member, where no placeholder can stand.")
            yield f"{',' if place else '{'}{quote(name)}:"
            yield from _json_pieces(each)
        yield "}" if value else "{}"
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield "," if place else "["
            yield from _json_pieces(each)
        yield "]" if value else "[]"
    else:
        yield dumps(value)


def _joined(pieces: Iterator[str | Placeholder]) -> Iterator[str | Placeholder]:
    """Neighbouring literals as one."""
    literal = ""
    for piece in pieces:
        if isinstance(piece, str):
            literal += piece
        else:
            yield from (literal, piece)
            literal = ""
    yield literal


def _value(placeholder: Placeholder, scope: Scope, is_json: bool) -> str:
    found = _find(placeholder, scope)
    if found is None:
        raise InvalidRequest(
            f"The placeholder {placeholder.source} does not resolve: {_missing(placeholder)}."
        )
    first = found.text[0]
    if placeholder.whole:
        return found.text
    if first == '"':
        return found.inner if is_json else found.plain
    if first in "{[n":
        kind = {"{": "an object", "[": "an array", "n": "null"}[first]
        raise InvalidRequest(
            f"The placeholder {placeholder.source} is {kind} and cannot stand within a text."
        )
    return found.text


def _find(placeholder: Placeholder, scope: Scope) -> Document | None:
    """What a placeholder names."""
    first, *rest = placeholder.path
    if not rest and first in (_RUN, _STEP):
        return Document(quote(scope.workflow_run_id if first == _RUN else scope.step_ref))
    if first == _OUTPUTS:
        output = scope.outputs.get(rest[0])
        return None if output is None else output.find(rest[1:])
    path = rest if first == _PAYLOAD else placeholder.path
    return None if scope.payload is None else scope.payload.find(path)


def _missing(placeholder: Placeholder) -> str:
    step = placeholder.output_of
    return "the payload has no such member" if step is None else f"the output of {step!r} has no such member"


def unresolved(templates: Iterable[Template], scope: Scope) -> list[str]:
    """One sentence for each placeholder that is known not to resolve when the workflow is triggered."""
    faults: dict[str, None] = {}
    for template in templates:
        for placeholder in template.placeholders:
            if placeholder.output_of is None:
                try:
                    _value(placeholder, scope, template.is_json)
                except InvalidRequest as fault:
                    faults[fault.message] = None
    return list(faults)


def job_payload(given: Document, own: str | None, outputs: Mapping[str, str]) -> str:
    """What a job step's run gets: what was `given` to the workflow run, over it the members of the step's `own`
    payload, and `parent_outputs`. What is no object stands under `payload`. Raises InvalidRequest where the step's
    own is no object, or what comes out is too large.

    A thousand jobs may start with one payload: it is taken apart only where a member of it is replaced.
    """
    members: dict[str, str] = {}
    if own is not None:
        over = Document(own)
        if not over.is_object:
            raise InvalidRequest("The payload of a job step must come out as an object.")
        members = {name: each.text for name, each in over.members.items()}
    if sum(map(len, outputs.values())) > MAX_PAYLOAD_BYTES:
        raise InvalidRequest(TOO_MUCH)
    members[_OUTPUTS] = object_of(outputs.items())
    if not given.is_object:
        merged = object_of(({"payload": given.text} | members).items())
    elif given.members.keys().isdisjoint(members):
        merged = f"{given.text.rstrip()[:-1]}{',' if given.members else ''}{object_of(members.items())[1:]}"
    else:
        merged = object_of(({name: each.text for name, each in given.members.items()} | members).items())
    if is_too_large(merged):
        raise InvalidRequest(TOO_MUCH)
    return merged
