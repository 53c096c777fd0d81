"""The API reference as one HTML page, from the OpenAPI document: navigation, routes, schemas and
examples. Everything that comes from the document is escaped. Style and script stand inside the
page, and its policy names both by hash, so that nothing else can run: no server but this one is
ever asked. Not here: the words (`words.py`), and the policy (`api/system.py`).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator
from html import escape
from importlib import resources
from typing import Any, Final

Value = dict[str, Any]

_CODE = re.compile(r"`([^`]+)`")
_BASE_URL: Final = "http://localhost:8080"


def render(document: bytes) -> bytes:
    """The whole page."""
    return _Page(json.loads(document)).html().encode()


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _prose(text: str) -> str:
    """Escaped, with `code` as code and blank lines as paragraphs."""
    return "".join(f"<p>{_inline(part)}</p>" for part in text.split("\n\n") if part)


def _inline(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def _block(text: str, label: str) -> str:
    return (
        f'<figure class="code"><figcaption>{escape(label)}'
        '<button type="button" class="copy" hidden>Copy</button></figcaption>'
        f'<pre tabindex="0"><code>{escape(text)}</code></pre></figure>'
    )


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Cells are HTML already."""
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


class _Page:
    """One document on its way to HTML."""

    def __init__(self, document: Value) -> None:
        self._document = document
        self._schemas: Value = document["components"]["schemas"]
        self._operations = [
            (method.upper(), path, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        ]

    def html(self) -> str:
        info = self._document["info"]
        tags = self._document["tags"]
        sections = "".join(self._tag(tag) for tag in tags)
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="color-scheme" content="light dark">'
            f"<title>{escape(info['title'])} API</title><style>{_asset('page.css')}</style></head><body>"
            '<a class="skip" href="#content">Skip to the reference</a>'
            f'{self._navigation(tags)}<main id="content" tabindex="-1"><header class="intro">'
            f"<h1>{escape(info['title'])} API</h1>"
            f'<p class="version">Version {escape(info["version"])} · <a href="/openapi.json">OpenAPI 3.1</a></p>'
            f"{_prose(info['description'])}</header>{sections}{self._all_schemas()}</main>"
            f"<script>{_asset('page.js')}</script></body></html>"
        )

    # ---- navigation -------------------------------------------------------------------------

    def _navigation(self, tags: list[Value]) -> str:
        groups = "".join(self._group(tag["name"]) for tag in tags)
        names = "".join(
            f'<li data-search="{escape(name.lower())}"><a href="#schema-{escape(name)}">{escape(name)}</a></li>'
            for name in self._schemas
        )
        return (
            '<nav aria-label="Reference"><div class="bar"><a class="brand" href="#content">Narrows</a>'
            '<button type="button" id="page-menu" aria-expanded="false" aria-controls="page-list" hidden>Menu</button>'
            '</div><div id="page-list"><label class="find" hidden><span>Find</span>'
            '<input id="page-find" type="search" placeholder="Filter by path or word" autocomplete="off">'
            '<kbd>/</kbd></label><p id="page-none" role="status" hidden>Nothing fits.</p>'
            f'{groups}<section><h2>Schemas</h2><ul class="plain">{names}</ul></section></div></nav>'
        )

    def _group(self, tag: str) -> str:
        rows = []
        for method, path, operation in self._of_tag(tag):
            words = f"{method} {path} {operation['operationId']} {operation['summary']}".lower()
            rows.append(
                f'<li data-search="{escape(words)}"><a href="#{escape(operation["operationId"])}">'
                f"{_badge(method)}<span>{_breakable(path)}</span></a></li>"
            )
        return f"<section><h2>{escape(tag)}</h2><ul>{''.join(rows)}</ul></section>"

    def _of_tag(self, tag: str) -> Iterator[tuple[str, str, Value]]:
        return (each for each in self._operations if tag in each[2]["tags"])

    # ---- operations -------------------------------------------------------------------------

    def _tag(self, tag: Value) -> str:
        operations = "".join(self._operation(*each) for each in self._of_tag(tag["name"]))
        return (
            f'<section class="tag"><h2>{escape(tag["name"])}</h2>{_prose(tag["description"])}'
            f"{operations}</section>"
        )

    def _operation(self, method: str, path: str, operation: Value) -> str:
        anchor = escape(operation["operationId"])
        described = operation["description"].partition("\n\n")[2]
        return (
            f'<article id="{anchor}"><h3><a href="#{anchor}">{escape(operation["summary"])}</a></h3>'
            f'<p class="route">{_badge(method)}<code>{_breakable(path)}</code>{_scope(operation)}</p>'
            f'<div class="columns"><div class="text">{_prose(described)}'
            f"{self._parameters(operation)}{self._request(operation)}{self._replies(operation)}</div>"
            f'<div class="samples">{_curl(method, path, operation)}{self._samples(operation)}</div>'
            "</div></article>"
        )

    def _parameters(self, operation: Value) -> str:
        parameters = operation.get("parameters", ())
        rows = [
            (
                _name(each["name"], required=each["required"])
                + f'<span class="in">{escape(each["in"])}</span>',
                self._type(each["schema"]),
                _inline(each["description"]) + _limits(each["schema"]),
            )
            for each in parameters
        ]
        return f"<h4>Parameters</h4>{_table(('Name', 'Type', 'Meaning'), rows)}" if rows else ""

    def _request(self, operation: Value) -> str:
        body = operation.get("requestBody")
        if body is None:
            return ""
        schema = body["content"]["application/json"]["schema"]
        note = "" if body["required"] else " It may be left out."
        return f"<h4>Request body</h4>{_prose(body['description'] + note)}{self._fields(schema)}"

    def _fields(self, schema: Value) -> str:
        """The table of a message's fields; what is no message is a line of words."""
        target = self._target(schema)
        properties = target.get("properties")
        if not properties:
            return _prose(target.get("description", ""))
        required = target.get("required", ())
        rows = (
            (
                _name(name, required=name in required),
                self._type(field),
                _inline(field.get("description", "")) + _limits(field),
            )
            for name, field in properties.items()
        )
        return _table(("Field", "Type", "Meaning"), rows)

    def _replies(self, operation: Value) -> str:
        rows = []
        for status, reply in operation["responses"].items():
            types = [
                f'<span class="media">{escape(media)}</span> {self._type(content["schema"])}'
                for media, content in reply.get("content", {}).items()
            ]
            kind = f'<span class="status s{status[0]}">{status}</span>'
            rows.append((kind, _inline(reply["description"]), "<br>".join(types) or "no body"))
        return f"<h4>Replies</h4>{_table(('Status', 'Meaning', 'Body'), rows)}"

    def _samples(self, operation: Value) -> str:
        responses = operation["responses"].items()
        parts = [
            _block(_json(content["example"]), f"Reply {status}")
            for status, reply in responses
            for content in reply.get("content", {}).values()
            if status < "300" and "example" in content
        ]
        refused = next((each for each in responses if each[0] in ("404", "409")), None)
        if refused is not None:
            problem = refused[1]["content"]["application/json"]["example"]
            sample = _block(_json(problem), f"Reply {refused[0]}")
            parts.append(f"<details><summary>What a refusal looks like</summary>{sample}</details>")
        return "".join(parts)

    # ---- schemas ----------------------------------------------------------------------------

    def _all_schemas(self) -> str:
        articles = "".join(
            f'<article id="schema-{escape(name)}"><h3><a href="#schema-{escape(name)}">{escape(name)}</a></h3>'
            f"{_prose(schema.get('description', ''))}{self._fields(schema)}</article>"
            for name, schema in self._schemas.items()
        )
        return f'<section class="tag"><h2>Schemas</h2>{articles}</section>'

    def _target(self, schema: Value) -> Value:
        if "$ref" in schema:
            return self._schemas[schema["$ref"].rpartition("/")[2]]  # type: ignore[no-any-return]
        if "allOf" not in schema:
            return schema
        target = self._target(schema["allOf"][0])
        absent = schema.get("properties", ())
        fields = {name: field for name, field in target["properties"].items() if name not in absent}
        return target | {"properties": fields}

    def _type(self, schema: Value) -> str:
        """A schema in a word or two, with links to messages."""
        if "$ref" in schema:
            name = escape(schema["$ref"].rpartition("/")[2])
            return f'<a href="#schema-{name}">{name}</a>'
        if "allOf" in schema:
            return self._type(schema["allOf"][0])
        if "anyOf" in schema:
            kinds = dict.fromkeys(self._type(each) for each in schema["anyOf"])
            return " or ".join(kinds)
        kind = schema.get("type")
        if isinstance(kind, list):
            return escape(" or ".join(kind))
        if kind == "array":
            return f"list of {self._type(schema['items'])}"
        if kind is None:
            return "any JSON value"
        shown = schema.get("format")
        return escape(f"{kind} · {shown}" if shown else kind)


def _badge(method: str) -> str:
    return f'<b class="method {method.lower()}">{escape(method)}</b>'


def _breakable(path: str) -> str:
    """A path may break after each slash."""
    return escape(path).replace("/", "/<wbr>")


def _name(name: str, *, required: bool) -> str:
    mark = ' <span class="required">required</span>' if required else ""
    return f"<code>{escape(name)}</code>{mark}"


def _scope(operation: Value) -> str:
    scope = operation["x-required-scope"]
    return f'<span class="scope">{"no key needed" if scope == "public" else "scope " + escape(scope)}</span>'


def _limits(schema: Value) -> str:
    """Words, bounds and the default, in small print."""
    parts = list(_bounds(schema))
    for each in schema.get("anyOf", ()):
        parts += _bounds(each)
    return f'<span class="limits">{" · ".join(parts)}</span>' if parts else ""


def _bounds(schema: Value) -> Iterator[str]:
    words = schema.get("enum") or schema.get("items", {}).get("enum")
    if words:
        yield "one of " + ", ".join(f"<code>{escape(str(word))}</code>" for word in words)
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None and most < 10**11:
        yield f"{least:,} to {most:,}"
    elif least is not None:
        yield f"at least {least:,}"
    if "maxLength" in schema:
        yield f"at most {schema['maxLength']} characters"
    if schema.get("default") is not None:
        yield f"default <code>{escape(json.dumps(schema['default']))}</code>"


def _curl(method: str, path: str, operation: Value) -> str:
    """What to paste into a terminal."""
    url, query = path, []
    for each in operation.get("parameters", ()):
        if each["in"] == "path":
            url = url.replace("{" + each["name"] + "}", str(each["example"]))
        elif each["in"] == "query" and each["required"]:
            query.append(f"{each['name']}={each['example']}")
    words = ["curl"] if method == "GET" else ["curl", "-X", method]
    if any("text/event-stream" in reply.get("content", {}) for reply in operation["responses"].values()):
        words.insert(1, "-N")
    lines = [" ".join([*words, shlex.quote(_BASE_URL + url + ("?" + "&".join(query) if query else ""))])]
    if operation["security"]:
        lines.append('-H "Authorization: Bearer $NARROWS_API_KEY"')
    body = operation.get("requestBody")
    if body is not None:
        example = body["content"]["application/json"]["example"]
        if example:
            lines.append(f"-d {shlex.quote(json.dumps(example, ensure_ascii=False))}")
    return _block(" \\\n  ".join(lines), "Request")
