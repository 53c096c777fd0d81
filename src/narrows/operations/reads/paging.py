"""What all lists share: the page, the cursor, and the bounded look along an index.

A cursor is the id after which the next page begins. Ids are made from time and rise strictly, so a
bare time is a cursor as well, and no row is skipped or doubled at a page's edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

from narrows.core.ids import first_id_at, is_id
from narrows.errors import InvalidRequest
from narrows.operations.reads.times import moment_of
from narrows.storage.backend import Reader, Row

T = TypeVar("T")

MAX_PAGE: Final = 100
#: A page ends before its payloads' text comes to more.
MAX_PAGE_BYTES: Final = 8 << 20
#: A filter without an index looks at so many rows at most: first at a few, which mostly suffices.
LOOKS: Final = (2_000, 50_000)
#: After every id.
LAST_ID: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"


class Page(NamedTuple, Generic[T]):
    """Some rows of a list. `next_cursor` is there only if there may be more."""

    items: tuple[T, ...]
    has_more: bool
    next_cursor: str | None


class Walk(NamedTuple):
    """How a list is read: the statement of its pages and the one that finds where a bounded look
    ends (None where the look needs no bound). The first column of a page's rows is the id."""

    page: str
    floor: str | None
    parameters: dict[str, Any]


def clamped(limit: int) -> int:
    return max(1, min(limit, MAX_PAGE))


def bound_of(cursor: str | None) -> str:
    """The id below which the page begins. Raises InvalidRequest for what is no cursor."""
    if cursor is None:
        return LAST_ID
    if is_id(cursor):
        return cursor
    moment = moment_of(cursor)
    if moment is None:
        raise InvalidRequest(
            "The cursor is unknown. Give the next_cursor of the page before, or an RFC 3339 time "
            "such as 2026-11-23T20:40:44Z."
        )
    return first_id_at(moment)


async def look(reader: Reader, walk: Walk, before: str, limit: int) -> tuple[list[Row], str | None]:
    """The first `limit` + 1 rows below `before`, newest first. If the bound ended the look earlier,
    the id of the last row looked at stands beside them."""
    found: list[Row] = []
    upper = before
    for looked_at in LOOKS if walk.floor else (0,):
        floor = await _floor(reader, walk, before, looked_at)
        found += await reader.rows(
            walk.page,
            **walk.parameters,
            before=upper,
            floor=floor or "",
            most=limit + 1 - len(found),
        )
        if floor is None or len(found) > limit:
            return found, None
        upper = floor
    return found, upper


async def _floor(reader: Reader, walk: Walk, before: str, looked_at: int) -> str | None:
    if walk.floor is None:
        return None
    rows = await reader.rows(walk.floor, **walk.parameters, before=before, looked_at=looked_at - 1)
    return rows[0][0] if rows else None


def page_of(items: Sequence[T], ids: Sequence[str], limit: int, looked_to: str | None) -> Page[T]:
    """The page of what was found: `items` and their ids, one more than `limit` if there is more."""
    if len(ids) > limit:
        return Page(tuple(items[:limit]), True, ids[limit - 1])
    return Page(tuple(items), looked_to is not None, looked_to)
