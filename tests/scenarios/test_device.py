"""The device flow: no browser reaches the bot, and people authorize on the platform's own page (RFC 8628)."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any

import pytest

from bot.sandbox.lark.credentials import DeviceAuthorization
from bot.sandbox.lark.tenant import Message, Person
from tests.ports import free_port

from .card_content import actions_on, kinds_of_buttons, text_of
from .world import World, forged_click

POLLS = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code"}
DEVICE_ENDPOINT = "/oauth/v1/device_authorization"


class Room:
    """A world whose bot has no address."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.tenant.behaviour.device_poll_seconds = 1
        world.tenant.app.redirect_urls = []

    async def start(self, **settings: str) -> None:
        await self.world.start(BOT_PUBLIC_URL="", **settings)

    async def asked(self, person: Person, text: str, chat: Any = None) -> tuple[str, Message]:
        """A command that needs consent, and the card that asks for it."""
        message = await self.world.say(person, text, chat)
        return message, await self.card_after(person, message)

    async def card_after(self, person: Person, message: str) -> Message:
        def found() -> Message | None:
            mine = self.world.from_bot(self.world.direct(person), message)
            return next((m for m in mine if can_press(m)), None)

        card: Message = await self.world.until(found, "a card with its button")
        return card

    async def press(self, person: Person, card: Message) -> dict[str, Any]:
        """Presses the card's button; the card that the client shows from then on is `card`'s."""
        clicked = await self.world.click(person, card, "authorize")
        assert clicked["code"] is None
        response: dict[str, Any] = clicked["response"]
        return response

    def links(self, card: Message) -> list[str]:
        shown = self.world.tenant.messages[card.message_id]
        return re.findall(r'"default_url": "([^"]+)"', json.dumps(shown.content))

    async def link(self, card: Message) -> str:
        """The platform's link, once the card shows it."""
        links: list[str] = await self.world.until(lambda: self.links(card), "the platform's link")
        assert len(links) == 1
        assert links[0].startswith(f"{self.world.origin}/oauth/v1/device/verify?user_code=")
        return links[0]

    async def decide(self, link: str, person: Person, decision: str = "allow") -> None:
        """The person goes to the platform's page and decides there."""
        status, target, page = await self.world.get(link)
        assert status == 302, page
        assert await self.world.decide(target.split("id=")[1], person, decision) == "None"

    async def says(self, card: Message, words: str, patience: float = 15) -> None:
        """Waits until the card says this."""
        shown = self.world.tenant.messages[card.message_id]
        await self.world.until(lambda: words in text_of(shown.content), f"a card with {words!r}", patience)

    def codes(self) -> list[DeviceAuthorization]:
        return list(self.world.tenant.credentials.devices.values())

    def polls(self) -> list[dict[str, Any]]:
        """The polls that the platform has answered, unless a fault struck them."""
        sent = self.world.requests("/token", "POST")
        return [each for each in sent if "device" in (each.get("grant_type") or "")]

    async def struck(self, times: int) -> None:
        """Waits until the trouble on purpose has struck so often."""
        faults = self.world.tenant.faults.all
        await self.world.until(lambda: sum(f.struck for f in faults.values()) == times, "the trouble")

    def rows(self) -> list[dict[str, Any]]:
        return self.world.find("device_authorizations")


def can_press(card: Message) -> bool:
    return "authorize" in actions_on(card)


@pytest.fixture
def room(world: World) -> Room:
    return Room(world)


async def test_the_click_brings_the_platforms_link_and_the_consent_the_answer(room: Room, world: World):
    await room.start()
    asked, card = await room.asked(world.sam, "/agenda")
    assert room.links(card) == []
    assert room.codes() == []
    await room.press(world.sam, card)
    link = await room.link(card)
    (code,) = room.codes()
    assert code.user_code in text_of(world.tenant.messages[card.message_id].content)
    assert "offline_access" in code.scopes
    await room.decide(link, world.sam)
    await world.answer_to(asked)
    await room.says(card, "Authorized")
    assert room.links(card) == []
    grant = world.only("grants")
    assert grant["status"] == "active"
    assert grant["refresh_token"]
    (row,) = room.rows()
    assert (row["status"], row["outcome"]) == ("completed", "granted")
    assert row["device_code"] is row["user_code"] is row["link"] is None


async def test_a_second_need_takes_its_own_code_and_loses_nothing(room: Room, world: World):
    await room.start()
    asked, card = await room.asked(world.sam, "/agenda")
    await room.press(world.sam, card)
    await room.decide(await room.link(card), world.sam)
    await world.answer_to(asked)
    again, second = await room.asked(world.sam, "/tasks")
    await room.press(world.sam, second)
    await room.decide(await room.link(second), world.sam)
    await world.answer_to(again)
    grant = world.only("grants")
    assert {"calendar:calendar:readonly", "task:task:read"} <= set(json.loads(grant["scopes"]))


async def test_no_page_is_served_but_those_that_operators_need(room: Room, world: World):
    await room.start()
    for path in ("authorize/x", "oauth/lark/callback?state=s&code=c", "oauth/lark/client"):
        async with world.http.get(f"{world.public}/{path}", allow_redirects=False) as response:
            assert response.status == 404
    for path in ("healthz", "readyz", "metrics"):
        assert (await world.get(f"{world.public}/{path}"))[0] == 200


async def test_a_refusal_on_the_platforms_page_ends_the_code_and_cancels_nothing(room: Room, world: World):
    await room.start()
    asked, card = await room.asked(world.sam, "/tasks")
    for refusals in (1, 2):
        await room.press(world.sam, card)
        # Ada has the user code, but the request is not hers.
        await room.decide(await room.link(card), world.ada, "refuse")
        await world.until(lambda: can_press(world.tenant.messages[card.message_id]), "the button")
        await room.says(card, "Declined on the page")
        assert [row["status"] for row in room.rows()] == ["denied"] * refusals
    assert kinds_of_buttons(world.tenant.messages[card.message_id]) == {
        "Authorize": "default",
        "Not now": "default",
    }
    assert world.statuses("deferred_calls") == ["suspended"]
    assert world.statuses("authorization_requests") == ["open"]
    denied = world.rows("SELECT detail FROM audit_log WHERE action = 'device_authorization_denied'")
    assert [json.loads(row["detail"])["by"] for row in denied] == ["unidentified"] * 2
    assert not world.count("audit_log", action=("request_declined", "call_cancelled"))
    await room.press(world.sam, card)
    await room.decide(await room.link(card), world.sam)
    await world.answer_to(asked)
    await room.says(card, "Authorized")


async def test_somebody_else_at_the_platforms_page_does_not_count(room: Room, world: World):
    await room.start()
    asked, card = await room.asked(world.sam, "/tasks")
    await room.press(world.sam, card)
    await room.decide(await room.link(card), world.ada)
    await room.says(card, "confirmed with another account")
    assert world.count("grants") == 0
    assert world.count("revocations") == 0
    await room.press(world.sam, card)
    await room.decide(await room.link(card), world.sam)
    await world.answer_to(asked)


async def test_only_the_person_who_was_asked_can_press_the_button(room: Room, world: World):
    await room.start()
    _, card = await room.asked(world.sam, "/tasks")
    _, other = await room.asked(world.ada, "/tasks")
    # Ada's client sends what Sam's card would.
    world.tenant.messages[other.message_id].content = world.tenant.messages[card.message_id].content
    response = await room.press(world.ada, other)
    assert "sent to someone else" in response["toast"]["content"]
    assert room.codes() == []


async def test_two_presses_at_once_and_one_more_bring_the_same_link(room: Room, world: World):
    await room.start()
    _, card = await room.asked(world.sam, "/tasks")
    await asyncio.gather(room.press(world.sam, card), room.press(world.sam, card))
    link = await room.link(card)
    assert len(room.codes()) == 1
    # A client that still shows the card of before.
    await forged_click(world, world.sam, {"action": "authorize", "subject": room.rows()[0]["request_id"]})
    assert await room.link(card) == link
    assert len(room.codes()) == 1


async def test_an_expired_link_gives_way_to_the_button(room: Room, world: World):
    await room.start()
    asked, card = await room.asked(world.sam, "/tasks")
    await room.press(world.sam, card)
    link = await room.link(card)
    await world.control("clock", advance=world.tenant.behaviour.device_code_seconds)
    await room.says(card, "The link has expired")
    assert room.links(card) == []
    assert (await world.get(link))[0] == 404
    assert room.rows()[0]["status"] == "expired"
    await room.press(world.sam, card)
    await room.decide(await room.link(card), world.sam)
    await world.answer_to(asked)


async def test_the_bot_slows_down_when_it_is_told_to(room: Room, world: World):
    await room.start()
    asked, card = await room.asked(world.sam, "/tasks")
    await world.control(
        "faults", match=POLLS, times=1, kind="status", status=400, body={"error": "slow_down"}
    )
    pressed_at = time.monotonic()
    await room.press(world.sam, card)
    link = await room.link(card)
    await room.struck(1)
    await room.decide(link, world.sam)
    await world.answer_to(asked)
    assert time.monotonic() - pressed_at > 6.5  # a second until the first poll, and six until the next
    assert [each["code"] for each in room.polls()] == [0]
    assert room.rows()[0]["interval_seconds"] == 6


async def test_no_poll_comes_earlier_than_the_platform_wants(room: Room, world: World):
    await room.start()
    _, card = await room.asked(world.sam, "/tasks")
    await room.press(world.sam, card)
    await world.until(lambda: len(room.polls()) >= 4, "four polls")
    assert {each["code"] for each in room.polls()} == {"authorization_pending"}


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "down"},
        {"kind": "status", "status": 503, "code": 20072},
        {"kind": "rate_limit"},
        {"kind": "html"},
        {"kind": "truncate"},
    ],
    ids=lambda fault: str(fault["kind"]),
)
async def test_a_platform_that_stumbles_while_it_is_polled_costs_nothing(
    room: Room, world: World, fault: dict[str, Any]
):
    await room.start()
    asked, card = await room.asked(world.sam, "/tasks")
    await world.control("faults", match=POLLS, times=2, **fault)
    await room.press(world.sam, card)
    link = await room.link(card)
    await room.struck(2)
    await room.decide(link, world.sam)
    await world.answer_to(asked)


async def test_a_lost_answer_with_the_tokens_is_said_and_the_button_is_there_again(room: Room, world: World):
    await room.start()
    asked, card = await room.asked(world.sam, "/tasks")
    await room.press(world.sam, card)
    link = await room.link(card)
    lost = await world.trouble(POLLS, "drop_after")
    await room.decide(link, world.sam)
    await world.until(lambda: world.tenant.credentials.access, "the tokens that nobody gets")
    await world.lift(lost)
    await room.says(card, "didn't go through")
    await room.press(world.sam, card)
    await room.decide(await room.link(card), world.sam)
    await world.answer_to(asked)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": "invalid_grant", "code": 20003}, "didn't go through"),
        ({"error": "invalid_client", "code": 20002}, "doesn't accept this app's settings"),
        ({"error": "invalid_grant", "code": 20010}, "don't have access to this app"),
    ],
    ids=lambda value: str(value.get("code")) if isinstance(value, dict) else "",
)
async def test_other_errors_end_the_polling_and_are_put_in_words(
    room: Room, world: World, body: dict[str, Any], words: str
):
    await room.start()
    _, card = await room.asked(world.sam, "/tasks")
    await world.control("faults", match=POLLS, times=1, kind="status", status=400, body=body)
    await room.press(world.sam, card)
    await room.says(card, words)
    assert can_press(world.tenant.messages[card.message_id])


async def test_a_slow_platform_does_not_keep_the_click_waiting(room: Room, world: World):
    await room.start()
    asked, card = await room.asked(world.sam, "/tasks")
    await world.control("behaviour", answer_seconds=10)
    await world.control("faults", match={"path": DEVICE_ENDPOINT}, times=1, kind="delay", seconds=6)
    response = await room.press(world.sam, card)
    assert "in a moment" in response["toast"]["content"]
    assert room.links(card) == []
    await room.decide(await room.link(card), world.sam)
    await world.answer_to(asked)
    assert len(room.codes()) == 1


@pytest.mark.parametrize("fault", [{"kind": "down"}, {"kind": "status", "status": 500, "code": 20050}])
async def test_a_code_that_cannot_be_had_at_once_is_fetched_later(
    room: Room, world: World, fault: dict[str, Any]
):
    await room.start()
    asked, card = await room.asked(world.sam, "/tasks")
    await world.control("faults", match={"path": DEVICE_ENDPOINT}, times=2, **fault)
    response = await room.press(world.sam, card)
    assert "in a moment" in response["toast"]["content"]
    await room.decide(await room.link(card), world.sam)
    await world.answer_to(asked)


async def test_an_app_that_is_not_accepted_is_said_on_the_card(room: Room, world: World):
    await room.start()
    _, card = await room.asked(world.sam, "/tasks")
    body = {"error": "invalid_client", "code": 20002, "error_description": "The client secret is invalid."}
    await world.control(
        "faults", match={"path": DEVICE_ENDPOINT}, times=2, kind="status", status=400, body=body
    )
    response = await room.press(world.sam, card)
    assert response["toast"]["type"] == "warning"
    await room.says(card, "doesn't accept this app's settings")


async def test_a_scope_that_was_disabled_meanwhile_gives_way_to_another(room: Room, world: World):
    await world.control("app-scopes", scope="task:task:write", user=True)
    await room.start()
    asked, card = await room.asked(world.sam, "/tasks")
    await world.control("app-scopes", scope="task:task:read", user=False)
    await room.press(world.sam, card)
    await room.says(card, "I've changed what I ask for")
    await room.press(world.sam, card)
    await room.decide(await room.link(card), world.sam)
    await world.answer_to(asked)
    assert "task:task:read" not in room.codes()[0].scopes


async def test_a_need_that_is_added_while_the_code_lives_is_asked_for_afterwards(room: Room, world: World):
    await room.start()
    first, card = await room.asked(world.sam, "/agenda")
    await room.press(world.sam, card)
    link = await room.link(card)
    second = await world.say(world.sam, "/tasks")
    await room.says(card, "task:task:read")
    assert await room.link(card) == link
    await room.decide(link, world.sam)
    await world.answer_to(first)
    await world.until(lambda: can_press(world.tenant.messages[card.message_id]), "the button for the rest")
    await room.press(world.sam, card)
    await room.decide(await room.link(card), world.sam)
    await world.answer_to(second)


@pytest.mark.parametrize("command", ["/cancel", "/revoke", "not_now"])
async def test_what_the_person_drops_is_not_polled_for_any_more(room: Room, world: World, command: str):
    await room.start()
    _, card = await room.asked(world.sam, "/tasks")
    await room.press(world.sam, card)
    link = await room.link(card)
    if command == "not_now":
        await world.click(world.sam, card, command)
    else:
        await world.answer_to(await world.say(world.sam, command))
    await room.says(card, "Not authorized")
    (row,) = room.rows()
    assert (row["status"], row["outcome"], row["device_code"]) == ("failed", "closed", None)
    polls = len(room.polls())
    await room.decide(link, world.sam)
    await asyncio.sleep(2.5)
    assert len(room.polls()) <= polls + 1
    assert world.count("grants") == 0


async def test_tokens_that_arrive_after_a_revocation_are_revoked(room: Room, world: World):
    await room.start()
    _, card = await room.asked(world.sam, "/tasks")
    await room.press(world.sam, card)
    link = await room.link(card)
    await world.control("faults", match=POLLS, kind="delay_after", seconds=3)
    await room.decide(link, world.sam)
    await world.until(lambda: world.tenant.credentials.access, "tokens on their way")
    await world.answer_to(await world.say(world.sam, "/revoke"))
    await world.until(
        lambda: all(token.revoked for token in world.tenant.credentials.refresh.values()), "their revocation"
    )
    assert world.count("grants", status="active") == 0


async def test_after_a_revocation_the_new_grant_is_no_wider_than_what_was_asked(room: Room, world: World):
    await room.start()
    asked, card = await room.asked(world.sam, "/agenda")
    await room.press(world.sam, card)
    await room.decide(await room.link(card), world.sam)
    await world.answer_to(asked)
    await world.answer_to(await world.say(world.sam, "/revoke"))
    again, card = await room.asked(world.sam, "/tasks")
    await room.press(world.sam, card)
    await room.decide(await room.link(card), world.sam)
    await world.answer_to(again)
    grant = world.only("grants", status="active")
    assert "calendar:calendar:readonly" not in json.loads(grant["scopes"])


async def test_a_consent_in_time_counts_though_the_request_has_expired(room: Room, world: World):
    await room.start()
    _, card = await room.asked(world.sam, "/tasks")
    await room.press(world.sam, card)
    link = await room.link(card)
    world.let_expire()
    await room.says(card, "Expired")
    assert room.links(card) == []
    await room.decide(link, world.sam)
    await world.until(lambda: world.count("grants", status="active"), "the grant")


async def test_in_a_group_the_link_is_for_the_asker_alone(room: Room, world: World):
    await room.start()
    await world.control("people", open_id=world.sam.open_id, blocked_bot=True)
    asked = await world.say(world.sam, "/tasks", world.group)

    def shown() -> Message | None:
        mine = (m for m in world.from_bot(world.group, asked) if not m.deleted and not m.recalled)
        return next((m for m in mine if can_press(m) or room.links(m)), None)

    card = await world.until(shown, "the card")
    assert card.ephemeral_for == world.sam.open_id
    await room.press(world.sam, card)
    # A card that only one person sees cannot be changed by the bot; its successor shows the same link.
    await world.until(lambda: (m := shown()) and room.links(m), "the link")
    await room.decide(room.links(shown())[0], world.sam)
    await world.answer_to(asked)
    assert len(room.codes()) == 1


async def test_a_killed_bot_goes_on_polling_when_it_is_back(room: Room, world: World):
    await room.start()
    asked, card = await room.asked(world.sam, "/tasks")
    await room.press(world.sam, card)
    link = await room.link(card)
    await world.kill()
    await room.decide(link, world.sam)
    await world.start()
    await world.answer_to(asked, patience=30)
    await room.says(card, "Authorized")


async def test_a_bot_killed_while_the_code_is_minted_shows_a_link_when_it_is_back(room: Room, world: World):
    await room.start()
    asked, card = await room.asked(world.sam, "/tasks")
    await world.control("behaviour", answer_seconds=10)
    await world.control("faults", match={"path": DEVICE_ENDPOINT}, times=1, kind="delay", seconds=5)
    await room.press(world.sam, card)
    await world.kill()
    await world.start()
    await world.until(lambda: room.links(card), "the link", 35)
    await room.decide(await room.link(card), world.sam)
    await world.answer_to(asked)


async def test_another_replica_goes_on_polling_for_one_that_was_killed(
    room: Room, world: World, postgresql_url: str
):
    await room.start(BOT_DATABASE_URL=postgresql_url)
    first = world.process
    asked, card = await room.asked(world.sam, "/tasks")
    await world.control("faults", match=POLLS, times=1, kind="timeout")
    await room.press(world.sam, card)
    link = await room.link(card)
    await room.struck(1)
    assert first is not None
    first.kill()
    await first.wait()
    world.port = free_port()
    await world.start()
    await room.decide(link, world.sam)
    await world.answer_to(asked, patience=30)
    await room.says(card, "Authorized")


async def test_two_replicas_share_the_polling_of_one_code(room: Room, world: World, postgresql_url: str):
    await room.start(BOT_DATABASE_URL=postgresql_url)
    first = world.process
    world.port = free_port()
    await world.start()
    asked, card = await room.asked(world.sam, "/tasks")
    await room.press(world.sam, card)
    link = await room.link(card)
    await world.until(lambda: len(room.polls()) >= 4, "some polls")
    await room.decide(link, world.sam)
    await world.answer_to(asked)
    # A poll too many would have been told to slow down.
    assert {each["code"] for each in room.polls()} == {"authorization_pending", 0}
    assert first is not None
    first.kill()
    await first.wait()


@pytest.mark.parametrize("generation", ["v2", "v3"])
async def test_both_generations_over_the_long_connection(room: Room, world: World, generation: str):
    world.tenant.app.events_by = "websocket"
    await room.start(LARK_EVENTS="websocket", LARK_OAUTH=generation)
    asked, card = await room.asked(world.sam, "/tasks")
    await room.press(world.sam, card)
    await room.decide(await room.link(card), world.sam)
    await world.answer_to(asked)
    await world.control("tokens/expire", person=world.sam.open_id, which="access")
    await world.answer_to(await world.say(world.sam, "/tasks"))


async def test_no_secret_of_the_device_flow_is_readable_anywhere(room: Room, world: World):
    await room.start()
    asked, card = await room.asked(world.sam, "/tasks")
    await room.press(world.sam, card)
    link = await room.link(card)
    secrets = {room.codes()[0].device_code, room.codes()[0].user_code, world.tenant.app.app_secret}
    kept_meanwhile = b"".join(file.read_bytes() for file in world.directory.iterdir())
    await room.decide(link, world.sam)
    await world.answer_to(asked)
    await room.says(card, "Authorized")
    await world.stop()
    credentials = world.tenant.credentials
    secrets |= set(credentials.access) | set(credentials.refresh)
    kept = b"".join(file.read_bytes() for file in world.directory.iterdir())
    said = json.dumps([m.as_json() for m in world.tenant.messages.values()])
    assert len(secrets) == 5
    for secret in secrets:
        assert secret.encode() not in kept + kept_meanwhile
        assert secret not in said


async def test_the_first_generation_has_no_device_flow_and_the_start_says_so(world: World):
    world.settings |= {"BOT_PUBLIC_URL": "", "LARK_OAUTH": "v1"}
    code, _, err = await world.cli("run")
    assert code == 2
    assert err.count("\n") == 1
    assert "LARK_OAUTH" in err
    assert "BOT_PUBLIC_URL" in err


@pytest.mark.parametrize(
    "answer",
    [
        {"device_code": "d", "user_code": "u", "verification_uri": "ftp://elsewhere.example/"},
        {"device_code": "d", "user_code": "u", "verification_uri": "https://x.example/" + "a" * 3000},
        {"device_code": "d", "verification_uri": "https://x.example/"},
        {"device_code": "d", "user_code": "u", "verification_uri": "javascript:alert(1)"},
    ],
)
async def test_a_link_that_cannot_be_used_is_told_in_the_log_and_asked_for_again(
    room: Room, world: World, answer: dict[str, str]
):
    await room.start()
    asked, card = await room.asked(world.sam, "/tasks")
    odd = {"code": 0, "expires_in": 240, "interval": 1, **answer}
    await world.trouble({"path": DEVICE_ENDPOINT}, "status", status=200, body=odd, times=2)
    await room.press(world.sam, card)
    await room.decide(await room.link(card), world.sam)
    await world.answer_to(asked)
    log = (world.directory / "bot.log").read_text()
    assert "device authorization failed" in log
    assert "in_doubt" in log
    assert "without a device code or a usable link" in log


@pytest.mark.parametrize(
    ("trouble", "options"),
    [
        ("lost_authorization", {}),
        ("status", {"status": 401, "body": "<html>Authorization required</html>", "times": 1}),
        ("status", {"status": 403, "body": {"message": "Forbidden"}, "times": 1}),
        ("status", {"status": 401, "body": {"error": "invalid_client"}, "times": 1}),
    ],
)
async def test_where_the_authorization_header_is_lost_the_secret_goes_in_the_form(
    room: Room, trouble: str, options: dict[str, Any]
):
    """Once more, without the header: the platform refuses a request that identifies the app in two ways."""
    await room.start()
    await room.world.trouble({"path": DEVICE_ENDPOINT}, trouble, **options)
    asked, card = await room.asked(room.world.sam, "/tasks")
    await room.press(room.world.sam, card)
    await room.decide(await room.link(card), room.world.sam)
    await room.world.answer_to(asked)
    assert len(room.world.requests(DEVICE_ENDPOINT)) == 2
    assert room.world.tenant.app.app_secret not in (room.world.directory / "bot.log").read_text()
