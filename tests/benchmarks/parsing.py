"""One webhook event, from the bytes received to what it says: ours, the least that will do, and the SDK's.

And one frame of the long connection: our codec, and the SDK's generated classes.
"""

from __future__ import annotations

import base64
import gc
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from multidict import CIMultiDict

from bot.core.events import MessageReceived
from bot.core.secrets import Secret
from bot.lark import frames
from bot.lark.events import Recipient
from bot.lark.webhook import WebhookKeys, receive
from tests.benchmarks import subscription as app
from tests.benchmarks.figures import Figure, interleaved

KEY = hashlib.sha256(app.ENCRYPT_KEY.encode()).digest()


def minimal(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Verifies, decrypts and parses, and nothing else: the reference here and behind the minimal handler."""
    signed = headers["X-Lark-Request-Timestamp"] + headers["X-Lark-Request-Nonce"] + app.ENCRYPT_KEY
    expected = hashlib.sha256(signed.encode() + body).hexdigest()
    if not hmac.compare_digest(expected, headers["X-Lark-Signature"]):
        raise PermissionError
    sealed = base64.b64decode(json.loads(body)["encrypt"])
    decryptor = Cipher(algorithms.AES(KEY), modes.CBC(sealed[:16])).decryptor()
    plain = decryptor.update(sealed[16:]) + decryptor.finalize()
    payload: dict[str, Any] = json.loads(plain[: -plain[-1]])
    if payload["header"]["token"] != app.VERIFICATION_TOKEN:
        raise PermissionError
    payload["text"] = json.loads(payload["event"]["message"]["content"])["text"]
    return payload


def microseconds(function: Callable[[], object], times: int) -> float:
    """Of processor time, for one call."""
    began = time.process_time()
    for _ in range(times):
        function()
    return (time.process_time() - began) / times * 1e6


def measure(*, short: bool = False) -> list[Figure]:
    body, plain_headers = app.pushed(1, 1, "/doc welcome")
    headers = CIMultiDict(plain_headers)
    keys = WebhookKeys(Secret(app.ENCRYPT_KEY), Secret(app.VERIFICATION_TOKEN))
    recipient = Recipient(app.APP_ID, app.BOT_OPEN_ID)

    def ours() -> object:
        return receive(keys, recipient, headers, body, time.time())

    sdk = sdk_dispatcher(plain_headers, body)
    assert isinstance(ours(), MessageReceived)
    assert minimal(headers, body)["text"] == "/doc welcome"
    # A full collection over the SDK's 11 000 modules would fall upon one of the three by chance.
    gc.collect()
    gc.freeze()
    times, rounds = (200, 3) if short else (3000, 9)
    median = interleaved(
        rounds,
        {
            "ours": lambda: microseconds(ours, times),
            "minimal": lambda: microseconds(lambda: minimal(headers, body), times),
            "sdk": lambda: microseconds(sdk, times),
        },
    )
    frame_median = interleaved(rounds, frame_measures(times))
    gc.unfreeze()
    name = "verify, decrypt and parse an event"
    return [
        Figure(name, median["ours"], "µs", median["minimal"], "minimal code", at_most=1.2),
        Figure(name, median["ours"], "µs", median["sdk"], "SDK's dispatcher", at_most=1 / 3),
        *(
            Figure(
                f"{what} a frame",
                frame_median[what],
                "µs",
                frame_median[f"sdk {what}"],
                "SDK's classes",
                at_most=1,
            )
            for what in ("decode", "encode")
        ),
    ]


FRAME = frames.Frame(
    seq_id=123456789,
    log_id=987654321,
    service=7,
    method=frames.DATA,
    headers=(
        ("type", "event"),
        ("message_id", "m" * 36),
        ("trace_id", "t" * 32),
        ("sum", "1"),
        ("seq", "0"),
        ("biz_rt", "12"),
    ),
    payload=b"x" * 1500,
    log_id_new="20260105093000",
)


def frame_measures(times: int) -> dict[str, Callable[[], float]]:
    from lark_oapi.ws.pb import pbbp2_pb2

    encoded = frames.encode(FRAME)
    theirs = pbbp2_pb2.Frame()
    theirs.ParseFromString(encoded)
    assert theirs.SerializeToString() == encoded

    def sdk_decode() -> object:
        frame = pbbp2_pb2.Frame()
        frame.ParseFromString(encoded)
        return [(header.key, header.value) for header in frame.headers]

    def sdk_encode() -> object:
        frame = pbbp2_pb2.Frame(
            SeqID=FRAME.seq_id,
            LogID=FRAME.log_id,
            service=FRAME.service,
            method=FRAME.method,
            payload=FRAME.payload,
            LogIDNew=FRAME.log_id_new,
        )
        for key, value in FRAME.headers:
            frame.headers.add(key=key, value=value)
        return frame.SerializeToString()

    assert sdk_encode() == encoded
    return {
        "decode": lambda: microseconds(lambda: frames.decode(encoded), times),
        "encode": lambda: microseconds(lambda: frames.encode(FRAME), times),
        "sdk decode": lambda: microseconds(sdk_decode, times),
        "sdk encode": lambda: microseconds(sdk_encode, times),
    }


def sdk_dispatcher(headers: Mapping[str, str], body: bytes) -> Callable[[], object]:
    from lark_oapi.core.model import RawRequest
    from lark_oapi.event.dispatcher_handler import EventDispatcherHandler

    logging.getLogger("Lark").setLevel(logging.ERROR)
    builder = EventDispatcherHandler.builder(app.ENCRYPT_KEY, app.VERIFICATION_TOKEN)
    handler = builder.register_p2_im_message_receive_v1(lambda event: None).build()

    def handle() -> object:
        request = RawRequest()
        request.uri, request.headers, request.body = "/lark/events", dict(headers), body
        answer = handler.do(request)
        assert answer.status_code == 200, answer.content
        return answer

    return handle
