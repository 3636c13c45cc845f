"""The ids of chats. The ids of direct chats and groups look alike, but messages to them are sent differently."""

from __future__ import annotations

DIRECT = "direct:"
"""The prefix of the id of a direct chat."""


def chat_id_of(conversation_id: str, *, group: bool) -> str:
    """Return the id by which the bot knows a conversation."""
    return conversation_id if group else f"{DIRECT}{conversation_id}"


def group_conversation(chat_id: str | None) -> str | None:
    """Return the platform's id of a group, or None for a direct chat and for no chat."""
    return None if chat_id is None or chat_id.startswith(DIRECT) else chat_id


def is_staff_id(open_id: str) -> bool:
    """Whether this id can be sent messages. The encrypted id of a person of another organization cannot."""
    return not open_id.startswith("$")
