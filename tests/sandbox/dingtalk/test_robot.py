"""What the robot sends: to a session webhook, to people and groups, and as interactive cards."""

import asyncio
import base64
import hashlib
import hmac
import json

import pytest

from bot.sandbox.dingtalk.sample_tenant import ADA, GROUP, NIKO, SAM, TEMPLATE_ID, WEI
from tests.sandbox.dingtalk.conftest import until

TO_PEOPLE = "/v1.0/robot/oToMessages/batchSend"
TO_GROUP = "/v1.0/robot/groupMessages/send"
DELIVER = "/v1.0/card/instances/createAndDeliver"
BUTTON = {"singleTitle": "Go", "singleURL": "https://bot.example/a/1"}
CARD = {"title": "T", "text": "**x**", **BUTTON}


def shown_to(world, person, chat_id=None):
    chat = chat_id or world.tenant.direct_chat(person).chat_id
    return [m for m in world.tenant.messages_seen_by(person, chat) if m.sender_type == "bot"]


# Session webhook


@pytest.fixture
async def session(world):
    stream = await world.connect()
    await world.control("messages", person=ADA, text="/me")
    webhook = (await stream.message())["sessionWebhook"]
    return webhook.partition(str(world.client.make_url("")).rstrip("/"))[2]


@pytest.mark.parametrize(
    "body",
    [
        {"msgtype": "text", "text": {"content": "hello"}},
        {"msgtype": "markdown", "markdown": {"title": "T", "text": "**x**"}, "at": {"atUserIds": [ADA]}},
        {"msgtype": "link", "link": {"title": "T", "text": "x", "messageUrl": "https://a.example"}},
        {"msgtype": "actionCard", "actionCard": CARD},
        {
            "msgtype": "actionCard",
            "actionCard": {
                "title": "T",
                "text": "x",
                "btnOrientation": "0",
                "btns": [{"title": "A", "actionURL": "https://a.example"}],
            },
        },
        {
            "msgtype": "feedCard",
            "feedCard": {
                "links": [
                    {"title": "A", "messageURL": "https://a.example", "picURL": "https://a.example/p.png"}
                ]
            },
        },
    ],
    ids=lambda body: body["msgtype"],
)
async def test_a_session_webhook_takes_its_types(world, session, body):
    answer = await world.post(session, json=body)
    assert answer.body == {"errcode": 0, "errmsg": "ok"}
    assert [m.msg_type for m in shown_to(world, ADA)] == [body["msgtype"]]


@pytest.mark.parametrize(
    "body",
    [
        {"msgtype": "interactive", "interactive": {}},
        {"msgtype": "text"},
        {"msgtype": "text", "text": {"content": ""}},
        {"msgtype": "markdown", "markdown": {"text": "no title"}},
        {"msgtype": "text", "text": {"content": "x"}, "extra": 1},
        {"msgtype": "actionCard", "actionCard": {"title": "T", "text": "x"}},
        {
            "msgtype": "actionCard",
            "actionCard": {**CARD, "btns": [{"title": "A", "actionURL": "https://a.example"}]},
        },
        {"msgtype": "actionCard", "actionCard": {**CARD, "singleURL": "javascript:alert(1)"}},
        {"msgtype": "actionCard", "actionCard": {**CARD, "singleURL": "https://a.example/" + "x" * 500}},
        {"msgtype": "text", "text": {"content": "x"}, "at": {"users": []}},
        [],
    ],
)
async def test_a_session_webhook_refuses_what_is_malformed(world, session, body):
    assert (await world.post(session, json=body)).errcode != 0
    assert not shown_to(world, ADA)


async def test_a_session_ends(world, session):
    await world.control("clock", advance=5400)
    answer = await world.post(session, json={"msgtype": "text", "text": {"content": "late"}})
    assert answer.errcode == 300001
    unknown = await world.post("/robot/sendBySession?session=none", json={})
    assert unknown.errcode == 300001


# Proactive messages


async def send(world, path=TO_PEOPLE, token=None, **change):
    body = {
        "robotCode": world.tenant.app.robot_code,
        "msgKey": "sampleText",
        "msgParam": '{"content":"hello"}',
    }
    body |= {"userIds": [ADA]} if path == TO_PEOPLE else {"openConversationId": GROUP}
    body |= change
    return await world.post(
        path, token or await world.app_token(), json={k: v for k, v in body.items() if v is not None}
    )


async def test_each_person_has_a_result(world):
    await world.control("people", user_id=WEI, throttled=True)
    answer = await send(world, userIds=[ADA, WEI, NIKO, "nobody"])
    assert answer.status == 200
    assert answer.body["invalidStaffIdList"] == [NIKO, "nobody"]
    assert answer.body["flowControlledStaffIdList"] == [WEI]
    assert len(shown_to(world, ADA)) == 1
    assert not shown_to(world, WEI)


@pytest.mark.parametrize(
    ("msg_key", "param"),
    [
        ("sampleText", {"content": "x"}),
        ("sampleMarkdown", {"title": "T", "text": "x"}),
        ("sampleLink", {"title": "T", "text": "x", "messageUrl": "https://a.example", "picUrl": ""}),
        ("sampleActionCard", CARD),
        (
            "sampleActionCard2",
            {
                "title": "T",
                "text": "x",
                **{f"action{p}{n}": "https://a.example" for n in (1, 2) for p in ("Title", "URL")},
            },
        ),
        (
            "sampleActionCard6",
            {
                "title": "T",
                "text": "x",
                **{f"button{p}{n}": "https://a.example" for n in (1, 2) for p in ("Title", "Url")},
            },
        ),
    ],
)
@pytest.mark.parametrize("path", [TO_PEOPLE, TO_GROUP])
async def test_every_key_has_its_fields(world, path, msg_key, param):
    assert (await send(world, path, msgKey=msg_key, msgParam=json.dumps(param))).status == 200
    missing = {k: v for k, v in param.items() if k != "text" and k != "content"}
    refused = await send(world, path, msgKey=msg_key, msgParam=json.dumps(missing))
    assert (refused.status, refused.code) == (400, "invalidParameter.msgParam.invalid")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"robotCode": "another"}, "invalidParameter.robotCode.invalid"),
        ({"robotCode": None}, "MissingrobotCode"),
        ({"userIds": []}, "invalidParameter.param"),
        ({"userIds": ["u"] * 21}, "invalidParameter.param"),
        ({"userIds": ADA}, "invalidParameter.param"),
        ({"msgKey": "sampleNothing"}, "invalidParameter.msgParam.invalid"),
        ({"msgParam": {"content": "an object"}}, "invalidParameter.param"),
        ({"msgParam": '{"content": 7}'}, "invalidParameter.msgParam.invalid"),
        ({"msgParam": '{"content":"' + "x" * 15_000 + '"}'}, "invalidParameter.msgParam.invalid"),
        (
            {
                "msgKey": "sampleActionCard",
                "msgParam": json.dumps({**CARD, "singleURL": "https://a.example/" + "x" * 490}),
            },
            "invalidParameter.msgParam.invalid",
        ),
        (
            {"msgKey": "sampleActionCard", "msgParam": json.dumps({**CARD, "more": "x"})},
            "invalidParameter.msgParam.invalid",
        ),
    ],
)
async def test_a_wrong_message_is_refused(world, change, code):
    answer = await send(world, **change)
    assert (answer.status, answer.code) == (400, code)
    assert not world.tenant.messages


@pytest.mark.parametrize("change", [{"has_bot": False}, {"dissolved": True}])
async def test_a_group_without_the_robot_takes_nothing(world, change):
    assert (await send(world, TO_GROUP)).status == 200
    await world.control("chats", chat_id=GROUP, **change)
    assert (await send(world, TO_GROUP)).status == 400
    assert (await send(world, TO_GROUP, openConversationId="nothing")).status == 400


async def test_sending_needs_the_apps_scope_and_its_token(world):
    assert (await send(world, token=await world.user_token())).status == 403
    await world.control("app-scopes", scope="qyapi_robot_sendmsg", tenant=False)
    assert (await send(world)).body["accessdenieddetail"] == {"requiredScopes": ["qyapi_robot_sendmsg"]}


async def test_a_message_is_recalled_within_a_day(world):
    key = (await send(world, userIds=[ADA, SAM])).body["processQueryKey"]
    body = {"robotCode": world.tenant.app.robot_code, "processQueryKeys": [key, "unknown"]}
    recalled = await world.post("/v1.0/robot/otoMessages/batchRecall", await world.app_token(), json=body)
    assert recalled.body["successResult"] == [key]
    assert recalled.body["failedResult"].keys() == {"unknown"}
    assert all(m.recalled for m in world.tenant.messages.values())
    key = (await send(world)).body["processQueryKey"]
    await world.control("clock", advance=86_400)
    late = await world.post(
        "/v1.0/robot/otoMessages/batchRecall",
        await world.app_token(),
        json={**body, "processQueryKeys": [key]},
    )
    assert late.body["failedResult"].keys() == {key}


# Interactive cards


async def deliver(world, **change):
    body = {
        "cardTemplateId": TEMPLATE_ID,
        "outTrackId": "card-1",
        "callbackType": "STREAM",
        "userIdType": 1,
        "cardData": {"cardParamMap": {"title": "T", "markdown": "x", "tips": ""}},
        "openSpaceId": f"dtv1.card//IM_ROBOT.{ADA}",
        "imRobotOpenSpaceModel": {"supportForward": False},
        "imRobotOpenDeliverModel": {"spaceType": "IM_ROBOT"},
        **change,
    }
    return await world.post(
        DELIVER, await world.app_token(), json={k: v for k, v in body.items() if v is not None}
    )


async def test_a_card_is_delivered_and_updated(world):
    answer = await deliver(world)
    result = answer.body["result"]
    assert (answer.body["success"], result["outTrackId"]) == (True, "card-1")
    assert result["deliverResults"][0]["success"] is True
    update = {"outTrackId": "card-1", "cardData": {"cardParamMap": {"tips": "done"}}}
    by_key = {**update, "cardUpdateOptions": {"updateCardDataByKey": True}}
    changed = await world.request("PUT", "/v1.0/card/instances", await world.app_token(), json=by_key)
    assert changed.body == {"success": True, "result": True}
    assert shown_to(world, ADA)[0].content["data"] == {"title": "T", "markdown": "x", "tips": "done"}
    await world.request("PUT", "/v1.0/card/instances", await world.app_token(), json=update)
    assert shown_to(world, ADA)[0].content["data"] == {"tips": "done"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"cardTemplateId": "none.schema"}, "param.templateNotExist"),
        ({"cardTemplateId": "draft.schema"}, "param.templateUnpublished"),
        ({"outTrackId": None}, "MissingoutTrackId"),
        ({"cardData": None}, "MissingcardData"),
        ({"cardData": {"cardParamMap": {"tips": 7}}}, "param.error"),
        ({"cardData": {"cardParamMap": {"unknown": "x"}}}, "param.error"),
        ({"cardData": {"cardParamMap": {"tips": "字" * 342}}}, "param.error"),
        ({"cardData": {"tips": "x"}}, "param.error"),
        ({"openSpaceId": f"IM_ROBOT.{ADA}"}, "param.openSpaceIdInvalid"),
        ({"openSpaceId": "dtv1.card//IM_ROBOT.nobody"}, "param.userIdNotExist"),
        ({"openSpaceId": f"dtv1.card//IM_ROBOT.{NIKO}"}, "param.userIdNotExist"),
        ({"imRobotOpenDeliverModel": None}, "param.error"),
        ({"imRobotOpenDeliverModel": {}}, "param.error"),
        ({"callbackType": "SOMEHOW"}, "param.error"),
        ({"callbackType": "HTTP", "callbackRouteKey": "none"}, "param.callbackRouteKeyNotExist"),
    ],
)
async def test_a_wrong_card_is_refused(world, change, code):
    await world.control("templates", template_id="draft.schema", published=False)
    answer = await deliver(world, **change)
    assert (answer.status, answer.code) == (400, code)
    assert not world.tenant.messages


async def test_a_card_is_created_once(world):
    await deliver(world)
    again = await deliver(world)
    assert (again.status, again.code) == (400, "param.cardAlreadyExist")
    await world.control("behaviour", reused_out_track_id="same card")
    assert (await deliver(world)).body["success"] is True
    assert len(shown_to(world, ADA)) == 1


async def test_a_card_that_was_not_delivered_says_so_inside_a_success(world):
    await world.control("people", user_id=ADA, throttled=True)
    answer = await deliver(world)
    assert answer.status == 200
    assert answer.body["result"]["deliverResults"][0]["success"] is False
    assert not shown_to(world, ADA)


async def test_a_card_in_a_group_can_be_for_some(world):
    group = {
        "openSpaceId": f"dtv1.card//IM_GROUP.{GROUP}",
        "imGroupOpenSpaceModel": {},
        "imGroupOpenDeliverModel": {"robotCode": world.tenant.app.robot_code, "recipients": [SAM]},
    }
    assert (await deliver(world, **group)).status == 200
    assert len(shown_to(world, SAM, GROUP)) == 1
    assert not shown_to(world, ADA, GROUP)
    outside = {**group["imGroupOpenDeliverModel"], "recipients": [NIKO]}
    refused = await deliver(world, **{**group, "outTrackId": "2", "imGroupOpenDeliverModel": outside})
    assert refused.code == "param.userIdNotExist"


PRESSED = {"actionIds": ["btn_retry"], "params": {"action": "retry"}}


async def click(world, person=ADA, value=PRESSED):
    message_id = next(iter(world.tenant.messages))
    return await world.control("clicks", person=person, message_id=message_id, value=value)


async def test_a_press_is_pushed_and_its_answer_changes_the_card(world):
    stream = await world.connect()
    await deliver(world)
    pressed = asyncio.create_task(click(world))
    frame = await stream.frame()
    assert frame["headers"]["topic"] == "/v1.0/card/instances/callback"
    data = json.loads(frame["data"])
    assert (data["type"], data["outTrackId"], data["userId"]) == ("actionCallback", "card-1", ADA)
    assert json.loads(data["content"]) == {"cardPrivateData": PRESSED}
    answer = {
        "cardUpdateOptions": {"updateCardDataByKey": True, "updatePrivateDataByKey": True},
        "cardData": {"cardParamMap": {"tips": "checking"}},
        "userPrivateData": {"cardParamMap": {"title": "Yours"}},
    }
    await stream.ack(frame, {"response": answer})
    assert (await pressed)["code"] is None
    content = shown_to(world, ADA)[0].content
    assert content["data"]["tips"] == "checking"
    assert content["private"] == {ADA: {"title": "Yours"}}


@pytest.mark.parametrize(
    "answer",
    [
        {"cardData": {}},
        {"response": {"cardData": {"cardParamMap": {"tips": 7}}}},
        {"response": {"unknown": 1}},
        {"response": []},
        {"response": {"cardUpdateOptions": {"updateCardDataByKey": "yes"}}},
    ],
)
async def test_a_wrong_answer_to_a_press_changes_nothing(world, answer):
    stream = await world.connect()
    await deliver(world)
    pressed = asyncio.create_task(click(world))
    await stream.ack(await stream.frame(), answer)
    assert (await pressed)["code"]
    assert not shown_to(world, ADA)[0].versions


async def test_an_empty_answer_to_a_press_is_one(world):
    stream = await world.connect()
    await deliver(world)
    for empty in (None, {}):
        pressed = asyncio.create_task(click(world))
        await stream.ack(await stream.frame(), {"response": empty})
        assert (await pressed)["code"] is None


async def test_a_press_must_be_answered_in_time(world):
    await world.connect()
    await world.control("behaviour", card_answer_seconds=0.05)
    await deliver(world)
    assert (await click(world))["code"] == "no acknowledgement in time"


async def test_a_press_by_http_goes_to_the_registered_address_with_its_signature(world, receiver):
    register = {"callbackRouteKey": "rk1", "callbackUrl": receiver.url, "apiSecret": "k", "forceUpdate": True}
    token = await world.app_token()
    answer = await world.post("/v1.0/card/callbacks/register", token, json=register)
    assert answer.body == {"success": True, "result": {"callbackUrl": receiver.url, "apiSecret": "k"}}
    moved = {**register, "callbackUrl": "https://other.example", "forceUpdate": False}
    assert (await world.post("/v1.0/card/callbacks/register", token, json=moved)).status == 400
    await deliver(world, callbackType="HTTP", callbackRouteKey="rk1")
    receiver.answer = {
        "cardUpdateOptions": {"updateCardDataByKey": True},
        "cardData": {"cardParamMap": {"tips": "ok"}},
    }
    assert (await click(world))["code"] is None
    headers, body = receiver.got[0]
    signed = hmac.new(b"k", headers["x-ddpaas-signature-timestamp"].encode(), hashlib.sha256).digest()
    assert headers["x-ddpaas-signature"] == base64.b64encode(signed).decode()
    assert body["outTrackId"] == "card-1"
    assert shown_to(world, ADA)[0].content["data"]["tips"] == "ok"


async def test_only_a_person_who_sees_a_card_can_press_it(world):
    await deliver(
        world,
        openSpaceId=f"dtv1.card//IM_GROUP.{GROUP}",
        imGroupOpenDeliverModel={"robotCode": world.tenant.app.robot_code, "recipients": [SAM]},
    )
    message_id = next(iter(world.tenant.messages))
    refused = await world.post(
        "/sandbox/api/clicks", json={"person": ADA, "message_id": message_id, "value": PRESSED}
    )
    assert refused.status == 400
    await until(lambda: world.tenant.cards)
