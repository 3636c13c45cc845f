"""The official clients against the emulator: what they accept is the platform's wire format, not only ours.

Both run as processes of their own: one reads its endpoint from the environment at import, both warn and log as they like.
"""

import asyncio
import json
import os
import sys
from typing import Any

import pytest

from bot.sandbox.dingtalk.sample_tenant import ADA, GROUP, NIKO, TEMPLATE_ID
from tests.sandbox.dingtalk.conftest import until

STREAM_CLIENT = """
import asyncio, json, logging, sys, warnings
warnings.simplefilter("ignore")
import dingtalk_stream
from dingtalk_stream import AckMessage, CallbackHandler, ChatbotHandler, ChatbotMessage, EventHandler
from dingtalk_stream.card_callback import CardCallbackMessage, Card_Callback_Router_Topic

def tell(*values):
    print(json.dumps(values), flush=True)

class Messages(ChatbotHandler):
    async def process(self, callback):
        message = ChatbotMessage.from_dict(callback.data)
        tell("message", message.get_text_list(), message.sender_staff_id, message.conversation_type)
        self.reply_text("seen", message)
        return AckMessage.STATUS_OK, "OK"

class Cards(CallbackHandler):
    async def process(self, callback):
        pressed = CardCallbackMessage.from_dict(callback.data)
        tell("card", pressed.card_instance_id, pressed.user_id, pressed.content)
        update = {"cardUpdateOptions": {"updateCardDataByKey": True}, "cardData": {"cardParamMap": {"tips": "pressed"}}}
        return AckMessage.STATUS_OK, update

class Events(EventHandler):
    async def process(self, event):
        tell("event", event.headers.event_type, event.data)
        return AckMessage.STATUS_OK, "OK"

logger = logging.getLogger("quiet")
client = dingtalk_stream.DingTalkStreamClient(dingtalk_stream.Credential(*sys.argv[1:]), logger)
client.register_callback_handler(ChatbotMessage.TOPIC, Messages())
client.register_callback_handler(Card_Callback_Router_Topic, Cards())
client.register_all_event_handler(Events())
asyncio.run(client.start())
"""


async def told(output: asyncio.StreamReader) -> list[Any]:
    """The next thing that the program above says."""
    while line := await output.readline():
        if line.startswith(b'["'):
            return list(json.loads(line))
    raise EOFError


async def test_the_stream_client_connects_receives_acknowledges_and_reconnects(world):
    app = world.tenant.app
    origin = str(world.client.make_url("")).rstrip("/")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        STREAM_CLIENT,
        app.client_id,
        app.client_secret,
        env={**os.environ, "DINGTALK_OPENAPI_ENDPOINT": origin},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None

    async def connected() -> None:
        while not (await world.get("/sandbox/api/connections")).body["connections"]:
            await asyncio.sleep(0.05)

    try:
        async with asyncio.timeout(60):
            await connected()
            sent = await world.control("messages", person=ADA, text="create my todo")
            assert await told(process.stdout) == ["message", ["create my todo"], ADA, "1"]
            await until(lambda: world.tenant.events[sent["event_id"]].acknowledged)
            replies = [m for m in world.tenant.messages.values() if m.sent_by == "sessionWebhook"]
            assert [each.content["content"] for each in replies] == ["seen"]

            await world.control("messages", person=ADA, chat_id=GROUP, text="/me", mention_bot=True)
            assert await told(process.stdout) == ["message", [" /me"], ADA, "2"]

            await press_a_card(world, process.stdout)

            event = await world.control("events", type="user_add_org", event={"userId": [ADA]})
            assert await told(process.stdout) == ["event", "user_add_org", {"userId": [ADA]}]
            assert event["acknowledged"]

            assert (await world.control("connections/ping"))["answered"] == 1

            # It leaves when it is asked to, and comes back at once.
            before = (await world.get("/sandbox/api/connections")).body["connections"][0]["connection_id"]
            await world.request("DELETE", "/sandbox/api/connections?how=disconnect")
            while True:
                now = (await world.get("/sandbox/api/connections")).body["connections"]
                if now and now[-1]["connection_id"] != before:
                    break
                await asyncio.sleep(0.05)
    finally:
        process.kill()
        await process.wait()
    problems = {
        each["problem"] for each in (await world.get("/sandbox/api/connections")).body["acknowledgements"]
    }
    # The client acknowledges a `disconnect`, which has no answer, without a messageId where it has none.
    assert problems <= {None, "no messageId"}


async def press_a_card(world: Any, output: asyncio.StreamReader) -> None:
    card = {
        "cardTemplateId": TEMPLATE_ID,
        "outTrackId": "card-1",
        "callbackType": "STREAM",
        "cardData": {"cardParamMap": {"title": "T", "tips": ""}},
        "openSpaceId": f"dtv1.card//IM_ROBOT.{ADA}",
        "imRobotOpenDeliverModel": {"spaceType": "IM_ROBOT"},
    }
    path = "/v1.0/card/instances/createAndDeliver"
    assert (await world.post(path, await world.app_token(), json=card)).status == 200
    message_id = world.tenant.cards["card-1"].message_ids[0]
    value = {"actionIds": ["go"], "params": {"a": "b"}}
    pressed = await world.control("clicks", person=ADA, message_id=message_id, value=value)
    assert pressed["code"] is None
    assert await told(output) == ["card", "card-1", ADA, {"cardPrivateData": value}]
    assert world.tenant.cards["card-1"].data["tips"] == "pressed"


API_CLIENT = """
import json, sys, warnings
warnings.simplefilter("ignore")
from alibabacloud_dingtalk.calendar_1_0 import client as calendar, models as calendar_models
from alibabacloud_dingtalk.card_1_0 import client as card, models as card_models
from alibabacloud_dingtalk.contact_1_0 import client as contact, models as contact_models
from alibabacloud_dingtalk.oauth2_1_0 import client as oauth, models as oauth_models
from alibabacloud_dingtalk.robot_1_0 import client as robot, models as robot_models
from alibabacloud_dingtalk.todo_1_0 import client as todo, models as todo_models
from alibabacloud_tea_openapi.models import Config
from alibabacloud_tea_util.models import RuntimeOptions

given = json.loads(sys.argv[1])
config = lambda: Config(protocol="http", endpoint=given["host"], region_id="central")
runtime = RuntimeOptions()
found = {}

tokens = oauth.Client(config())
app_token = tokens.get_access_token(oauth_models.GetAccessTokenRequest(
    app_key=given["client_id"], app_secret=given["client_secret"])).body
found["app_token"] = app_token.expire_in
def user_token(**more):
    return tokens.get_user_token(oauth_models.GetUserTokenRequest(
        client_id=given["client_id"], client_secret=given["client_secret"], **more)).body
first = user_token(code=given["code"], grant_type="authorization_code")
second = user_token(refresh_token=first.refresh_token, grant_type="refresh_token")
found["user_token"] = [second.expire_in, second.corp_id]

me = contact.Client(config()).get_user_with_options(
    "me", contact_models.GetUserHeaders(x_acs_dingtalk_access_token=second.access_token), runtime).body
found["me"] = [me.nick, me.union_id, me.mobile]

todos = todo.Client(config())
made = todos.create_todo_task_with_options(me.union_id, todo_models.CreateTodoTaskRequest(
    subject="Write report", source_id="s1", creator_id=me.union_id, executor_ids=[me.union_id],
    detail_url=todo_models.CreateTodoTaskRequestDetailUrl(app_url="https://a.example", pc_url="https://a.example"),
    notify_configs=todo_models.CreateTodoTaskRequestNotifyConfigs(ding_notify="1")),
    todo_models.CreateTodoTaskHeaders(x_acs_dingtalk_access_token=second.access_token), runtime).body
found["todo"] = [made.subject, made.source_id, made.done]
listed = todos.query_org_todo_tasks_with_options(me.union_id, todo_models.QueryOrgTodoTasksRequest(is_done=False),
    todo_models.QueryOrgTodoTasksHeaders(x_acs_dingtalk_access_token=second.access_token), runtime).body
found["todos"] = made.id in [each.task_id for each in listed.todo_cards]

events = calendar.Client(config()).list_events_with_options(me.union_id, "primary",
    calendar_models.ListEventsRequest(max_results=100),
    calendar_models.ListEventsHeaders(x_acs_dingtalk_access_token=second.access_token), runtime).body
found["events"] = [len(events.events), bool(events.events[0].start.date_time), events.events[0].location.display_name]

robots = robot.Client(config())
param = json.dumps({"content": "hello"})
sent = robots.batch_send_otowith_options(robot_models.BatchSendOTORequest(
    robot_code=given["client_id"], user_ids=given["users"], msg_key="sampleText", msg_param=param),
    robot_models.BatchSendOTOHeaders(x_acs_dingtalk_access_token=app_token.access_token), runtime).body
found["sent"] = [bool(sent.process_query_key), sent.invalid_staff_id_list]
group = robots.org_group_send_with_options(robot_models.OrgGroupSendRequest(
    robot_code=given["client_id"], open_conversation_id=given["group"], msg_key="sampleText", msg_param=param),
    robot_models.OrgGroupSendHeaders(x_acs_dingtalk_access_token=app_token.access_token), runtime).body
found["group"] = bool(group.process_query_key)

cards = card.Client(config())
card_token = card_models.CreateAndDeliverHeaders(x_acs_dingtalk_access_token=app_token.access_token)
delivered = cards.create_and_deliver_with_options(card_models.CreateAndDeliverRequest(
    card_template_id=given["template"], out_track_id="c1", callback_type="STREAM", user_id_type=1,
    card_data=card_models.CreateAndDeliverRequestCardData(card_param_map={"title": "T"}),
    open_space_id="dtv1.card//IM_ROBOT." + given["users"][0],
    im_robot_open_deliver_model=card_models.CreateAndDeliverRequestImRobotOpenDeliverModel(space_type="IM_ROBOT"),
), card_token, runtime).body
found["card"] = [delivered.success, delivered.result.deliver_results[0].success]
updated = cards.update_card_with_options(card_models.UpdateCardRequest(
    out_track_id="c1", card_data=card_models.UpdateCardRequestCardData(card_param_map={"tips": "done"}),
    card_update_options=card_models.UpdateCardRequestCardUpdateOptions(update_card_data_by_key=True)),
    card_models.UpdateCardHeaders(x_acs_dingtalk_access_token=app_token.access_token), runtime).body
found["updated"] = updated.success

def refusal(token):
    try:
        todos.create_personal_todo_task_with_options(todo_models.CreatePersonalTodoTaskRequest(
            subject="A", executor_ids=[me.union_id]),
            todo_models.CreatePersonalTodoTaskHeaders(x_acs_dingtalk_access_token=token), runtime)
    except Exception as error:
        return error
denied = refusal(user_token(code=given["narrow_code"], grant_type="authorization_code").access_token)
found["denied"] = [denied.code, denied.data["statusCode"], denied.data["accessdenieddetail"]["requiredScopes"]]
invalid = refusal("nothing")
found["invalid"] = [invalid.code, invalid.data["statusCode"]]
print(json.dumps(found))
"""


async def test_the_api_client_reads_every_answer(world):
    await world.control("behaviour", tokens_give="what was asked for")
    app, person = world.tenant.app, world.tenant.people[ADA]
    given = {
        "host": f"127.0.0.1:{world.client.port}",
        "client_id": app.client_id,
        "client_secret": app.client_secret,
        "code": await world.code(),
        "narrow_code": await world.client_code("Contact.User.Read"),
        "users": [ADA, NIKO],
        "group": GROUP,
        "template": TEMPLATE_ID,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        API_CLIENT,
        json.dumps(given),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert json.loads(output) == {
        "app_token": 7200,
        "user_token": [7200, app.corp_id],
        "me": [person.name, person.union_id, person.mobile],
        "todo": ["Write report", "s1", False],
        "todos": True,
        "events": [4, True, "Room 4"],
        "sent": [True, [NIKO]],
        "group": True,
        "card": [True, True],
        "updated": True,
        "denied": [
            "Forbidden.AccessDenied.AccessTokenPermissionDenied",
            403,
            ["Todo.PersonalTodo.Write"],
        ],
        "invalid": ["InvalidAuthentication", 400],
    }


@pytest.mark.parametrize("package", ["dingtalk_stream", "alibabacloud_dingtalk"])
def test_the_bot_itself_does_not_import_the_clients(package):
    from pathlib import Path

    sources = (Path(__file__).parents[3] / "bot").rglob("*.py")
    assert not [each for each in sources if package in each.read_text(encoding="utf-8")]
