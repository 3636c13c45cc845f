"""Interactive cards: validation and updates of their data, and the messages that show them."""

from typing import Any, Literal

from bot.sandbox.dingtalk.gateway import ApiError
from bot.sandbox.dingtalk.tenant import Card, CardTemplate, Person, Tenant
from bot.sandbox.json_http import Json

MAX_KEY_BYTES = 100
MAX_VALUE_BYTES = 1024


def param_error(code: str, message: str) -> ApiError:
    return ApiError(f"param.{code}", message)


def find_template(tenant: Tenant, template_id: str) -> CardTemplate:
    template = tenant.templates.get(template_id)
    if template is None:
        raise param_error("templateNotExist", "the template does not exist")
    if not template.published:
        raise param_error("templateUnpublished", "the template is not published")
    return template


def read_data(template: CardTemplate, given: Any, name: str) -> dict[str, str]:
    """Return the `cardParamMap` of an object: texts of limited length, for variables of the template."""
    if given is None:
        return {}
    if not isinstance(given, dict) or given.keys() - {"cardParamMap"}:
        raise param_error("error", f"{name} may only contain cardParamMap")
    values = given.get("cardParamMap", {})
    if not isinstance(values, dict):
        raise param_error("error", f"{name}.cardParamMap must be an object")
    for key, value in values.items():
        if not isinstance(value, str):
            raise param_error("error", f"{name}.cardParamMap.{key} must be a string")
        if len(key.encode()) > MAX_KEY_BYTES or len(value.encode()) > MAX_VALUE_BYTES:
            raise param_error("error", f"{name}.cardParamMap.{key} is too long")
        if template.variables and key not in template.variables:
            raise param_error("error", f"{name}.cardParamMap.{key}: the template has no such variable")
    return values


def card_content(card: Card) -> Json:
    """Return a card as the content of its messages; `private` is by user id."""
    return {
        "template_id": card.template_id,
        "data": dict(card.data),
        "private": {user: dict(values) for user, values in card.private_data.items()},
        "callback": card.callback_type,
    }


def show_change(tenant: Tenant, card: Card) -> None:
    for message_id in card.message_ids:
        message = tenant.messages[message_id]
        if not message.recalled:
            tenant.update_message(message, card_content(card))


UpdateKind = Literal["cardData", "privateData"]


def callback_answer(tenant: Tenant, card: Card, answer: Any) -> Json:
    """Check the app's answer to a callback: an update of the card, or nothing. Raises ApiError."""
    if answer is None or answer == {}:
        return {}
    if not isinstance(answer, dict):
        raise param_error("error", "the answer is not an object")
    if unknown := answer.keys() - {"cardUpdateOptions", "cardData", "userPrivateData"}:
        raise param_error("error", f"the answer has unknown {', '.join(sorted(unknown))}")
    check_update_options(answer.get("cardUpdateOptions"))
    template = tenant.templates[card.template_id]
    read_data(template, answer.get("cardData"), "cardData")
    read_data(template, answer.get("userPrivateData"), "userPrivateData")
    return answer


def check_update_options(options: Any) -> Json:
    if options is None:
        return {}
    known = {"updateCardDataByKey", "updatePrivateDataByKey"}
    if not isinstance(options, dict) or options.keys() - known:
        raise param_error("error", f"cardUpdateOptions may only contain {', '.join(sorted(known))}")
    if not all(isinstance(value, bool) for value in options.values()):
        raise param_error("error", "cardUpdateOptions must be true or false")
    return options


def apply_update(tenant: Tenant, card: Card, answer: Json, person: Person) -> None:
    """Apply a checked answer to a callback: to the card, and to what only this person sees of it."""
    options = answer.get("cardUpdateOptions") or {}
    if answer.get("cardData") is not None:
        values = answer["cardData"].get("cardParamMap", {})
        card.data = {**card.data, **values} if options.get("updateCardDataByKey") else dict(values)
    if answer.get("userPrivateData") is not None:
        values = answer["userPrivateData"].get("cardParamMap", {})
        before = card.private_data.get(person.user_id, {}) if options.get("updatePrivateDataByKey") else {}
        card.private_data = {**card.private_data, person.user_id: {**before, **values}}
    if answer:
        show_change(tenant, card)
