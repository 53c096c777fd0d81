"""Projects and API keys. Secrets are not here: only their hashes are kept at all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from narrows.core.keys import check_project_id
from narrows.core.records import ApiKey, Project
from narrows.errors import InvalidRequest
from narrows.operations.reads.paging import Page, clamped, page_of
from narrows.storage.backend import Reader

_KEY_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
#: After every key's id.
_LAST_KEY_ID: Final = "~"


@dataclass(frozen=True, slots=True)
class ListProjects:
    """In the order of their ids; the cursor is the id of the last one."""

    limit: int = 50
    cursor: str | None = None

    async def run(self, reader: Reader) -> Page[Project]:
        limit = clamped(self.limit)
        after = "" if self.cursor is None else check_project_id(self.cursor)
        rows = await reader.rows("list_projects_page", after=after, most=limit + 1)
        return page_of([Project(*row) for row in rows], [row[0] for row in rows], limit, None)


@dataclass(frozen=True, slots=True)
class GetProject:
    project_id: str

    async def run(self, reader: Reader) -> Project | None:
        rows = await reader.load("projects_by_id", [(self.project_id,)])
        return Project(*rows[0]) if rows else None


@dataclass(frozen=True, slots=True)
class ListApiKeys:
    """Newest first. `project_id` None is all that there are, admin keys too."""

    project_id: str | None
    limit: int = 50
    cursor: str | None = None

    async def run(self, reader: Reader) -> Page[ApiKey]:
        limit = clamped(self.limit)
        if self.cursor is not None and not _KEY_ID.fullmatch(self.cursor):
            raise InvalidRequest("The cursor is unknown. Give the next_cursor of the page before.")
        scope: dict[str, Any] = {"before": self.cursor or _LAST_KEY_ID, "most": limit + 1}
        if self.project_id is None:
            rows = await reader.rows("list_api_keys_page", **scope)
        else:
            rows = await reader.rows("list_api_keys_of_project_page", project_id=self.project_id, **scope)
        return page_of([ApiKey(*row) for row in rows], [row[0] for row in rows], limit, None)


@dataclass(frozen=True, slots=True)
class GetApiKey:
    api_key_id: str

    async def run(self, reader: Reader) -> ApiKey | None:
        rows = await reader.load("api_keys_by_id", [(self.api_key_id,)])
        return ApiKey(*rows[0]) if rows else None
