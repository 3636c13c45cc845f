"""Buttons pressed by people whom the card does not concern, and words that would like to be markup."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from bot.core.cards import Action

from .card_content import has_link, text_of, values_of
from .webhook_client import WebhookClient
from .world import World


@pytest.fixture
async def attacker(world: World) -> WebhookClient:
    await world.start()
    return WebhookClient(world)


OF_ADMINISTRATORS = {Action.CHECK_AGAIN, Action.APPLY}
OF_THE_CLICKER = {Action.GIVE_BACK, Action.KEEP}
"""They are about the clicker's own unused scopes, and look at no subject."""


def standing(world: World) -> list[Any]:
    """Everything that a click could change."""
    return [
        world.rows("SELECT id, status, scopes FROM authorization_requests ORDER BY id"),
        world.rows("SELECT id, status, waits_for FROM deferred_calls ORDER BY id"),
        world.find("grants"),
        [row for row in world.rows("SELECT action FROM audit_log") if "click" not in row["action"]],
    ]


async def standing_still(world: World, cards: int) -> list[Any]:
    """The same, once so many cards are known to be shown."""
    shown = "SELECT 1 FROM cards WHERE shown = wanted AND message_id > ''"
    await world.until(lambda: len(world.rows(shown)) == cards, "the cards")
    return standing(world)


def toast_of(answer: str) -> str:
    toast: str = json.loads(answer).get("toast", {}).get("type", "")
    return toast


async def test_nobody_decides_by_a_click_for_somebody_else(world: World, attacker: WebhookClient):
    asked = await world.say(world.sam, "/tasks")
    await world.fresh_card(world.sam, asked)
    before = await standing_still(world, 1)
    request = world.only("authorization_requests")
    call = world.only("deferred_calls")
    outsider = next(p for p in world.tenant.people.values() if p.tenant_key != world.tenant.app.tenant_key)
    subjects = [request["id"], call["id"], "", "x", "' OR 1=1 --", "%", None]
    for person in (world.wei, world.ada, outsider):  # a colleague, the administrator, somebody from elsewhere
        theirs = OF_THE_CLICKER | (OF_ADMINISTRATORS if person is world.ada else set())
        for action in {*Action, "no such action", "NOT_NOW"} - theirs:
            for subject in subjects:
                click = attacker.click(person, {"action": action, "subject": subject})
                status, answer = await attacker.send(click)
                assert (status, toast_of(answer)) == (200, "error"), (person.name, action, subject)
                assert "card" not in json.loads(answer), "nobody is shown another person's card"
        for action in OF_THE_CLICKER:
            await attacker.send(attacker.click(person, {"action": action, "subject": request["id"]}))
    assert standing(world) == before
    assert has_link(world.tenant.messages[(await world.card_for(world.sam)).message_id])


async def test_ones_own_click_with_somebody_elses_request_changes_nothing(
    world: World, attacker: WebhookClient
):
    await world.fresh_card(world.sam, await world.say(world.sam, "/tasks"))
    await world.fresh_card(world.wei, await world.say(world.wei, "/tasks"))
    before = await standing_still(world, 2)
    of_wei = world.rows(
        "SELECT id FROM authorization_requests WHERE user_key LIKE ?", f"%{world.wei.open_id}"
    )
    for action in (Action.NOT_NOW, Action.PAGE_ERROR, Action.CONFIRM, Action.DISCARD):
        answer = await attacker.send(
            attacker.click(world.sam, {"action": action, "subject": of_wei[0]["id"]})
        )
        assert toast_of(answer[1]) == "error"
    assert standing(world) == before


async def test_only_administrators_check_again(world: World, attacker: WebhookClient):
    for scope in ("task:task:read", "task:task:write"):
        await world.control("app-scopes", scope=scope, user=False)
    await world.answer_to(await world.say(world.sam, "/tasks"), "administrator")
    card = await world.card_for(world.ada, "task:task:read")
    (value,) = values_of(card.content)
    before = standing(world)
    for person in (world.sam, world.wei):
        _, answer = await attacker.send(attacker.click(person, value))
        assert toast_of(answer) == "error"
    assert standing(world) == before
    _, answer = await attacker.send(attacker.click(world.ada, value))
    assert toast_of(answer) == "warning", "an administrator is told that they are not enabled yet"


async def test_a_replayed_click_has_no_second_effect(world: World, attacker: WebhookClient):
    first = await world.say(world.sam, "/tasks")
    await world.fresh_card(world.sam, first)
    request = world.only("authorization_requests")
    click = attacker.click(world.sam, {"action": Action.NOT_NOW, "subject": request["id"]})
    answers = await asyncio.gather(*(attacker.send(click) for _ in range(5)))
    assert [status for status, _ in answers] == [200] * 5
    assert sorted(len(answer) > 2 for _, answer in answers) == [False] * 4 + [True]
    assert world.statuses("deferred_calls") == ["cancelled"]
    second = await world.say(world.sam, "/tasks")
    await world.fresh_card(world.sam, second)
    # The old card's button again, honestly pressed: the new request is not its business.
    await attacker.send(attacker.click(world.sam, {"action": Action.NOT_NOW, "subject": request["id"]}))
    assert world.statuses("authorization_requests") == ["declined", "open"]


@pytest.mark.parametrize("value", [None, "not_now", 7, [], {}, {"action": None}])
async def test_a_value_that_is_not_ours_gets_words_and_decides_nothing(
    world: World, attacker: WebhookClient, value: Any
):
    await world.fresh_card(world.sam, await world.say(world.sam, "/tasks"))
    status, answer = await attacker.send(attacker.click(world.sam, value))
    assert (status, toast_of(answer)) == (200, "error")
    assert world.statuses("authorization_requests") == ["open"]
    assert "Traceback" not in (world.directory / "bot.log").read_text()


@pytest.mark.parametrize("value", [{"action": {}}, {"action": "a" * 300}, {"action": "a\nb"}])
async def test_a_malformed_value_is_refused(world: World, attacker: WebhookClient, value: Any):
    status, _ = await attacker.send(attacker.click(world.sam, value))
    assert status == 400
    assert world.count("events") == 0
    assert "Traceback" not in (world.directory / "bot.log").read_text()


async def test_a_click_on_another_apps_card_is_not_ours(world: World, attacker: WebhookClient):
    await world.fresh_card(world.sam, await world.say(world.sam, "/tasks"))
    request = world.only("authorization_requests")
    value = {"action": Action.NOT_NOW, "subject": request["id"]}
    assert (await attacker.send(attacker.click(world.sam, value, app_id="cli_another")))[0] == 403
    twin = attacker.click(world.sam, value)
    twin["event"]["operator"]["tenant_key"] = (
        "another"  # the same open_id in another tenant is another person
    )
    status, answer = await attacker.send(twin)
    assert (status, toast_of(answer)) == (200, "error")
    assert world.statuses("authorization_requests") == ["open"]


# --- markup ---------------------------------------------------------------------------------------------------------

EVIL = (
    '<at id=all></at> <at user_id="all">x</at> [click](https://evil.example) ![i](img_1) **bold** `code` # title '
    "<script>alert(1)</script> <font color=red>x</font> https://evil.example/x <a href='https://evil.example'>y</a>"
)
HARMFUL = re.compile(
    r"<at(?! id=ou_[0-9a-f]{32}></at>)|<a |<font(?! color='grey'>)|<script|\]\(|!\[|\*\*bold|`code|://evil",
    re.IGNORECASE,
)
"""What the bot itself writes, a mention by id and a grey line, is not what comes from elsewhere."""


def drawn_markdown(content: Any) -> list[str]:
    """What the client of a card interprets."""
    if isinstance(content, list):
        return [text for each in content for text in drawn_markdown(each)]
    if not isinstance(content, dict):
        return []
    own = [text_of(content)] if content.get("tag") in {"markdown", "lark_md"} else []
    return own + [text for each in content.values() for text in drawn_markdown(each)]


def elements(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, list):
        return [found for each in content for found in elements(each)]
    if not isinstance(content, dict):
        return []
    return ([content] if "tag" in content else []) + [f for each in content.values() for f in elements(each)]


async def test_names_and_messages_are_text_on_cards_and_in_answers(world: World):
    await world.start()
    sam = world.sam
    await world.control("people", open_id=sam.open_id, name=EVIL, en_name=EVIL)
    asked = await world.say(sam, "/me")
    await world.consent(sam, await world.fresh_card(sam, asked))
    await world.answer_to(asked)
    for scope in ("task:task:read", "task:task:write"):
        await world.control("app-scopes", scope=scope, user=False)
    await world.answer_to(await world.say(sam, "/tasks"), "administrator")
    await world.card_for(world.ada, "task:task:read")
    for before in ("", "/", "/search ", "/authorize ", "/doc ", "/call GET /open-apis/"):
        said = await world.say(sam, before + EVIL)
        if before == "/search ":
            await world.fresh_card(sam, said)
        else:
            await world.answer_to(said)
    sent = [m for m in world.tenant.messages.values() if m.sender_type == "bot"]
    assert {m.msg_type for m in sent} == {"post", "interactive"}
    for message in sent:
        for markdown in drawn_markdown(message.content):
            assert not HARMFUL.search(markdown), markdown
        if message.msg_type == "post":
            assert {each["tag"] for each in elements(message.content)} <= {"text", "a", "code_block"}
            links = [each["href"] for each in elements(message.content) if each["tag"] == "a"]
            assert not [link for link in links if "evil" in link]


async def test_a_bad_path_in_a_chat_never_reaches_the_platform(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    await world.answer_to(asked)
    before = len(world.requests(""))
    for target in (
        "https://evil.example/open-apis/x", "//evil.example/open-apis/x", "/\\evil.example/open-apis/x",
        "http://user:word@evil.example/open-apis/x", "/open-apis@evil.example/", "/open-apis/../oauth/v3/token",
        "/open-apis/%2e%2e/oauth/v3/token", "/open-apis/%252e%252e/x", "/open-apis/x%2f..%2fy", "/open-apis/x#y",
        "/open-apis/x%0d%0aAuthorization:%20y", "/open-apis/x\u2025/y", "/open-apis\uff0fx", "/open-apis/auth/v3/x",
        "/open-apis/x?a=1?b=2", "/open-apis/x?a=%0d%0ab", "/open-apis/x?access_token=1&access_token=2",
    ):  # fmt: skip
        await world.answer_to(await world.say(world.sam, f"/call GET {target}"))
    await world.answer_to(
        await world.say(world.sam, '/call POST /open-apis/x {"n": 1e999}'), "not valid JSON"
    )
    await world.answer_to(await world.say(world.sam, "/call POST /open-apis/x " + "[" * 20_000))
    await world.answer_to(await world.say(world.sam, "/call POST /open-apis/x [" + "1," * 40_000 + "1]"))
    asked_of_platform = [each["path"] for each in world.requests("")[before:]]
    assert not [path for path in asked_of_platform if not path.startswith("/open-apis/im/")], (
        asked_of_platform
    )
