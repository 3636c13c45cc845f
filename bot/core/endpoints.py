"""Requests to a platform as metrics and traces describe them: by endpoint, without ids."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

ID = "{id}"
VERSION = re.compile(r"v\d{1,2}(?:\.\d{1,2})?")
NAME = re.compile(r"(?![a-z]{1,2}_)[a-z]{1,20}(?:[A-Z][a-z]{1,20}){0,4}\d?(?:[_-][a-z]{1,20}){0,4}")
"""A segment that may name a service or a resource: `calendars`, `docs-api`, `oToMessages`, `oauth2`."""

_WORDS = """
accessToken access_token acls active add aliases announcement apply attachments attendees authorize batch
batchSend batch_create batch_delete batch_get batch_get_id batch_query batch_remove batch_update blocks
calendars callback cancel chats check children collaborators comments complete config convert copy create del
delete departments device_authorization download drafts edit elements enable event events export fields files
filter folders forms forward freebusy get get_node getbyunionid info instance_view instances internal items list
managers me member members messages meta mget modify move multi_get nodes object objects open open_calls org
patch permission_members permissions preview primary public publish query raw_content reactions read_users
recall recording records refresh_access_token register remove replies reply restore result revoke roles rules
scopes search send sessions settings sheets spaces start statistics subscribe subscription subtasks tables tasks
templates token transfer tree unsubscribe update upload upload_all upload_finish upload_part upload_prepare
urgent_app urgent_phone urgent_sms userAccessToken user_info users value values versions views
"""
WORDS = frozenset(_WORDS.split())
"""What may follow the resource of a path. Every other segment counts as an id: ids can look like words."""

MAX_SEGMENTS = 12


@dataclass(frozen=True, slots=True)
class SentRequest:
    """One HTTP request that was sent to a platform, and how it ended."""

    method: str
    path: str
    status: int | None
    """The HTTP status. None if no response arrived."""
    code: str
    """The platform's code for the result. Empty if the response states none."""
    started_at: float
    """Seconds since the epoch."""
    seconds: float


def endpoint_of(path: str) -> str:
    """Return a path with `{id}` for everything that may identify a user or a thing.

    A path names a version, a service and a resource (`/open/im/v1/messages`, `/v1.0/contact/users`), and then ids and a
    few known words.
    """
    segments = path.strip("/").split("/")
    version = next((at for at, segment in enumerate(segments[:3]) if is_version(segment)), 1)
    named = max(3, version + 2)
    kept = [
        segment if segment in WORDS or (at < named and is_name(segment)) else ID
        for at, segment in enumerate(segments[:MAX_SEGMENTS])
    ]
    return "/" + "/".join(kept)


@lru_cache(maxsize=200)
def is_version(segment: str) -> bool:
    return VERSION.fullmatch(segment) is not None


@lru_cache(maxsize=500)
def is_name(segment: str) -> bool:
    return NAME.fullmatch(segment) is not None or is_version(segment)
