"""Sends messages and cards, and updates cards.

A prompt reply is posted to the URL that came with the message; everything else is sent to the group, or to the user
alone. Only cards have an idempotency key. A message that may have arrived is sent again nevertheless, because a lost
answer is worse than a duplicate: see `PlatformLimits.idempotency_window`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bot.core.api import (
    ApiCall,
    AppScopeMissing,
    InsufficientScope,
    Json,
    Outcome,
    RateLimited,
    Refused,
    Succeeded,
    TokenRejected,
    Unreachable,
)
from bot.core.messages import Content, Destination, NotSent, Sent
from bot.core.unseen_characters import one_line
from bot.dingtalk import markdown
from bot.dingtalk.api import CallAsApp
from bot.dingtalk.conversations import group_conversation, is_staff_id
from bot.dingtalk.error_codes import CARD_EXISTS, QUOTA_EXHAUSTED, SESSION_EXPIRED
from bot.dingtalk.events import ReplySession
from bot.dingtalk.outcomes import code_of
from bot.dingtalk.rendered_messages import (
    CARD,
    RenderedMessage,
    as_robot_message,
    as_session_message,
    card_values,
    parse_content,
)
from bot.transport.sending import not_sent_because

TO_USERS = "/v1.0/robot/oToMessages/batchSend"

TO_GROUP = "/v1.0/robot/groupMessages/send"

CARDS = "/v1.0/card/instances"

NEW_CARD = f"{CARDS}/createAndDeliver"

FLOW_CONTROL_WAIT = 2.0
"""Seconds until a message to a throttled user is sent again."""

CONTENT_CODES = frozenset({"param.error", "invalidParameter.msgParam.invalid", "msgKeyNotFound"})
"""Refusals of the content, which every route would refuse."""


@dataclass(frozen=True, slots=True)
class CardTemplate:
    """The template of interactive cards, and where clicks on them are sent."""

    id: str
    callback_route: str | None
    """The key under which a webhook is registered; None if clicks arrive over the long connection."""


PostToSession = Callable[[ReplySession, Json], Awaitable[Outcome]]


class Sender:
    """Sends as one robot of the app."""

    def __init__(
        self,
        robot_code: str,
        template: CardTemplate | None,
        call_as_app: CallAsApp,
        post_to_session: PostToSession,
    ) -> None:
        self._robot_code, self._template = robot_code, template
        self._call, self._post = call_as_app, post_to_session

    async def send(
        self, destination: Destination, content: Content, key: str, session: ReplySession | None
    ) -> Sent | NotSent:
        """Send a message by the first route that accepts it. `session`: where to post it as a reply, if possible."""
        rendered, group = parse_content(content), group_conversation(destination.chat_id)
        alone = destination.private or group is None
        if content.kind == CARD or any(each.action for each in rendered.buttons):
            if self._template is not None and alone:
                return await self._send_card(self._template, destination, rendered, key)
        elif session is not None and not (destination.private and group is not None):
            reply = await self._reply(session, rendered, key)
            if reply is not None:
                return reply
        if not alone and group is not None:
            in_group = await self._send_to_group(group, rendered)
            if isinstance(in_group, Sent) or not in_group.no_route:
                return in_group
        return await self._send_to_user(destination.user.open_id, rendered)

    async def _reply(
        self, session: ReplySession, rendered: RenderedMessage, key: str
    ) -> Sent | NotSent | None:
        """Post a reply to a message. Return None if it was not accepted and another route must be used."""
        outcome = await self._post(session, as_session_message(rendered))
        match outcome:
            case Succeeded():
                return Sent(f"reply-{key}")
            case Refused() | TokenRejected() | AppScopeMissing() | InsufficientScope():
                return None
            case RateLimited():
                return None
            case Unreachable(may_have_arrived=False):
                return None
            case _:
                return not_sent(outcome)

    async def _send_to_group(self, conversation: str, rendered: RenderedMessage) -> Sent | NotSent:
        # Everyone in the group sees the message, so it has no button.
        text = {"title": rendered.title, "text": rendered.full_text}
        body = {
            "robotCode": self._robot_code,
            "openConversationId": conversation,
            "msgKey": "sampleMarkdown",
            "msgParam": markdown.to_json(text),
        }
        return sent(await self._call(ApiCall("POST", TO_GROUP, {}, body)))

    async def _send_to_user(self, staff_id: str, rendered: RenderedMessage) -> Sent | NotSent:
        if not is_staff_id(staff_id):
            return NotSent(
                "a user of another organization cannot be sent messages", retry=False, no_route=True
            )
        key, parameters = as_robot_message(rendered)
        body = {
            "robotCode": self._robot_code,
            "userIds": [staff_id],
            "msgKey": key,
            "msgParam": markdown.to_json(parameters),
        }
        return delivered(await self._call(ApiCall("POST", TO_USERS, {}, body)), staff_id)

    # --- interactive cards

    async def _send_card(
        self, template: CardTemplate, destination: Destination, rendered: RenderedMessage, key: str
    ) -> Sent | NotSent:
        """Send a card to its user alone. Its id is derived from the key, so the platform recognizes a repeated card."""
        staff_id, card_id = destination.user.open_id, card_id_of(key)
        if not is_staff_id(staff_id):
            return NotSent("a user of another organization cannot be sent cards", retry=False, no_route=True)
        body = {
            "cardTemplateId": template.id,
            "outTrackId": card_id,
            "callbackType": "HTTP" if template.callback_route else "STREAM",
            **({"callbackRouteKey": template.callback_route} if template.callback_route else {}),
            "userIdType": 1,
            "cardData": {"cardParamMap": card_values(rendered)},
            "openSpaceId": f"dtv1.card//IM_ROBOT.{staff_id}",
            "imRobotOpenSpaceModel": {"supportForward": False},
            "imRobotOpenDeliverModel": {"spaceType": "IM_ROBOT"},
        }
        outcome = await self._call(ApiCall("POST", NEW_CARD, {}, body))
        if is_refused_with(outcome, CARD_EXISTS):
            return Sent(card_id)
        if not isinstance(outcome, Succeeded):
            return not_sent(outcome)
        return card_delivered(outcome.data, card_id)

    async def update_card(self, card_id: str, content: Content) -> NotSent | None:
        """Update an interactive card. A plain one cannot be updated."""
        if self._template is None or not card_id.startswith(CARD_PREFIX):
            return NotSent("this card cannot be updated", retry=False, gone=True)
        body = {
            "outTrackId": card_id,
            "cardData": {"cardParamMap": card_values(parse_content(content))},
            "cardUpdateOptions": {"updateCardDataByKey": True},
        }
        outcome = await self._call(ApiCall("PUT", CARDS, {}, body))
        if not isinstance(outcome, Succeeded):
            return not_sent(outcome)
        data = outcome.data if isinstance(outcome.data, dict) else {}
        if data.get("success") is False or data.get("result") is False:
            return NotSent("the platform did not update the card", retry=False, gone=True)
        return None


CARD_PREFIX = "card."


def card_id_of(key: str) -> str:
    """Return the id of the card that is sent with a key: a digest, because it must be unique among the app's cards."""
    return f"{CARD_PREFIX}{hashlib.sha256(key.encode()).hexdigest()[:40]}"


# --- reading responses -------------------------------------------------------------------------------


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def sent(outcome: Outcome) -> Sent | NotSent:
    if not isinstance(outcome, Succeeded):
        return not_sent(outcome)
    query_key = mapping(outcome.data).get("processQueryKey")
    if isinstance(query_key, str) and query_key:
        return Sent(query_key)
    return NotSent("a response without a processQueryKey", retry=True, may_have_arrived=True)


def delivered(outcome: Outcome, staff_id: str) -> Sent | NotSent:
    """Return whether a message was delivered to a user: a successful response does not mean that it was."""
    if isinstance(outcome, Succeeded):
        data = mapping(outcome.data)
        if lists(data, "flowControlledStaffIdList", staff_id):
            return NotSent(
                "the platform throttles messages to this user",
                retry=True,
                retry_after=FLOW_CONTROL_WAIT,
                rate_limited=True,
            )
        if lists(data, "invalidStaffIdList", staff_id):
            return NotSent("the platform does not know this user", retry=False, no_route=True)
        if lists(data, "filteredStaffIdList", staff_id):
            return NotSent("the platform filtered the message to this user", retry=False, no_route=True)
    return sent(outcome)


def lists(data: Mapping[str, Any], name: str, staff_id: str) -> bool:
    found = data.get(name)
    return isinstance(found, list) and staff_id in found


def card_delivered(data: Json, card_id: str) -> Sent | NotSent:
    """Return whether a card was delivered: each delivery of a card has its own result."""
    response = mapping(data)
    results = mapping(response.get("result")).get("deliverResults")
    failed = (
        [each for each in results if isinstance(each, dict) and each.get("success") is not True]
        if isinstance(results, list)
        else []
    )
    if response.get("success") is False or failed:
        why = failed[0].get("errorMsg") if failed else ""
        reason = one_line(why, 200) if isinstance(why, str) and why else "no reason given"
        return NotSent(f"the card was not delivered: {reason}", retry=False, no_route=True)
    return Sent(card_id)


def is_refused_with(outcome: Outcome, code: str) -> bool:
    return isinstance(outcome, Refused) and isinstance(outcome.data, dict) and code_of(outcome.data) == code


def not_sent(outcome: Outcome) -> NotSent:
    """Return why a message was not sent, and whether to retry."""
    match outcome:
        case Refused(code=status, message=message, data=data, unnamed_scope=lacks_scope):
            code = code_of(data) if isinstance(data, dict) else ""
            app = lacks_scope or code == QUOTA_EXHAUSTED or code in APP_CODES or status == SESSION_EXPIRED
            reason = one_line(message, 200) or f"HTTP {status}"
            return NotSent(
                reason, retry=app, gone=code in GONE_CODES, no_route=not app and code not in CONTENT_CODES
            )
        case Succeeded():
            raise AssertionError("it was sent")
        case _:
            return not_sent_because(outcome)


APP_CODES = frozenset({"invalidClientIdOrSecret", "invalid.client"})
"""The message can be sent once an operator has fixed the app's credentials."""

GONE_CODES = frozenset({"param.cardNotExist"})
