"""One person, or one organization, with a great deal of everything: bounded, told, and in nobody else's way."""

from __future__ import annotations

import pytest

from bot.store.inbox import MAX_WAITING
from tests.scenarios.test_sign_in import Browser

from .card_content import text_of
from .world import World


def waiting(world: World, name: str) -> int:
    """Suspended calls of a person; zero also means that nothing is queued."""
    (row,) = world.rows(
        "SELECT sum(status = 'suspended') AS suspended, sum(status IN ('queued', 'running')) AS moving "
        "FROM deferred_calls JOIN users USING (user_key) WHERE open_id = ?",
        world.person(name).open_id,
    )
    return int(row["suspended"] or -row["moving"])


@pytest.mark.slow
async def test_a_person_with_the_most_calls_waiting_is_told_and_can_get_out_of_it(world: World) -> None:
    await world.start()
    first = await world.say(world.sam, "/task one")
    await world.fresh_card(world.sam, first)
    for number in range(MAX_WAITING - 1):
        await world.say(world.sam, f"/task {number}")
    await world.until(lambda: waiting(world, "Sam Rivera") == MAX_WAITING, "all of them wait")
    refused = await world.say(world.sam, "/task one too many")
    told = await world.answer_to(refused, "100 requests waiting")
    assert "/cancel" in text_of(told.content)
    # Once is enough for a flood, and another person is not concerned.
    for number in range(10):
        await world.say(world.sam, f"/task {number} too many")
    await world.answer_to(await world.say(world.ada, "/help"))
    await world.until(lambda: waiting(world, "Sam Rivera") == MAX_WAITING, "no more of them wait")
    assert len([m for m in world.tenant.messages.values() if "requests waiting" in text_of(m.content)]) <= 2
    # What helps out of it is still heard.
    await world.answer_to(await world.say(world.sam, "/help"), "/cancel")
    await world.answer_to(await world.say(world.sam, "/cancel"), "Cancelled: /task", patience=120)
    assert waiting(world, "Sam Rivera") == 0
    again = await world.say(world.sam, "/task taken again")
    await world.until(lambda: waiting(world, "Sam Rivera") == 1, "the next one waits")
    assert world.count("deferred_calls", message_id=again)


async def test_an_organization_that_removes_the_app_is_signed_out_and_nothing_of_it_waits(
    world: World,
) -> None:
    await world.start()
    browser = Browser(world)
    # Neither has granted anything: both wait, and one is signed in.
    for person in (world.ada, world.sam):
        await world.fresh_card(person, await world.say(person, "/tasks"))
    await browser.sign_in(world.sam)
    app = world.tenant.app
    removed = {"app_id": app.app_id, "tenant_key": app.tenant_key, "type": "app_uninstalled"}
    event = {"uuid": "u-1", "token": app.verification_token, "type": "event_callback", "event": removed}
    assert (await world.control("events", event=event))["acknowledged"]
    assert world.count("sessions") == 0
    status, _, page = await browser.get("/permissions")
    assert (status, "Sign in" in page) == (200, True)
    settled = world.rows("SELECT DISTINCT status, outcome FROM deferred_calls")
    assert settled == [{"status": "cancelled", "outcome": "app_stopped"}]
    assert world.count("authorization_requests", status=("open", "redeeming")) == 0
    # Delivered again after the organization has come back, it ends nothing of what is there then.
    await world.authorized(world.sam)
    assert (await world.control("events", event=event))["acknowledged"]
    assert world.count("grants", status="active")
    await browser.http.close()


async def test_rows_that_somebody_wrote_do_not_keep_the_bot_busy_when_an_organization_removes_the_app(
    world: World,
) -> None:
    """They are not ended with the rest, so the bot must not look for the rest until nothing is left."""
    await world.start()
    for person in (world.ada, world.sam, world.wei):
        await world.fresh_card(person, await world.say(person, "/tasks"))
    for person, change in ((world.ada, "arguments = 'forged'"), (world.wei, "chat_id = 'oc_forged'")):
        world.change(f"UPDATE deferred_calls SET {change} WHERE user_key LIKE '%{person.open_id}'")
    app = world.tenant.app
    removed = {"app_id": app.app_id, "tenant_key": app.tenant_key, "type": "app_uninstalled"}
    event = {"uuid": "u-2", "token": app.verification_token, "type": "event_callback", "event": removed}
    assert (await world.control("events", event=event))["acknowledged"]
    await world.until(lambda: world.count("events", event_id="u-2"), "the end of it")
    (sams,) = world.rows(
        f"SELECT status, outcome FROM deferred_calls WHERE user_key LIKE '%{world.sam.open_id}'"
    )
    assert sams == {"status": "cancelled", "outcome": "app_stopped"}
    assert world.count("authorization_requests", status=("open", "redeeming")) == 0
