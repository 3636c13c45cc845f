"""The reaction APIs: add emojis to messages and remove them."""

from typing import Literal

from aiohttp import web

from bot.sandbox.lark.apis.messages import check_people
from bot.sandbox.lark.gateway import ApiError, Apis, Call, one_of, success
from bot.sandbox.lark.parameters import violation
from bot.sandbox.lark.tenant import Chat, Message, Reaction, new_id

apis = Apis()

WRITE = one_of("im:message", "im:message.reactions:write_only")

EMOJIS = frozenset(
    {
        *(
            "SMILE",
            "LAUGH",
            "LOL",
            "LOVE",
            "HEART",
            "THUMBSUP",
            "ThumbsDown",
            "APPLAUSE",
            "MUSCLE",
            "FISTBUMP",
        ),
        *(
            "OK",
            "DONE",
            "LGTM",
            "JIAYI",
            "THANKS",
            "THINKING",
            "GLANCE",
            "EMBARRASSED",
            "PARTY",
            "FIRE",
            "Fire",
        ),
        *("Typing", "OnIt", "Get", "OneSecond", "StatusReading", "StatusInFlight", "Status_PrivateMessage"),
        *("CheckMark", "CrossMark", "Hundred", "Pin", "Alarm", "Loudspeaker", "WAVE", "SALUTE", "STRIVE"),
    }
)
"""Some of the names that the platform accepts. It accepts neither Unicode emoji nor translated names."""


@apis.api("POST", "/im/v1/messages/{message_id}/reactions", user=WRITE, tenant=WRITE)
async def create(call: Call) -> web.Response:
    """Add a reaction, or return the existing one of this emoji and operator."""
    kind = call.body.get("reaction_type")
    if not isinstance(kind, dict):
        raise violation("reaction_type", kind, "reaction_type is required")
    emoji = kind.get("emoji_type")
    if not isinstance(emoji, str) or emoji not in EMOJIS:
        raise ApiError(231001, "reaction type is invalid.")
    message = find_reachable_message(call)
    operator, who = identity(call)
    for known in message.reactions:
        if (known.emoji_type, known.operator) == (emoji, operator):
            return success(known.as_json())
    reaction = Reaction(new_id("ZCaC", 40), emoji, operator, who, call.tenant.clock.wall_ms())
    call.tenant.add_reaction(message, reaction)
    return success(reaction.as_json())


@apis.api("DELETE", "/im/v1/messages/{message_id}/reactions/{reaction_id}", user=WRITE, tenant=WRITE)
async def remove(call: Call) -> web.Response:
    message, wanted = find_reachable_message(call), call.path("reaction_id")
    reaction = next((each for each in message.reactions if each.reaction_id == wanted), None)
    if reaction is None:
        elsewhere = (r for m in call.tenant.messages.values() for r in m.reactions)
        if any(each.reaction_id == wanted for each in elsewhere):
            raise ApiError(231010, "The reaction does not belong to the message.")
        raise ApiError(231011, "The request has an invalid reaction_id.")
    if reaction.operator != identity(call)[0]:
        raise ApiError(231007, "The operator has no permission to delete this reaction.")
    call.tenant.remove_reaction(message, reaction)
    return success(reaction.as_json())


def identity(call: Call) -> tuple[str, Literal["user", "app"]]:
    """Return the operator's id and type."""
    if call.person is not None:
        return call.person.open_id, "user"
    return call.tenant.app.app_id, "app"


def find_reachable_message(call: Call) -> Message:
    """Return the message, in a chat that the caller is in. Ephemeral messages accept no reactions. Raises ApiError."""
    message = call.tenant.messages.get(call.path("message_id"))
    if message is None or message.deleted or message.recalled or message.ephemeral_for is not None:
        raise ApiError(231003, "The message is not found, maybe not exist or deleted.")
    chat = call.tenant.chats[message.chat_id]
    if chat.dissolved:
        raise ApiError(231004, "The chat in which the message exists is not found, maybe not exist.")
    if not is_member(call, chat):
        raise ApiError(231002, "The operator has no permission to react on the specific message.")
    if call.person is None:
        check_people(call.tenant, chat)
    return message


def is_member(call: Call, chat: Chat) -> bool:
    return chat.has_bot if call.person is None else call.person.open_id in chat.members
