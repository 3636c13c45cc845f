"""Sending, editing and taking back messages; what text, posts and cards must look like."""

import copy
import json

import pytest

from bot.sandbox.lark.sample_tenant import ADA, GROUP, NIKO, SAM, WEI

DAY = 86400
REPLY = "/open-apis/im/v1/messages/{}/reply"


async def sent_card(world, card) -> str:
    return (await world.send(ADA, "interactive", card)).body["data"]["message_id"]


async def patch(world, message_id, card):
    return await world.request(
        "PATCH",
        f"/open-apis/im/v1/messages/{message_id}",
        await world.tenant_token(),
        json={"content": json.dumps(card)},
    )


async def test_a_message_comes_back_with_its_ids_and_is_in_the_chat(world):
    data = (await world.send(ADA, "text", {"text": "hi"})).body["data"]
    assert data["sender"]["id"] == world.tenant.app.app_id
    assert json.loads(data["body"]["content"]) == {"text": "hi"}
    seen = (await world.get("/sandbox/api/messages", params={"person": ADA})).body["messages"]
    assert [m["content"] for m in seen] == [{"text": "hi"}]
    assert not (await world.get("/sandbox/api/messages", params={"person": SAM})).body["messages"]


async def test_the_same_uuid_sends_one_message_an_hour(world):
    first = await world.send(ADA, "text", {"text": "hi"}, uuid="one")
    again = await world.send(ADA, "text", {"text": "hi"}, uuid="one")
    assert again.body["data"]["message_id"] == first.body["data"]["message_id"]
    assert len(world.tenant.messages) == 1
    await world.control("clock", advance=3601)
    await world.send(ADA, "text", {"text": "hi"}, uuid="one")
    assert len(world.tenant.messages) == 2


async def test_a_uuid_has_at_most_fifty_characters(world):
    answer = await world.send(ADA, "text", {"text": "hi"}, uuid="x" * 51)
    assert answer.code == 99992402
    assert answer.body["error"]["field_violations"][0]["field"] == "uuid"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"receive_id": None}, 99992402),
        ({"msg_type": None}, 99992402),
        ({"content": None}, 99992402),
        ({"content": {"text": "an object"}}, 99992402),
        ({"content": "not json"}, 230001),
        ({"msg_type": "telegram"}, 230001),
        ({"receive_id": "ou_short"}, 230001),
        ({"receive_id": "ou_" + "0" * 32}, 99992361),
        ({"content": json.dumps({"text": "x" * 200_000})}, 230025),
    ],
)
async def test_wrong_messages_have_their_codes(world, change, code):
    body = {"receive_id": ADA, "msg_type": "text", "content": '{"text": "hi"}', **change}
    answer = await world.post(
        "/open-apis/im/v1/messages?receive_id_type=open_id", await world.tenant_token(), json=body
    )
    assert (answer.status, answer.code) == (400, code)


async def test_the_kind_of_receiver_must_be_named(world):
    answer = await world.post("/open-apis/im/v1/messages", await world.tenant_token(), json={})
    assert answer.code == 99992402


@pytest.mark.parametrize(
    ("person", "code"),
    [({"available": False}, 230013), ({"blocked_bot": True}, 230053), ({"status": "resigned"}, 230029)],
)
async def test_people_whom_the_bot_cannot_reach(world, person, code):
    await world.control("people", open_id=SAM, **person)
    assert (await world.send(SAM, "text", {"text": "hi"})).code == code


async def test_people_of_another_tenant_cannot_be_written_to(world):
    assert (await world.send(NIKO, "text", {"text": "hi"})).code == 230038


async def test_groups_without_the_bot_or_dissolved(world):
    await world.control("chats", chat_id=GROUP, has_bot=False)
    assert (await world.send(GROUP, "text", {"text": "hi"}, kind="chat_id")).code == 230002
    await world.control("chats", chat_id=GROUP, dissolved=True)
    assert (await world.send(GROUP, "text", {"text": "hi"}, kind="chat_id")).code == 232009


async def test_more_than_five_a_second_to_one_person_are_too_many(world):
    codes = [(await world.send(ADA, "text", {"text": "hi"})).code for _ in range(6)]
    assert codes == [0] * 5 + [230020]
    assert (await world.send(SAM, "text", {"text": "hi"})).code == 0


async def test_a_reply_belongs_to_its_message_unless_that_is_gone(world):
    asked = await world.control("messages", person=ADA, text="/help")
    token = await world.tenant_token()
    body = {"msg_type": "text", "content": '{"text": "hi"}', "uuid": "r1"}
    data = (await world.post(REPLY.format(asked["message_id"]), token, json=body)).body["data"]
    assert data["parent_id"] == data["root_id"] == asked["message_id"]
    await world.control("recall", message_id=asked["message_id"])
    body["uuid"] = "r2"
    assert (await world.post(REPLY.format(asked["message_id"]), token, json=body)).code == 230011
    await world.control("delete", message_id=asked["message_id"])
    assert (await world.post(REPLY.format(asked["message_id"]), token, json=body)).code == 231003
    assert (await world.post(REPLY.format("om_none"), token, json=body)).code == 230001


async def test_a_reply_to_a_message_in_a_topic_is_in_that_topic_as_long_as_its_first_message_is_there(world):
    asked = await world.control("messages", person=ADA, text="/help")
    inside = await world.control(
        "messages", person=ADA, text="/me", reply_to=asked["message_id"], in_thread=True
    )
    token, body = await world.tenant_token(), {"msg_type": "text", "content": '{"text": "hi"}'}
    data = (await world.post(REPLY.format(inside["message_id"]), token, json=body)).body["data"]
    topic = world.tenant.messages[asked["message_id"]].thread_id
    assert data["thread_id"] == topic == world.tenant.messages[inside["message_id"]].thread_id
    assert (data["root_id"], data["parent_id"]) == (asked["message_id"], inside["message_id"])
    await world.control("recall", message_id=asked["message_id"])
    answer = await world.post(REPLY.format(inside["message_id"]), token, json=body)
    assert (answer.status, answer.code) == (400, 230019)


async def test_a_reply_opens_a_topic_when_it_says_so_and_a_message_to_a_topic_group_always_does(world):
    asked = await world.control("messages", person=ADA, text="/help")
    token, body = await world.tenant_token(), {"msg_type": "text", "content": '{"text": "hi"}'}
    plain = (await world.post(REPLY.format(asked["message_id"]), token, json=body)).body["data"]
    assert "thread_id" not in plain
    opened = await world.post(
        REPLY.format(asked["message_id"]), token, json={**body, "reply_in_thread": True}
    )
    assert opened.body["data"]["thread_id"].startswith("omt_")
    await world.control("chats", chat_id=GROUP, topics=True)
    topics = {
        (await world.send(GROUP, "text", {"text": "hi"}, kind="chat_id")).body["data"]["thread_id"]
        for _ in range(2)
    }
    assert len(topics) == 2
    card = {"schema": "2.0", "body": {"elements": [{"tag": "markdown", "content": "hi"}]}}
    ephemeral = {"chat_id": GROUP, "open_id": ADA, "msg_type": "interactive", "card": card}
    assert (await world.post("/open-apis/ephemeral/v1/send", token, json=ephemeral)).code == 230001


async def test_posts_have_languages_paragraphs_and_known_tags(world):
    good = {
        "zh_cn": {"title": "今天", "content": [[{"tag": "text", "text": "九点"}], [{"tag": "hr"}]]},
        "en_us": {
            "title": "Today",
            "content": [
                [
                    {"tag": "text", "text": "nine "},
                    {"tag": "a", "text": "link", "href": "https://x.example"},
                    {"tag": "at", "user_id": ADA},
                ],
                [{"tag": "md", "text": "**bold**"}],
                [{"tag": "code_block", "language": "JSON", "text": "{}"}],
            ],
        },
    }
    assert (await world.send(ADA, "post", good)).code == 0


@pytest.mark.parametrize(
    "post",
    [
        {},
        {"title": "x", "content": []},
        {"xx_yy": {"title": "x", "content": [[]]}},
        {"en_us": {"title": "x", "content": []}},
        {"en_us": {"title": "x", "content": [{"tag": "text", "text": "flat"}]}},
        {"en_us": {"content": [[{"tag": "marquee", "text": "x"}]]}},
        {"en_us": {"content": [[{"tag": "text"}]]}},
        {"en_us": {"content": [[{"tag": "a", "text": "x", "href": "javascript:alert(1)"}]]}},
        {"en_us": {"content": [[{"tag": "md", "text": "x"}, {"tag": "text", "text": "y"}]]}},
    ],
)
async def test_wrong_posts_are_refused(world, post):
    assert (await world.send(ADA, "post", post)).code == 230001


async def test_a_card_is_sent_and_patched(world, card):
    message_id = await sent_card(world, card)
    card["header"]["title"]["content"] = "Authorized"
    assert (await patch(world, message_id, card)).body == {"code": 0, "msg": "success", "data": {}}
    assert world.tenant.messages[message_id].content == card
    assert len(world.tenant.messages[message_id].versions) == 1


BREAKS = {
    "schema missing": (200621, lambda c: c.pop("schema")),
    "schema 1.0": (200621, lambda c: c.update(schema="1.0")),
    "elements at the top": (200621, lambda c: c.update(elements=[])),
    "no body": (300307, lambda c: c.pop("body")),
    "unknown tag": (200861, lambda c: c["body"]["elements"].append({"tag": "note", "elements": []})),
    "action container": (200861, lambda c: c["body"]["elements"].append({"tag": "action", "actions": []})),
    "nested unknown tag": (
        200861,
        lambda c: c["body"]["elements"].append(
            {"tag": "column_set", "columns": [{"tag": "column", "elements": [{"tag": "blink"}]}]}
        ),
    ),
    "duplicate element_id": (300301, lambda c: c["body"]["elements"][1].update(element_id="md_scope")),
    "long element_id": (200621, lambda c: c["body"]["elements"][1].update(element_id="x" * 21)),
    "element_id with a dash": (200621, lambda c: c["body"]["elements"][1].update(element_id="a-b")),
    "string as callback value": (
        200621,
        lambda c: c["body"]["elements"][2]["behaviors"][0].update(value="cancel"),
    ),
    "open_url without url": (
        200621,
        lambda c: c["body"]["elements"][1].update(behaviors=[{"type": "open_url"}]),
    ),
    "script as url": (
        200621,
        lambda c: c["body"]["elements"][1]["behaviors"][0].update(default_url="javascript:alert(1)"),
    ),
    "unknown behaviour": (200621, lambda c: c["body"]["elements"][1].update(behaviors=[{"type": "explode"}])),
    "unknown button type": (200621, lambda c: c["body"]["elements"][1].update(type="huge")),
    "button without text": (200621, lambda c: c["body"]["elements"][1].pop("text")),
    "title as string": (200621, lambda c: c["header"].update(title="Hello")),
    "unknown template": (200621, lambda c: c["header"].update(template="pink")),
    "unknown locale": (200621, lambda c: c["header"]["title"].update(i18n_content={"en": "x"})),
    "not shared": (300302, lambda c: c["config"].update(update_multi=False)),
    "too many elements": (
        300305,
        lambda c: c["body"]["elements"].extend({"tag": "hr"} for _ in range(198)),
    ),
    "unknown property of a container": (
        200621,
        lambda c: c["body"]["elements"].append({"tag": "div", "colour": "grey"}),
    ),
    "unknown colour of a text": (
        200621,
        lambda c: c["body"]["elements"].append(
            {"tag": "div", "text": {"tag": "plain_text", "content": "x", "text_color": "mouse"}}
        ),
    ),
    "unknown size of a text": (
        200621,
        lambda c: c["body"]["elements"].append(
            {"tag": "div", "text": {"tag": "plain_text", "content": "x", "text_size": "tiny"}}
        ),
    ),
    "columns without a column": (
        200621,
        lambda c: c["body"]["elements"].append({"tag": "column_set", "columns": []}),
    ),
    "a button in the place of a column": (
        200621,
        lambda c: c["body"]["elements"].append(
            {"tag": "column_set", "columns": [copy.deepcopy(c["body"]["elements"][1])]}
        ),
    ),
    "unknown flex_mode": (
        200621,
        lambda c: c["body"]["elements"].append(
            {"tag": "column_set", "flex_mode": "wrap", "columns": [{"tag": "column", "elements": []}]}
        ),
    ),
    "a panel without a title": (
        200621,
        lambda c: c["body"]["elements"].append({"tag": "collapsible_panel", "elements": []}),
    ),
    "form without name": (200530, lambda c: c["body"]["elements"].append({"tag": "form", "elements": []})),
}


@pytest.mark.parametrize("name", BREAKS)
async def test_a_wrong_card_is_refused_with_the_cause_inside(world, card, name):
    inner, break_it = BREAKS[name]
    broken = copy.deepcopy(card)
    break_it(broken)
    answer = await world.send(ADA, "interactive", broken)
    assert (answer.status, answer.code) == (400, 230099), answer.body
    assert f"ErrCode: {inner};" in answer.body["msg"]
    assert (await patch(world, await sent_card(world, card), broken)).code == 230099


async def test_a_card_has_at_most_thirty_kilobytes(world, card):
    card["body"]["elements"][0]["content"] = "x" * 30_800
    assert (await world.send(ADA, "interactive", card)).code == 230025


async def test_a_card_can_be_patched_for_fourteen_days_and_not_when_gone(world, card):
    message_id = await sent_card(world, card)
    await world.control("clock", advance=14 * DAY + 1)
    assert (await patch(world, message_id, card)).code == 230031
    recalled = await sent_card(world, card)
    await world.control("recall", message_id=recalled)
    assert (await patch(world, recalled, card)).code == 230011
    deleted = await sent_card(world, card)
    await world.control("delete", message_id=deleted)
    assert (await patch(world, deleted, card)).code == 230110


async def test_only_cards_and_only_ones_own_can_be_patched(world, card):
    text = (await world.send(ADA, "text", {"text": "hi"})).body["data"]["message_id"]
    assert (await patch(world, text, card)).code == 230001
    theirs = await world.control("messages", person=ADA, message_type="interactive", content=card)
    assert (await patch(world, theirs["message_id"], card)).code == 230027


async def test_a_card_takes_five_patches_a_second(world, card):
    message_id = await sent_card(world, card)
    codes = [(await patch(world, message_id, card)).code for _ in range(6)]
    assert codes == [0] * 5 + [230020]


async def test_an_ephemeral_card_is_for_one_member_and_goes_by_deletion_only(world, card):
    token = await world.tenant_token()
    body = {"chat_id": GROUP, "open_id": WEI, "msg_type": "interactive", "card": card}
    answer = await world.post("/open-apis/ephemeral/v1/send", token, json=body)
    message_id = answer.body["data"]["message_id"]

    async def seen_by(person: str) -> list[str]:
        answer = await world.get("/sandbox/api/messages", params={"person": person, "chat_id": GROUP})
        return [message["message_id"] for message in answer.body["messages"]]

    assert await seen_by(WEI) == [message_id]
    assert await seen_by(ADA) == []
    assert (await patch(world, message_id, card)).code == 230001
    gone = {"message_id": message_id}
    assert (await world.post("/open-apis/ephemeral/v1/delete", token, json=gone)).code == 0
    assert (await world.post("/open-apis/ephemeral/v1/delete", token, json=gone)).code == 18051


async def test_ephemeral_cards_are_objects_in_groups_for_members(world, card):
    token = await world.tenant_token()
    good = {"chat_id": GROUP, "open_id": WEI, "msg_type": "interactive", "card": card}
    direct = world.tenant.direct_chat(WEI).chat_id
    for change in ({"card": json.dumps(card)}, {"chat_id": direct}, {"open_id": NIKO}, {"msg_type": "text"}):
        answer = await world.post("/open-apis/ephemeral/v1/send", token, json={**good, **change})
        assert answer.status == 400, change


async def test_a_message_sent_as_the_user_is_the_users(world):
    token = await world.user_token("im:message im:message.send_as_user")
    data = (await world.send(SAM, "text", {"text": "hi"}, token=token)).body["data"]
    assert data["sender"] == {
        "id": ADA,
        "id_type": "open_id",
        "sender_type": "user",
        "tenant_key": world.tenant.app.tenant_key,
    }
    assert len(world.tenant.messages_seen_by(SAM, data["chat_id"])) == 1
    assert world.tenant.direct_chat(SAM).chat_id != data["chat_id"]
