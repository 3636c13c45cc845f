"""The long connection's frames: byte for byte, against the SDK's own classes, and with everything wrong in them."""

from __future__ import annotations

import contextlib
import random
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.lark.frames import (
    MAX_INCOMPLETE,
    MAX_PAYLOAD_BYTES,
    PART_TIMEOUT,
    Frame,
    FrameError,
    PayloadAssembler,
    decode,
    encode,
    ping,
)

PING = "0800100018f681801020002a0c0a0474797065120470696e67"
DATA = (
    "0807100918f681801020012a0d0a047479706512056576656e742a100a0a6d6573736167655f696412026d312a0e0a08747261"
    "63655f6964120274312a080a0373756d1201312a080a0373657112013042027b7d"
)
ACKNOWLEDGEMENT = (
    "0807100918f681801020012a0d0a047479706512056576656e742a100a0a6d6573736167655f696412026d312a0e0a08747261"
    "63655f6964120274312a080a0373756d1201312a080a037365711201302a0c0a0662697a5f727412023132420d7b22636f6465"
    "223a203230307d"
)

numbers = st.integers(0, 2**64 - 1)
small_numbers = st.integers(-(2**31), 2**31 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
frames = st.builds(
    Frame,
    numbers,
    numbers,
    small_numbers,
    small_numbers,
    st.lists(st.tuples(texts, texts), max_size=5).map(tuple),
    st.none() | texts,
    st.none() | texts,
    st.none() | st.binary(max_size=50),
    st.none() | texts,
)


def test_frames_are_written_byte_for_byte_as_the_platform_knows_them():
    assert encode(ping(33554678)).hex() == PING
    event = decode(bytes.fromhex(DATA))
    assert (event.seq_id, event.log_id, event.service, event.method) == (7, 9, 33554678, 1)
    assert event.header("message_id") == "m1"
    assert event.payload == b"{}"
    assert encode(event).hex() == DATA
    assert encode(event.answered(b'{"code": 200}', 12)).hex() == ACKNOWLEDGEMENT


@given(frames)
def test_what_was_written_is_read_again(frame: Frame):
    assert decode(encode(frame)) == frame


@pytest.fixture(scope="module")
def sdk() -> Any:
    return pytest.importorskip("lark_oapi.ws.pb.pbbp2_pb2")


def as_ours(theirs: Any) -> Frame:
    def optional(name: str) -> Any:
        return getattr(theirs, name) if theirs.HasField(name) else None

    return Frame(
        theirs.SeqID,
        theirs.LogID,
        theirs.service,
        theirs.method,
        tuple((each.key, each.value) for each in theirs.headers),
        optional("payload_encoding"),
        optional("payload_type"),
        optional("payload"),
        optional("LogIDNew"),
    )


@pytest.mark.filterwarnings("ignore")
@given(frame=frames)
def test_the_sdk_reads_what_we_write_and_writes_what_we_read(sdk: Any, frame: Frame):
    theirs = sdk.Frame()
    theirs.ParseFromString(encode(frame))
    assert as_ours(theirs) == frame
    assert theirs.SerializeToString() == encode(frame)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=400)
@given(frame=frames, seed=st.integers(0, 2**32))
def test_a_damaged_frame_is_refused_or_read_as_the_sdk_reads_it(sdk: Any, frame: Frame, seed: int):
    chance = random.Random(seed)
    data = bytearray(encode(frame))
    for _ in range(chance.randint(1, 4)):
        where = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[where] = chance.randrange(256)
            case 1:
                del data[where : where + chance.randint(1, 9)]
            case 2:
                data[where:where] = chance.randbytes(chance.randint(1, 9))
            case 3:
                data += data[where : where + 20]
        if not data:
            data = bytearray(b"\0")
    try:
        read = decode(bytes(data))
    except FrameError:
        return
    theirs = sdk.Frame()
    theirs.ParseFromString(bytes(data))
    assert as_ours(theirs) == read


@given(st.binary(max_size=200))
def test_nothing_else_is_raised_whatever_comes(data: bytes):
    with contextlib.suppress(FrameError):
        assert isinstance(decode(data), Frame)


@pytest.mark.parametrize(
    "bad",
    [
        "",  # nothing
        "0807",  # half of it
        "08",  # a tag without a value
        "42ff01",  # a length that runs past the end
        "080010001800" + "2001" + "0b",  # a group
        "ff" * 11,  # a number without an end
        "0000",  # field 0
        PING[:-4],
        "08001000180020002a020a00",  # a header without a value
        "08001000180020002a040a00120a",  # a header that ends too early
        "080010001800200032" + "01ff",  # no UTF-8
    ],
)
def test_an_invalid_frame_is_refused(bad: str):
    with pytest.raises(FrameError):
        decode(bytes.fromhex(bad))


def test_a_megabyte_of_fields_is_not_read():
    """A second of the processor's time, otherwise."""
    empty_header = b"\x2a\x04\x0a\x00\x12\x00"
    for data in (b"\x08\x07" * 500_000, empty_header * 160_000, b"\x2a\xc0\x84\x3d" + b"\x0a\x00" * 500_000):
        started = time.process_time()
        with pytest.raises(FrameError, match="too many fields"):
            decode(data)
        assert time.process_time() - started < 0.05


# --- parts ------------------------------------------------------------------------------------------------


def part(number: Any, parts: Any, payload: bytes, message_id: str | None = "m1") -> Frame:
    headers = (("sum", str(parts)), ("seq", str(number)))
    if message_id is not None:
        headers += (("message_id", message_id),)
    return Frame(1, 1, 1, 1, headers, payload=payload)


def test_parts_may_come_in_any_order_and_more_than_once():
    parts = PayloadAssembler()
    assert parts.add(part(2, 3, b"c"), 0) is None
    assert parts.add(part(0, 3, b"a"), 1) is None
    assert parts.add(part(0, 3, b"a"), 1) is None
    assert parts.add(part(1, 3, b"b"), 2) == b"abc"
    assert parts.add(part(1, 3, b"b"), 2) is None


def test_a_whole_payload_needs_no_headers():
    assert PayloadAssembler().add(Frame(1, 1, 1, 1, payload=b"a"), 0) == b"a"
    assert PayloadAssembler().add(Frame(1, 1, 1, 1), 0) == b""
    assert PayloadAssembler().add(part(0, 1, b"a", None), 0) == b"a"


def test_parts_of_several_payloads_are_kept_apart():
    parts = PayloadAssembler()
    parts.add(part(0, 2, b"a", "m1"), 0)
    parts.add(part(0, 2, b"x", "m2"), 0)
    assert parts.add(part(1, 2, b"b", "m1"), 0) == b"ab"
    assert parts.add(part(1, 2, b"y", "m2"), 0) == b"xy"


def test_what_stays_incomplete_is_forgotten():
    parts = PayloadAssembler()
    parts.add(part(0, 2, b"old"), 0)
    assert parts.add(part(1, 2, b"b"), PART_TIMEOUT) is None
    assert parts.add(part(0, 2, b"a"), PART_TIMEOUT) == b"ab"


def test_a_redelivery_that_is_split_differently_starts_again():
    parts = PayloadAssembler()
    parts.add(part(0, 3, b"old"), 0)
    parts.add(part(0, 2, b"a"), 0)
    assert parts.add(part(1, 2, b"b"), 0) == b"ab"


def test_no_more_is_kept_than_there_is_room_for():
    parts = PayloadAssembler()
    for number in range(MAX_INCOMPLETE + 1):
        parts.add(part(0, 2, b"a", f"m{number}"), 0)
    assert parts.add(part(1, 2, b"b", "m0"), 0) is None
    assert parts.add(part(1, 2, b"b", f"m{MAX_INCOMPLETE}"), 0) == b"ab"


def test_a_payload_that_grows_too_large_is_given_up():
    parts = PayloadAssembler()
    parts.add(part(0, 3, b"a" * MAX_PAYLOAD_BYTES), 0)
    with pytest.raises(FrameError):
        parts.add(part(1, 3, b"b"), 0)
    assert parts.add(part(2, 3, b"c"), 0) is None


@pytest.mark.parametrize(
    ("number", "parts", "message_id"),
    [
        (0, "x", "m1"),
        (0, "-2", "m1"),
        (0, "٢", "m1"),
        (0, "9" * 5000, "m1"),
        (0, 1001, "m1"),
        (2, 2, "m1"),
        ("", 2, "m1"),
        (0, 2, None),
    ],
)
def test_a_part_that_belongs_nowhere_is_refused(number: Any, parts: Any, message_id: str | None):
    with pytest.raises(FrameError):
        PayloadAssembler().add(part(number, parts, b"", message_id), 0)
