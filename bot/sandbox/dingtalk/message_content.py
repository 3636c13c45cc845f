"""Messages that the app sends: their types, the fields of each type, and their limits.

Functions here raise ValueError with a text; the API that was called has its own form of error.
"""

import json
from typing import Any
from urllib.parse import urlsplit

from bot.sandbox.json_http import Json

MAX_PARAM_BYTES = 15_000
MAX_URL_LENGTH = 500
"""Documented for `singleURL`; applied to the other URLs of a card as well."""

LINK_SCHEMES = ("http", "https", "dingtalk")

MSG_KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "sampleText": (("content",), ()),
    "sampleMarkdown": (("title", "text"), ()),
    "sampleLink": (("title", "text", "messageUrl"), ("picUrl",)),
    "sampleActionCard": (("title", "text", "singleTitle", "singleURL"), ()),
    "sampleActionCard2": (("title", "text", "actionTitle1", "actionURL1", "actionTitle2", "actionURL2"), ()),
    "sampleActionCard6": (("title", "text", "buttonTitle1", "buttonUrl1", "buttonTitle2", "buttonUrl2"), ()),
    **{
        f"sampleActionCard{count}": (
            (
                "title",
                "text",
                *(f"action{part}{n}" for n in range(1, count + 1) for part in ("Title", "URL")),
            ),
            (),
        )
        for count in (3, 4, 5)
    },
}
"""By msgKey: the fields that msgParam must have, and those that it may have."""

SESSION_TYPES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "text": (("content",), ()),
    "markdown": (("title", "text"), ()),
    "link": (("title", "text", "messageUrl"), ("picUrl",)),
    "actionCard": (("title", "text"), ("singleTitle", "singleURL", "btnOrientation", "btns", "hideAvatar")),
    "feedCard": (("links",), ()),
}
"""By msgtype of a session webhook: the fields of its object."""


def check_robot_message(msg_key: str, msg_param: str) -> Json:
    """Return the content of a message of the robot APIs."""
    if msg_key not in MSG_KEYS:
        raise ValueError(f"msgKey {msg_key} does not exist")
    if len(msg_param.encode()) > MAX_PARAM_BYTES:
        raise ValueError(f"msgParam is longer than {MAX_PARAM_BYTES} bytes")
    try:
        content = json.loads(msg_param)
    except ValueError:
        raise ValueError("msgParam is not JSON") from None
    return check_fields(content, *MSG_KEYS[msg_key])


def check_session_message(body: Json) -> tuple[str, Json]:
    """Return the type and the content of a message to a session webhook."""
    msg_type = body.get("msgtype")
    if not isinstance(msg_type, str) or msg_type not in SESSION_TYPES:
        raise ValueError(f"msgtype is one of {', '.join(SESSION_TYPES)}")
    allowed = {"msgtype", msg_type, "at"}
    if extra := body.keys() - allowed:
        raise ValueError(f"unknown {', '.join(sorted(extra))}")
    content = check_fields(body.get(msg_type), *SESSION_TYPES[msg_type])
    if msg_type == "actionCard":
        check_action_card(content)
    if msg_type == "feedCard":
        for link in check_list(content, "links"):
            check_fields(link, ("title", "messageURL", "picURL"), ())
    at = body.get("at")
    if at is not None:
        check_at(at)
        content = {**content, "at": at}
    return msg_type, content


def check_action_card(content: Json) -> None:
    """Check that a card has either one button, `singleTitle` and `singleURL`, or a list of them."""
    single = "singleTitle" in content or "singleURL" in content
    if single == ("btns" in content):
        raise ValueError("an action card has either singleTitle and singleURL, or btns")
    if single:
        check_fields(
            {k: content.get(k) for k in ("singleTitle", "singleURL")}, ("singleTitle", "singleURL"), ()
        )
        return
    if content.get("btnOrientation", "0") not in ("0", "1"):
        raise ValueError("btnOrientation is 0 or 1")
    for button in check_list(content, "btns"):
        check_fields(button, ("title", "actionURL"), ())


def check_list(content: Json, name: str) -> list[Any]:
    given = content.get(name)
    if not isinstance(given, list) or not given:
        raise ValueError(f"{name} must be a list")
    return given


def check_fields(content: Any, needed: tuple[str, ...], optional: tuple[str, ...]) -> Json:
    """Check that an object has the needed fields, no unknown ones, and URLs that a client can open."""
    if not isinstance(content, dict):
        raise ValueError("the message is not an object")
    if unknown := content.keys() - {*needed, *optional}:
        raise ValueError(f"unknown {', '.join(sorted(unknown))}")
    for name in needed:
        if not content.get(name):
            raise ValueError(f"{name} is missing")
    for name, value in content.items():
        if name in ("btns", "links"):
            continue
        if not isinstance(value, str):
            raise ValueError(f"{name} must be a string")
        if "url" in name.lower() and value:
            check_url(name, value)
    return content


def check_url(name: str, value: str) -> None:
    if len(value) > MAX_URL_LENGTH:
        raise ValueError(f"{name} is longer than {MAX_URL_LENGTH} characters")
    if urlsplit(value).scheme not in LINK_SCHEMES:
        raise ValueError(f"{name} is not a URL")


def check_at(at: Any) -> None:
    if not isinstance(at, dict) or at.keys() - {"atUserIds", "atMobiles", "isAtAll"}:
        raise ValueError("at has atUserIds, atMobiles and isAtAll")
    for name in ("atUserIds", "atMobiles"):
        if not isinstance(at.get(name, []), list):
            raise ValueError(f"{name} must be a list")
