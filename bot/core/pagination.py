"""Reads a paginated list of the platform, in commands: `tasks = yield from read_pages(ApiCall(…))`."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bot.core.api import ApiCall, Json

MAX_PAGES = 5
"""The default limit for one list, because each page is a step, and the user waits for the answer."""


@dataclass(frozen=True, slots=True)
class Listed:
    items: list[Mapping[str, Json]]
    """The items that are JSON objects. Others are skipped."""
    more: bool
    """Whether the platform has more items than were read."""


def read_pages(
    call: ApiCall,
    *,
    items: str = "items",
    next_page: str = "page_token",
    most_pages: int = MAX_PAGES,
) -> Generator[ApiCall, Any, Listed]:
    """Return the items of a list, read from at most `most_pages` pages.

    `items` and `next_page` are the names of the fields under `data` in the response. The token of the next page is sent
    as the query parameter `page_token`, its name in every API.
    """
    collected: list[Mapping[str, Json]] = []
    page = call
    for _ in range(most_pages):
        answer = yield page
        data = answer.get("data") if isinstance(answer, dict) else None
        fields = data if isinstance(data, dict) else {}
        listed, next_token = fields.get(items), fields.get(next_page)
        collected += [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        more = fields.get("has_more") is True
        if not more or not isinstance(next_token, str) or not next_token:
            return Listed(collected, more)
        page = replace(call, query={**call.query, "page_token": next_token})
    return Listed(collected, more=True)
