"""Reads a paginated list of the platform, in commands: `found = yield from read_pages(ApiCall(…))`."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bot.core.api import ApiCall, Json

MOST_PAGES = 5
"""The default maximum for one list: each page is a step, and the user waits for the answer."""


@dataclass(frozen=True, slots=True)
class Listed:
    items: list[Mapping[str, Json]]
    """The items that are objects. Others are skipped."""
    more: bool
    """Whether the platform has more items than were read."""


def read_pages(
    call: ApiCall,
    *,
    items: str = "items",
    next_page: str = "page_token",
    most_pages: int = MOST_PAGES,
) -> Generator[ApiCall, Any, Listed]:
    """Read the items of a list.

    `items` and `next_page` are the names of these fields under `data` in the response. The token of the next page goes
    into the query as `page_token`, its name in every API.
    """
    found: list[Mapping[str, Json]] = []
    page = call
    for _ in range(most_pages):
        answer = yield page
        data = answer.get("data") if isinstance(answer, dict) else None
        fields = data if isinstance(data, dict) else {}
        listed, following = fields.get(items), fields.get(next_page)
        found += [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        more = fields.get("has_more") is True
        if not more or not isinstance(following, str) or not following:
            return Listed(found, more)
        page = replace(call, query={**call.query, "page_token": following})
    return Listed(found, more=True)
