"""Small checks of what a request names: texts, tags, page sizes. Each raises
InvalidRequest with a sentence that says what to send instead. Keys and projects: `core/keys.py`;
payloads: `wire/payloads.py`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from narrows.errors import InvalidRequest

MAX_PAGE: Final = 100
DEFAULT_PAGE: Final = 50
MAX_TAGS: Final = 50
MAX_TAG_LENGTH: Final = 200

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_INTEGER = re.compile(r"[+-]?[0-9]{1,1000}", re.ASCII)


def check_plain(text: str | None, what: str) -> str | None:
    """A short text of the caller's: no control characters."""
    if text is not None and not text.isprintable() and _CONTROL.search(text):
        raise InvalidRequest(f"{what} holds a control character; leave it out.")
    return text


def check_tags(tags: dict[str, str] | None) -> None:
    """At most 50 tags of at most 200 characters each side."""
    if not tags:
        return
    if len(tags) > MAX_TAGS:
        raise InvalidRequest(f"There are {len(tags)} tags; at most {MAX_TAGS} are kept.")
    for name, value in tags.items():
        if not name or len(name) > MAX_TAG_LENGTH or len(value) > MAX_TAG_LENGTH:
            raise InvalidRequest(f"A tag needs a name, and at most {MAX_TAG_LENGTH} characters on each side.")
        check_plain(name, "A tag's name")
        check_plain(value, "A tag's value")


def integer(text: str, what: str) -> int:
    """A whole number of a query."""
    if not _INTEGER.fullmatch(text):
        raise InvalidRequest(f"{what} must be a whole number.")
    return int(text)


def page_size(text: str | None) -> int:
    """1 to 100, 50 where nothing is said; more than 100 is 100."""
    if text is None:
        return DEFAULT_PAGE
    limit = integer(text, "limit")
    if limit < 1:
        raise InvalidRequest("limit must be at least 1.")
    return min(limit, MAX_PAGE)


def stated(query: Mapping[str, str], name: str) -> str | None:
    """A filter of a query, None where it is left out. An empty one would let everything pass that its
    sender meant to leave out, so it is refused."""
    text = query.get(name)
    if text == "":
        raise InvalidRequest(f"The filter {name} is empty; give it a value or leave it out.")
    return text


def choice(text: str | None, what: str, choices: tuple[str, ...]) -> str | None:
    """One of the words, or nothing."""
    if text is not None and text not in choices:
        raise InvalidRequest(f"{what} must be one of {', '.join(choices)}.")
    return text
