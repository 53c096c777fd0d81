"""The filter by a tag, `name:value` or a `name` with any value, over tags that are kept as JSON text."""

from __future__ import annotations

import json


def text_of_tag(tag: str) -> str:
    """How the tag stands in the JSON text of a record's tags."""
    name, colon, value = tag.partition(":")
    text = f"{json.dumps(name, ensure_ascii=False)}:"
    return f"{text}{json.dumps(value, ensure_ascii=False)}" if colon else text


def has_tag(tags: str | None, tag: str) -> bool:
    """Whether it really is there: the text that stands for a tag may, rarely, stand elsewhere."""
    name, colon, value = tag.partition(":")
    found = json.loads(tags or "{}")
    return name in found and (not colon or found[name] == value)
