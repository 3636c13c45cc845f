"""The official SDK against the emulator: what it accepts is the platform's wire format, not only ours."""

import asyncio
import json
import sys

import pytest

from bot.sandbox.lark.sample_tenant import ADA
from bot.sandbox.lark.webhook import encrypted_request

LONG_CONNECTION = """
import json, sys, warnings
warnings.simplefilter("ignore")
import lark_oapi as lark
from lark_oapi.event.callback.model.p2_card_action_trigger import P2CardActionTriggerResponse

def on_message(event):
    print(json.dumps(["message", event.event.message.message_id]), flush=True)

def on_click(event):
    print(json.dumps(["click", event.event.action.value]), flush=True)
    return P2CardActionTriggerResponse({"toast": {"type": "info", "content": "seen"}})

handler = (
    lark.EventDispatcherHandler.builder("", "")
    .register_p2_im_message_receive_v1(on_message)
    .register_p2_card_action_trigger(on_click)
    .build()
)
app_id, secret, domain = sys.argv[1:]
lark.ws.Client(app_id, secret, event_handler=handler, domain=domain).start()
"""


async def told(output: asyncio.StreamReader) -> list[str]:
    """The next thing that the program above says; the SDK logs to the same output."""
    while line := await output.readline():
        if line.startswith(b'["'):
            return json.loads(line)
    raise EOFError


async def test_the_sdks_client_connects_receives_and_answers(world, card):
    app = world.tenant.app
    app.events_by = "websocket"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        LONG_CONNECTION,
        app.app_id,
        app.app_secret,
        str(world.client.make_url("")).rstrip("/"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(60):
            while not (await world.get("/sandbox/api/connections")).body["connections"]:
                await asyncio.sleep(0.05)
            # Larger than one frame, so that the SDK has to put the parts together.
            world.tenant.behaviour.frame_payload_bytes = 300
            sent = await world.control("messages", person=ADA, text="hello " * 100)
            assert (await told(process.stdout)) == ["message", sent["message_id"]]
            message_id = (await world.send(ADA, "interactive", card)).body["data"]["message_id"]
            click = await world.control("clicks", person=ADA, message_id=message_id, element_id="btn_no")
            assert click["code"] is None
            assert click["response"]["toast"] == {"type": "info", "content": "seen"}
            assert (await told(process.stdout))[0] == "click"
            while not world.tenant.events[sent["event_id"]].acknowledged:
                await asyncio.sleep(0.01)
    finally:
        process.kill()
        await process.wait()


@pytest.mark.filterwarnings("ignore")
def test_the_sdks_dispatcher_accepts_a_sealed_event_and_no_forged_one():
    lark = pytest.importorskip("lark_oapi")
    got = []
    handler = (
        lark.EventDispatcherHandler.builder("emu-encrypt-key-01", "vtok-emu-1")
        .register_p2_im_message_receive_v1(lambda event: got.append(event.header.event_id))
        .build()
    )
    event = {
        "schema": "2.0",
        "header": {"event_id": "e1", "event_type": "im.message.receive_v1", "token": "vtok-emu-1"},
        "event": {},
    }
    body, headers = encrypted_request("emu-encrypt-key-01", event, 1767225600)

    def status(headers: dict[str, str]) -> int:
        request = lark.RawRequest()
        request.uri, request.body, request.headers = "/lark/events", body, headers
        return handler.do(request).status_code

    assert status(headers) == 200
    assert status({**headers, "X-Lark-Signature": "0" * 64}) == 500
    assert got == ["e1"]
