"""What the body of a control request names: a person or a message."""

from bot.sandbox.dingtalk.tenant import Message, Person, Tenant
from bot.sandbox.json_http import BadRequest, Json


def person_in(tenant: Tenant, body: Json) -> Person:
    """Return the person with the user id in `person`. Raises BadRequest if there is none."""
    person = tenant.people.get(str(body.get("person")))
    if person is None:
        raise BadRequest("no such person")
    return person


def message_in(tenant: Tenant, body: Json, name: str = "message_id") -> Message:
    """Return the message whose id the body has under `name`. Raises BadRequest if there is none."""
    message = tenant.messages.get(str(body.get(name)))
    if message is None:
        raise BadRequest("no such message")
    return message
