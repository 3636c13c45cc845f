"""Encodes and decodes the frames of the long connection, and assembles payloads that span several frames. No I/O.

A frame is a proto2 message with nine fields. This codec replaces the SDK's, which needs the pure-Python protobuf that
the SDK bundles: importing that alone takes 80 ms and 33 MB, and it is slower (the figures "decode a frame" and "encode a
frame" of `tests/benchmarks`). The tests compare the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

CONTROL, DATA = 0, 1
"""Values of `Frame.method`."""

SEQ_ID, LOG_ID, SERVICE, METHOD, HEADERS, PAYLOAD_ENCODING, PAYLOAD_TYPE, PAYLOAD, LOG_ID_NEW = range(1, 10)
KEY, VALUE = 1, 2

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types. The other two, groups, are obsolete."""

MAX_PARTS = 1000
MAX_PAYLOAD_BYTES = 1024 * 1024
"""The same limit as for a webhook. The content of a message has at most 150 KB."""
MAX_FIELDS = 100
"""Fields of a frame, or of one header. A frame has nine fields, and one more per header."""
MAX_INCOMPLETE = 32
"""Incomplete payloads per connection. A further one replaces the oldest, which the platform redelivers."""
PART_TIMEOUT = 5.0
"""Seconds after the last part until an incomplete payload is dropped, as in the SDK."""


class FrameError(ValueError):
    """The data is not a usable frame. The message says why, without quoting the data."""


@dataclass(frozen=True, slots=True)
class Frame:
    seq_id: int
    log_id: int
    service: int
    method: int
    headers: tuple[tuple[str, str], ...] = ()
    payload_encoding: str | None = None
    payload_type: str | None = None
    payload: bytes | None = None
    log_id_new: str | None = None

    def header(self, key: str) -> str | None:
        return next((value for name, value in self.headers if name == key), None)

    def answered(self, body: bytes, milliseconds: int) -> Frame:
        """Return the frame that acknowledges this one: a copy with the answer as its payload."""
        return replace(self, headers=(*self.headers, ("biz_rt", str(milliseconds))), payload=body)


def ping(service: int) -> Frame:
    return Frame(0, 0, service, CONTROL, (("type", "ping"),))


def encode(frame: Frame) -> bytes:
    out = bytearray()
    for number, value in (
        (SEQ_ID, frame.seq_id),
        (LOG_ID, frame.log_id),
        (SERVICE, frame.service),
        (METHOD, frame.method),
    ):
        out += encode_varint(number << 3 | VARINT) + encode_varint(value)
    for key, text in frame.headers:
        out += encode_bytes(HEADERS, encode_bytes(KEY, key.encode()) + encode_bytes(VALUE, text.encode()))
    for number, content in (
        (PAYLOAD_ENCODING, frame.payload_encoding),
        (PAYLOAD_TYPE, frame.payload_type),
        (PAYLOAD, frame.payload),
        (LOG_ID_NEW, frame.log_id_new),
    ):
        if content is not None:
            out += encode_bytes(number, content.encode() if isinstance(content, str) else content)
    return bytes(out)


def encode_varint(value: int) -> bytes:
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_bytes(number: int, content: bytes) -> bytes:
    return encode_varint(number << 3 | BYTES) + encode_varint(len(content)) + content


def decode(data: bytes) -> Frame:
    """Decode a frame by the rules of protobuf: the last value of a repeated field counts; unknown fields are skipped.

    Raises `FrameError`.
    """
    numbers: dict[int, int] = {}
    contents: dict[int, bytes] = {}
    headers: list[tuple[str, str]] = []
    for number, value in decode_fields(data):
        if isinstance(value, int):
            numbers[number] = value
        elif number == HEADERS:
            headers.append(decode_header(value))
        else:
            contents[number] = value
    try:
        return Frame(
            numbers[SEQ_ID],
            numbers[LOG_ID],
            to_int32(numbers[SERVICE]),
            to_int32(numbers[METHOD]),
            tuple(headers),
            decode_text(contents.get(PAYLOAD_ENCODING)),
            decode_text(contents.get(PAYLOAD_TYPE)),
            contents.get(PAYLOAD),
            decode_text(contents.get(LOG_ID_NEW)),
        )
    except KeyError:
        raise FrameError("a required field is missing") from None


def decode_header(data: bytes) -> tuple[str, str]:
    found = {number: value for number, value in decode_fields(data) if isinstance(value, bytes)}
    key, value = decode_text(found.get(KEY)), decode_text(found.get(VALUE))
    if key is None or value is None:
        raise FrameError("a header has no key or no value")
    return key, value


def decode_text(content: bytes | None) -> str | None:
    try:
        return None if content is None else content.decode()
    except UnicodeDecodeError:
        raise FrameError("a string is not UTF-8") from None


def to_int32(value: int) -> int:
    """Return the signed 32-bit number in a varint, which encodes negative numbers as 64-bit two's complement."""
    low = value & 0xFFFF_FFFF
    return low - (1 << 32) if low >> 31 else low


def decode_fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and value of each field. Skips fields of fixed width, which frames do not use."""
    position, count = 0, 0
    while position < len(data):
        count += 1
        if count > MAX_FIELDS:
            raise FrameError("too many fields")
        tag, position = decode_varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise FrameError("a field number is out of range")
        if wire_type == VARINT:
            value, position = decode_varint(data, position)
            yield number, value
            continue
        if wire_type == BYTES:
            length, position = decode_varint(data, position)
        elif wire_type in {FIXED32, FIXED64}:
            length = 4 if wire_type == FIXED32 else 8
        else:
            raise FrameError("a wire type is unknown")
        end = position + length
        if end > len(data):
            raise FrameError("a field runs past the end")
        if wire_type == BYTES:
            yield number, data[position:end]
        position = end


def decode_varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise FrameError("a number runs past the end")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
    raise FrameError("a number is too long")


# --- payloads in parts ------------------------------------------------------------------------------------


@dataclass(slots=True)
class IncompletePayload:
    parts: int
    expires_at: float
    found: dict[int, bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(map(len, self.found.values()))


class PayloadAssembler:
    """Assembles the payloads of one connection: `sum` frames with one `message_id`, numbered by `seq` from 0."""

    def __init__(self) -> None:
        self._incomplete: dict[str, IncompletePayload] = {}
        self.wasted = 0
        """Counts repeated parts, and payloads that were dropped incomplete."""

    def add(self, frame: Frame, now: float) -> bytes | None:
        """Add a frame. Return the payload if the frame completes it, else None. Raises `FrameError`."""
        parts = number_header(frame, "sum", 1)
        payload = frame.payload or b""
        if parts <= 1:
            return payload
        number, message_id = number_header(frame, "seq", 0), frame.header("message_id")
        if number >= parts or parts > MAX_PARTS or message_id is None:
            raise FrameError("a part has no valid number or message id")
        message = self._message(message_id, parts, now)
        self.wasted += number in message.found
        message.found[number] = payload
        message.expires_at = now + PART_TIMEOUT
        if message.size > MAX_PAYLOAD_BYTES:
            del self._incomplete[message_id]
            raise FrameError("the payload is too large")
        if len(message.found) < parts:
            return None
        del self._incomplete[message_id]
        return b"".join(message.found[each] for each in range(parts))

    def _message(self, message_id: str, parts: int, now: float) -> IncompletePayload:
        message = self._incomplete.get(message_id)
        if message is not None and message.parts == parts and now < message.expires_at:
            return message
        self._incomplete.pop(message_id, None)
        for expired in [each for each, old in self._incomplete.items() if now >= old.expires_at]:
            del self._incomplete[expired]
        while len(self._incomplete) >= MAX_INCOMPLETE:
            self.wasted += 1
            del self._incomplete[next(iter(self._incomplete))]
        return self._incomplete.setdefault(message_id, IncompletePayload(parts, now + PART_TIMEOUT))


def number_header(frame: Frame, key: str, absent: int) -> int:
    value = frame.header(key)
    if value is None:
        return absent
    if not (value.isascii() and value.isdigit() and len(value) <= 6):
        raise FrameError(f"the header {key} is not a small number")
    return int(value)
