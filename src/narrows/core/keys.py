"""Event keys and prefixes: what is legal, and the range of keys that a prefix covers."""

from __future__ import annotations

import re
from typing import Final

from narrows.core.ids import is_id
from narrows.errors import InvalidRequest

MAX_KEY_BYTES: Final = 512

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}", re.ASCII)
#: The last code point; every legal key is below prefix + this one (surrogates cannot occur).
_LAST = "\U0010ffff"


def check_key(key: str, noun: str = "event key") -> str:
    """`key` itself, if it has 1 to 512 bytes of UTF-8 and no control character; else InvalidRequest."""
    if key.isascii() and key.isprintable() and 0 < len(key) <= MAX_KEY_BYTES:
        return key
    if not key:
        raise InvalidRequest(f"The {noun} is empty. Give one of 1 to {MAX_KEY_BYTES} bytes.")
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise InvalidRequest(f"The {noun} is not valid UTF-8.") from None
    if size > MAX_KEY_BYTES:
        raise InvalidRequest(f"The {noun} has {size} bytes of UTF-8; at most {MAX_KEY_BYTES} are allowed.")
    if _CONTROL.search(key):
        raise InvalidRequest(f"The {noun} holds a control character (below 0x20, or DEL). Remove it.")
    return key


def check_project_id(project_id: str) -> str:
    """`project_id` itself, if it is 1 to 64 letters, digits, dots, dashes or underscores."""
    if not _PROJECT.fullmatch(project_id):
        raise InvalidRequest(
            "A project id has 1 to 64 letters, digits, '.', '_' or '-', and starts with a letter or digit."
        )
    return project_id


def prefix_end(prefix: str) -> str:
    """The exclusive end, in byte order, of the keys that start with `prefix`.

    UTF-8 keeps the order of code points, so the end is the prefix with its last code point raised
    by one (stepping over the surrogates, which no key can hold).
    """
    for position in range(len(prefix) - 1, -1, -1):
        if prefix[position] != _LAST:
            point = ord(prefix[position]) + 1
            return prefix[:position] + chr(0xE000 if 0xD800 <= point <= 0xDFFF else point)
    return _LAST * (MAX_KEY_BYTES // 4 + 1)


def is_slug(text: object) -> bool:
    """Whether `text` may name a job or a workflow. These are named by slug or id, so that no slug may be
    spelled like an id."""
    return isinstance(text, str) and _SLUG.fullmatch(text) is not None and not is_id(text)
