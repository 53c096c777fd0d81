"""The reference page: whole, escaped, without anything from outside, and allowed by its own policy."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

from narrows.api import openapi, reference
from narrows.api.app import ROUTES
from narrows.api.reference.words import ROUTE_NAMES
from narrows.config import Config
from tests.api.harness import opened

DOCUMENT = openapi.document(ROUTES)
PAGE = reference.page(DOCUMENT).decode()
VOID = {"meta", "input", "br", "wbr"}


class _Reader(HTMLParser):
    """Ids, links and attributes of a page, and whether its tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def test_every_route_and_schema_has_its_place_and_every_link_leads_to_one() -> None:
    read = _Reader(PAGE)
    assert len(read.ids) == len(set(read.ids))
    assert {verb for _, verb in ROUTE_NAMES.values()} <= set(read.ids)
    assert {f"schema-{name}" for name in json.loads(DOCUMENT)["components"]["schemas"]} <= set(read.ids)
    assert {link for link in read.links if link.startswith("#")} <= {f"#{each}" for each in read.ids}


def test_nothing_comes_from_outside() -> None:
    read = _Reader(PAGE)
    assert {link for link in read.links if not link.startswith("#")} == {"/openapi.json"}
    assert not {"link", "img", "iframe", "object"} & set(read.tags)
    assert "@import" not in PAGE
    assert "url(" not in PAGE
    assert not {name for name in read.attributes if name == "style" or name.startswith("on")}


def test_what_the_document_says_is_text() -> None:
    document = json.loads(DOCUMENT)
    evil = "<script>alert('x')</script>\"><img src=x>`<b>`"
    document["info"]["title"] = document["info"]["description"] = evil
    document["tags"][0]["description"] = evil
    for methods in document["paths"].values():
        for operation in methods.values():
            operation["summary"] = operation["description"] = operation["x-required-scope"] = evil
            for parameter in operation.get("parameters", ()):
                parameter["description"] = evil
            for reply in operation["responses"].values():
                reply["description"] = evil
                for content in reply.get("content", {}).values():
                    content["example"] = {evil: evil}
    page = reference.page(json.dumps(document).encode()).decode()
    assert page.count("<script>") == 1
    assert "<img" not in page
    assert "<b>`" not in page


async def test_the_policy_allows_exactly_what_stands_in_it(config: Config) -> None:
    async with opened(config) as client:
        answer = await client("GET", "/docs")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    for kind in (b"script", b"style"):
        (text,) = re.findall(rb"<%s>(.*?)</%s>" % (kind, kind), answer.body, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text).digest()).decode()
        assert f"{kind.decode()}-src 'sha256-{digest}'" in policy


def test_a_second_page_is_made_like_the_first() -> None:
    assert reference.page(DOCUMENT).decode() == PAGE
