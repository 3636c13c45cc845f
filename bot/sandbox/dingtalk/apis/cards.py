"""Interactive cards: create and deliver, update, and the registration of HTTP callback addresses."""

import secrets
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from bot.sandbox.dingtalk.cards import (
    card_content,
    check_update_options,
    find_template,
    param_error,
    read_data,
    show_change,
)
from bot.sandbox.dingtalk.gateway import ApiError, Apis, Call, success
from bot.sandbox.dingtalk.parameters import Parameters
from bot.sandbox.dingtalk.tenant import CallbackRoute, Card, CardTemplate, Chat, Person, Tenant
from bot.sandbox.json_http import Json

apis = Apis()

WRITE = ("Card.Instance.Write",)
SPACES = {"IM_ROBOT": "imRobot", "IM_GROUP": "imGroup"}
SPACE_PREFIX = "dtv1.card//"


@apis.api("POST", "/v1.0/card/instances/createAndDeliver", tenant=WRITE)
async def create_and_deliver(call: Call) -> web.Response:
    """Create a card and deliver it to one space, a direct chat or a group."""
    tenant, body = call.tenant, Parameters(call.body, "param.error")
    template = find_template(tenant, body.text("cardTemplateId"))
    out_track_id = body.text("outTrackId")
    existing = tenant.cards.get(out_track_id)
    if existing is not None:
        if tenant.behaviour.reused_out_track_id == "refused":
            raise param_error("cardAlreadyExist", "the outTrackId is in use")
        return success(created_json(existing, "", success_=True))
    card = read_card(tenant, template, body, call.body, out_track_id)
    card.space_type, card.space_id = read_space(body.text("openSpaceId"))
    chat, only_for = find_space(tenant, card, call.body)
    tenant.cards[out_track_id] = card
    recipient = tenant.people[chat.members[0]] if chat.kind == "p2p" else None
    if recipient is not None and recipient.throttled:
        return success(created_json(card, "flow control", success_=False))
    message = tenant.new_bot_message(
        chat, "card", card_content(card), sent_by="createAndDeliver", only_for=only_for
    )
    message.out_track_id = out_track_id
    card.message_ids.append(message.message_id)
    tenant.add_message(message)
    return success(created_json(card, "", success_=True))


def read_card(tenant: Tenant, template: CardTemplate, body: Parameters, raw: Json, out_track_id: str) -> Card:
    if raw.get("cardData") is None:
        raise ApiError("MissingcardData", "cardData is mandatory for this action.")
    callback = body.optional_text("callbackType") or "HTTP"
    if callback not in ("STREAM", "HTTP"):
        raise body.wrong("callbackType must be STREAM or HTTP")
    route = body.optional_text("callbackRouteKey")
    if callback == "HTTP" and route is not None and route not in tenant.callback_routes:
        raise param_error("callbackRouteKeyNotExist", "the callbackRouteKey is not registered")
    kind = body.whole("userIdType", minimum=1, maximum=2, default=1) or 1
    data = read_data(template, raw["cardData"], "cardData")
    private = body.object("privateData") or {}
    card = Card(
        out_track_id,
        template.template_id,
        "STREAM" if callback == "STREAM" else "HTTP",
        route,
        data,
        {},
        kind,
    )
    for user, values in private.items():
        person = find_user(tenant, card, user)
        card.private_data[person.user_id] = read_data(template, values, f"privateData.{user}")
    return card


def find_user(tenant: Tenant, card: Card, given: str) -> Person:
    person = tenant.member(given) if card.user_id_type == 1 else tenant.by_union_id(given)
    if person is None or person.corp_id != tenant.app.corp_id:
        raise param_error("userIdNotExist", "the user does not exist")
    return person


def read_space(open_space_id: str) -> tuple[str, str]:
    """Return the type and the id of a space, `dtv1.card//TYPE.ID`."""
    kind, dot, space_id = open_space_id.removeprefix(SPACE_PREFIX).partition(".")
    if not open_space_id.startswith(SPACE_PREFIX) or not dot or kind not in SPACES or not space_id:
        raise param_error(
            "openSpaceIdInvalid", "openSpaceId is dtv1.card//IM_ROBOT.ID or dtv1.card//IM_GROUP.ID"
        )
    return kind, space_id


def find_space(tenant: Tenant, card: Card, raw: Json) -> tuple[Chat, list[str] | None]:
    """Return the chat, and the members who see the card; None is everyone."""
    model = raw.get(f"{SPACES[card.space_type]}OpenDeliverModel")
    if not isinstance(model, dict):
        raise param_error("error", f"{SPACES[card.space_type]}OpenDeliverModel is missing")
    if card.space_type == "IM_ROBOT":
        if model.get("spaceType") != "IM_ROBOT":
            raise param_error("error", "imRobotOpenDeliverModel.spaceType is IM_ROBOT")
        chat = tenant.direct_chat(find_user(tenant, card, card.space_id).user_id)
        if chat is None:
            raise param_error("userIdNotExist", "the user has no chat with the robot")
        return chat, None
    if model.get("robotCode") != tenant.app.robot_code:
        raise param_error("error", "imGroupOpenDeliverModel.robotCode is unknown")
    chat = tenant.chats.get(card.space_id)
    if chat is None or chat.kind != "group" or chat.dissolved or not chat.has_bot:
        raise param_error("openSpaceIdInvalid", "the robot is in no such group")
    return chat, read_recipients(tenant, card, chat, model.get("recipients"))


def read_recipients(tenant: Tenant, card: Card, chat: Chat, recipients: Any) -> list[str] | None:
    if recipients is None or recipients == []:
        return None
    if not isinstance(recipients, list) or not all(isinstance(each, str) for each in recipients):
        raise param_error("error", "recipients must be a list of ids")
    found = [find_user(tenant, card, each).user_id for each in recipients]
    if not set(found) <= set(chat.members):
        raise param_error("userIdNotExist", "a recipient is not in the group")
    return found


def created_json(card: Card, error: str, *, success_: bool) -> Json:
    delivered = {
        "spaceType": card.space_type,
        "spaceId": card.space_id,
        "success": success_,
        "carrierId": secrets.token_urlsafe(24) if success_ else "",
        "errorMsg": error,
    }
    return {"success": True, "result": {"outTrackId": card.out_track_id, "deliverResults": [delivered]}}


@apis.api("PUT", "/v1.0/card/instances", tenant=WRITE)
async def update(call: Call) -> web.Response:
    """Change a card's data: by key, or as a whole."""
    tenant, body = call.tenant, Parameters(call.body, "param.error")
    card = tenant.cards.get(body.text("outTrackId"))
    if card is None:
        raise param_error("cardNotExist", "the card does not exist")
    template = find_template(tenant, card.template_id)
    options = check_update_options(call.body.get("cardUpdateOptions"))
    if call.body.get("cardData") is None and call.body.get("privateData") is None:
        raise ApiError("MissingcardData", "cardData is mandatory for this action.")
    if call.body.get("cardData") is not None:
        values = read_data(template, call.body["cardData"], "cardData")
        card.data = {**card.data, **values} if options.get("updateCardDataByKey") else dict(values)
    for user, given in (body.object("privateData") or {}).items():
        person = find_user(tenant, card, user)
        values = read_data(template, given, f"privateData.{user}")
        before = card.private_data.get(person.user_id, {}) if options.get("updatePrivateDataByKey") else {}
        card.private_data[person.user_id] = {**before, **values}
    show_change(tenant, card)
    return success({"success": True, "result": True})


@apis.api("POST", "/v1.0/card/callbacks/register", tenant=WRITE)
async def register_callback(call: Call) -> web.Response:
    """Register the HTTP address of card callbacks under a key; changing it requires `forceUpdate`."""
    body = Parameters(call.body, "param.error")
    key, url = body.text("callbackRouteKey"), body.text("callbackUrl")
    if urlsplit(url).scheme not in ("http", "https"):
        raise body.wrong("callbackUrl is not a URL")
    secret = body.optional_text("apiSecret") or secrets.token_urlsafe(16)
    known = call.tenant.callback_routes.get(key)
    route = CallbackRoute(url, secret)
    if known is not None and known != route and not body.flag("forceUpdate"):
        raise param_error("callbackRouteKeyExist", "the callbackRouteKey is in use")
    call.tenant.callback_routes[key] = route
    return success({"success": True, "result": {"callbackUrl": url, "apiSecret": secret}})
