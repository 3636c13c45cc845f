"""The long connection's frames: one proto2 message in each binary WebSocket message, encoded by hand.

An emulator that used the SDK's own classes would share its mistakes.
"""

from dataclasses import dataclass, field

CONTROL, DATA = 0, 1
_VARINT, _BYTES = 0, 2


class FrameError(ValueError):
    """These bytes are not a frame."""


@dataclass
class Frame:
    """One frame. Required fields are always encoded, optional ones unless they are None."""

    seq_id: int
    log_id: int
    service: int
    method: int
    headers: dict[str, str] = field(default_factory=dict)
    payload_encoding: str | None = None
    payload_type: str | None = None
    payload: bytes | None = None
    log_id_new: str | None = None


def encode(frame: Frame) -> bytes:
    out = bytearray()
    for number, value in enumerate((frame.seq_id, frame.log_id, frame.service, frame.method), start=1):
        out += _varint(number << 3 | _VARINT) + _varint(value)
    for key, header in frame.headers.items():
        out += _delimited(5, _delimited(1, key.encode()) + _delimited(2, header.encode()))
    if frame.payload_encoding is not None:
        out += _delimited(6, frame.payload_encoding.encode())
    if frame.payload_type is not None:
        out += _delimited(7, frame.payload_type.encode())
    if frame.payload is not None:
        out += _delimited(8, frame.payload)
    if frame.log_id_new is not None:
        out += _delimited(9, frame.log_id_new.encode())
    return bytes(out)


def decode(data: bytes) -> Frame:
    """Decode a frame. Raises FrameError if a required field is missing or the bytes are malformed."""
    numbers: dict[int, int] = {}
    blobs: dict[int, bytes] = {}
    headers: dict[str, str] = {}
    for number, value in _fields(data):
        if number == 5 and isinstance(value, bytes):
            key, header = _header(value)
            headers[key] = header
        elif isinstance(value, bytes):
            blobs[number] = value
        else:
            numbers[number] = value
    if not {1, 2, 3, 4} <= numbers.keys():
        raise FrameError("a required field is missing")
    try:
        return Frame(
            seq_id=numbers[1],
            log_id=numbers[2],
            service=numbers[3],
            method=numbers[4],
            headers=headers,
            payload_encoding=blobs[6].decode() if 6 in blobs else None,
            payload_type=blobs[7].decode() if 7 in blobs else None,
            payload=blobs.get(8),
            log_id_new=blobs[9].decode() if 9 in blobs else None,
        )
    except UnicodeDecodeError as error:
        raise FrameError("a string is not UTF-8") from error


def _header(data: bytes) -> tuple[str, str]:
    parts = dict(_fields(data))
    key, value = parts.get(1), parts.get(2)
    if not isinstance(key, bytes) or not isinstance(value, bytes):
        raise FrameError("a header without key or value")
    return key.decode(), value.decode()


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _delimited(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(data)) + data


def _fields(data: bytes) -> list[tuple[int, int | bytes]]:
    found: list[tuple[int, int | bytes]] = []
    position = 0
    while position < len(data):
        tag, position = _read_varint(data, position)
        number, wire = tag >> 3, tag & 7
        value, position = _read_varint(data, position)
        if wire == _VARINT:
            found.append((number, value))
        elif wire == _BYTES:
            if position + value > len(data):
                raise FrameError("a field runs past the end")
            found.append((number, data[position : position + value]))
            position += value
        else:
            raise FrameError(f"unexpected wire type {wire}")
    return found


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise FrameError("a number runs past the end")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position
