"""What the platform sends us: verified, decrypted and parsed into the events of `core.events`. No I/O.

Order of a webhook: signature, freshness, decryption, token, app, fields. Without a signature a body is looked
into only to find out whether it checks the address, and all that is wrong with such a one is answered alike.
https://open.feishu.cn/document/event-subscription-guide/event-subscriptions/
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any, TypeGuard

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from bot.core.commands import EVERYONE, LONGEST_NAME, PLACEHOLDER
from bot.core.events import (
    AppStopped,
    CardClicked,
    ChatEntered,
    GrantRevoked,
    Ignored,
    Mentions,
    MessageRecalled,
    MessageReceived,
    Received,
    Unauthentic,
    UrlVerification,
    UserDeleted,
)
from bot.core.language import Language, Words
from bot.core.messages import Chat
from bot.core.people import UserKey
from bot.core.secrets import Secret
from bot.core.strict_json import decode
from bot.core.unseen_characters import one_line, tidy
from bot.lark.json_bounds import is_costly

OLDEST = 8 * 3600
"""Seconds: the platform redelivers for some seven hours, perhaps with the first timestamp."""
MOST_AHEAD = 5 * 60
BLOCK = 16
LONGEST_ID = 256
LONGEST_CHECK = 8 * 1024
"""Bytes of a check of the address. Anybody can send one, so that it is not worth decrypting a larger one."""


class Malformed(Exception):
    """A field is missing, or not of the kind it should be. Names the field."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """For whom events are: without them, nothing in a payload can be judged."""

    app_id: str
    bot_open_id: str | None
    """None while the bot does not know its own name yet: then group messages are to be sent again."""


class WebhookKeys:
    """The secrets of the event subscription."""

    def __init__(self, encrypt_key: Secret | None, verification_token: Secret | None) -> None:
        key = encrypt_key.reveal().encode() if encrypt_key else b""
        self._encrypt_key = key
        self._blocks = Cipher(algorithms.AES(hashlib.sha256(key).digest()), modes.ECB()).decryptor()  # noqa: S305
        self._token = verification_token.reveal().encode() if verification_token else None

    def is_signed(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether the signature fits the body as it was received, still encrypted."""
        signature = headers.get("X-Lark-Signature", "")
        signed = headers.get("X-Lark-Request-Timestamp", "") + headers.get("X-Lark-Request-Nonce", "")
        digest = hashlib.sha256(signed.encode(errors="surrogateescape") + self._encrypt_key)
        digest.update(body)
        return signature.isascii() and hmac.compare_digest(digest.hexdigest(), signature)

    def decrypt(self, body: bytes) -> bytes | None:
        """The plain text of `{"encrypt": …}`; None when it cannot be decrypted, whyever."""
        try:
            outer = decode(body.decode())
            plain = self._decipher(binascii.a2b_base64(outer["encrypt"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        padding = plain[-1]
        if not 1 <= padding <= BLOCK or plain[-padding:] != bytes((padding,)) * padding:
            return None
        return plain[:-padding]

    def _decipher(self, sealed: bytes) -> bytes:
        """AES in CBC mode. That is each block deciphered by itself, then XORed with the ciphertext before it (the
        first with the IV); done so, one cipher serves all events, for setting one up costs more than using it."""
        if len(sealed) < 2 * BLOCK or len(sealed) % BLOCK:
            raise ValueError
        blocks = self._blocks.update(sealed[BLOCK:])
        before = int.from_bytes(sealed[:-BLOCK], "big")
        return (int.from_bytes(blocks, "big") ^ before).to_bytes(len(blocks), "big")

    def is_signed_as_before(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether it is signed as card callbacks once were: SHA-1, with the verification token."""
        signature = headers.get("X-Lark-Signature", "")
        if self._token is None:
            return re.fullmatch(r"[0-9a-f]{40}", signature) is not None
        signed = headers.get("X-Lark-Request-Timestamp", "") + headers.get("X-Lark-Request-Nonce", "")
        digest = hashlib.sha1(signed.encode(errors="surrogateescape") + self._token, usedforsecurity=False)
        digest.update(body)
        return signature.isascii() and hmac.compare_digest(digest.hexdigest(), signature)

    @property
    def are_set(self) -> bool:
        return bool(self._encrypt_key)

    def is_token(self, value: Any) -> bool:
        """Whether a payload carries the verification token; true when none is configured to compare with."""
        if self._token is None:
            return True
        return isinstance(value, str) and hmac.compare_digest(
            value.encode(errors="surrogatepass"), self._token
        )


def receive(
    keys: WebhookKeys, recipient: Recipient, headers: Mapping[str, str], body: bytes, now: float
) -> Received:
    """What one webhook request says. Never raises; the size of the body was limited before."""
    if not keys.are_set:
        return Unauthentic("no encrypt key is configured", 401)
    if "X-Lark-Signature" not in headers:
        return unsigned(keys, body)
    if not keys.is_signed(headers, body):
        return Unauthentic("the signature does not fit", 401, advice(keys, headers, body))
    if not is_fresh(headers.get("X-Lark-Request-Timestamp", ""), now):
        return Unauthentic("the signed timestamp is stale or ahead", 401)
    plain = keys.decrypt(body)
    payload = parse_object(plain) if plain is not None else None
    if payload is None:
        return Unauthentic("signed, but not an encrypted JSON object", 400)
    if payload.get("type") == "url_verification":
        return challenge(keys, payload)
    header = payload.get("header")
    if not keys.is_token(header.get("token") if isinstance(header, dict) else payload.get("token")):
        return Unauthentic("the verification token does not fit", 401)
    return read_event(recipient, payload)


def unsigned(keys: WebhookKeys, body: bytes) -> UrlVerification | Unauthentic:
    """The check of the address may come without a signature, and changes nothing."""
    plain = keys.decrypt(body) if len(body) <= LONGEST_CHECK else None
    payload = parse_object(plain) if plain is not None else None
    if payload is None or payload.get("type") != "url_verification":
        return Unauthentic("not signed", 401, advice(keys, {}, body))
    return challenge(keys, payload)


def challenge(keys: WebhookKeys, payload: Mapping[str, Any]) -> UrlVerification | Unauthentic:
    value = payload.get("challenge")
    if not keys.is_token(payload.get("token")) or not is_id(value):
        return Unauthentic("not signed", 401)
    return UrlVerification(value)


OLD_CARD_CALLBACK = (
    "The developer console sends the old card callback, which is not accepted. There, under Events & Callbacks > "
    "Callback Configuration, set the request address, add the callback card.action.trigger, and remove the message card "
    "request URL of the bot's old configuration"
)
NO_ENCRYPTION = (
    "The developer console sends events without encryption, which are not accepted. Set an Encrypt Key there, under "
    "Events & Callbacks > Encryption Strategy, and the same as LARK_ENCRYPT_KEY here"
)


def advice(keys: WebhookKeys, headers: Mapping[str, str], body: bytes) -> str:
    """What to change in the console, for a request that is refused because of how the console is set. Empty for any
    other; with a verification token in the settings, for all that do not know it."""
    if keys.is_signed_as_before(headers, body):
        return OLD_CARD_CALLBACK
    payload = parse_object(body) if len(body) <= LONGEST_CHECK else None
    if payload is None:
        return ""
    header = payload.get("header")
    token = header.get("token") if isinstance(header, dict) else payload.get("token")
    is_event = isinstance(header, dict) or "uuid" in payload or payload.get("type") == "url_verification"
    return NO_ENCRYPTION if is_event and keys.is_token(token) else ""


def is_fresh(timestamp: str, now: float) -> bool:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return False
    return -MOST_AHEAD <= now - int(timestamp) <= OLDEST


def parse(keys: WebhookKeys, recipient: Recipient, payload: bytes) -> Received:
    """What one payload of the long connection says, which is neither signed nor encrypted.

    The platform leaves its verification token empty; one that is there and does not fit is not the platform's.
    """
    parsed = parse_object(payload)
    if parsed is None:
        return Unauthentic("not a JSON object", 400)
    header = parsed.get("header")
    for fields in (parsed, header if isinstance(header, dict) else {}):
        if fields.get("token") not in (None, "") and not keys.is_token(fields["token"]):
            return Unauthentic("the verification token does not fit", 401)
    return read_event(recipient, parsed)


def parse_object(text: bytes) -> dict[str, Any] | None:
    if is_costly(text):
        return None
    try:
        parsed = decode(text.decode())
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


# --- fields ---------------------------------------------------------------------------------------------


def is_id(value: Any) -> TypeGuard[str]:
    """Printable and of bounded length: no NUL that a database refuses, no line break that forges a log."""
    return type(value) is str and 0 < len(value) <= LONGEST_ID and value.isprintable()


def required(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if type(value) is str and 0 < len(value) <= LONGEST_ID and value.isprintable():  # is_id, without its call
        return value
    raise Malformed(name)


def optional(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return None if value is None or value == "" else required(fields, name)


def part(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name)
    if type(value) is not dict:
        raise Malformed(name)
    return value


LAST_MILLISECOND = 4102444800000
"""The end of the year 2099: a time beyond it is a mistake of units."""


def moment(milliseconds: Any, name: str) -> datetime:
    text = str(milliseconds) if type(milliseconds) is int else milliseconds
    if type(text) is not str or not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise Malformed(name)
    number = int(text)
    if number > LAST_MILLISECOND:
        raise Malformed(name)
    return datetime.fromtimestamp(number / 1000, UTC)


# --- events ---------------------------------------------------------------------------------------------

Header = Mapping[str, Any]
Fields = Mapping[str, Any]


def read_event(recipient: Recipient, payload: Mapping[str, Any]) -> Received:
    """The event in a payload whose sender is beyond doubt."""
    header = payload.get("header")
    try:
        if payload.get("schema") != "2.0" or not isinstance(header, dict):
            return old_event(recipient, payload) if "uuid" in payload else malformed("header")
        if header.get("app_id") != recipient.app_id:
            return Unauthentic("for another app", 403)
        event_id, event_type = required(header, "event_id"), required(header, "event_type")
        read = READERS.get(event_type)
        if read is None:
            return Ignored(event_id, f"an event of type {event_type}")
        return read(recipient, event_id, header, part(payload, "event"))
    except Malformed as problem:
        return malformed(str(problem))


def malformed(field: str) -> Unauthentic:
    return Unauthentic(f"malformed field: {field}", 400)


def user_of(recipient: Recipient, tenant_key: str, open_id: str) -> UserKey:
    if ":" in tenant_key:
        raise Malformed("tenant_key")
    return UserKey("lark", recipient.app_id, tenant_key, open_id)


def message_received(
    recipient: Recipient, event_id: str, header: Header, event: Fields
) -> MessageReceived | Ignored | Unauthentic:
    sender, message = part(event, "sender"), part(event, "message")
    if sender.get("sender_type") != "user":
        return Ignored(event_id, "not from a person")
    direct = required(message, "chat_type") == "p2p"
    mentions = list_of(message, "mentions")
    if not direct:
        if recipient.bot_open_id is None:
            return Unauthentic("the bot does not know its own open_id yet", 503)
        if recipient.bot_open_id not in map(mentioned_open_id, mentions):
            return Ignored(event_id, "does not mention the bot")
    thread_id = optional(message, "thread_id") or (optional(message, "root_id") if direct else None)
    home = required(header, "tenant_key")
    tenant_key = optional(sender, "tenant_key") or home
    sender_id = part(sender, "sender_id")
    language = language_of(message.get("user_agent"))
    text, names = text_of(message, mentioned_in(mentions, recipient.bot_open_id), language)
    return MessageReceived(
        event_id,
        user_of(recipient, tenant_key, required(sender_id, "open_id")),
        Chat(required(message, "chat_id"), "direct" if direct else "group", thread_id),
        required(message, "message_id"),
        text,
        moment(message.get("create_time"), "create_time"),
        language,
        tenant_key != home,
        optional(sender_id, "union_id"),
        names,
    )


def list_of(fields: Fields, name: str) -> list[Any]:
    value = fields.get(name)
    if value is None:
        return []
    if type(value) is not list:
        raise Malformed(name)
    return value


def mentioned_open_id(mention: Any) -> str | None:
    found = mention.get("id") if isinstance(mention, dict) else None
    open_id = found.get("open_id") if isinstance(found, dict) else None
    return open_id if isinstance(open_id, str) else None


def language_of(user_agent: Any) -> Language | None:
    """By the last locale in a user agent: the client appends its own to what the system's browser says."""
    if not isinstance(user_agent, str):
        return None
    _, found, locale = user_agent.rpartition("Locale/")
    if not found:
        return None
    return "zh" if locale[:2].lower() == "zh" else "en"


@dataclass(frozen=True, slots=True)
class Mentioned:
    """Whom a message mentions, by placeholder and by id."""

    names: dict[str, str]
    """Names by placeholder; empty for the bot itself."""
    keys: Mapping[str, str]
    """Placeholders by id: rich text may name a person by either."""
    bot_open_id: str | None


def mentioned_in(mentions: list[Any], bot_open_id: str | None) -> Mentioned:
    names: dict[str, str] = {}
    keys: dict[str, str] = {}
    for mention in mentions:
        key, name = (mention.get("key"), mention.get("name")) if isinstance(mention, dict) else (None, None)
        if isinstance(key, str) and isinstance(name, str) and PLACEHOLDER.fullmatch(key):
            is_bot = bot_open_id is not None and mentioned_open_id(mention) == bot_open_id
            names[key] = "" if is_bot else one_line(name, LONGEST_NAME) or SOMEBODY
            ids = mention.get("id")
            for each in ids.values() if isinstance(ids, dict) else ():
                if isinstance(each, str) and each:
                    keys.setdefault(each, key)
    return Mentioned(names, keys, bot_open_id)


SOMEBODY = "?"
"""For a name that nobody can see."""


def text_of(message: Fields, mentioned: Mentioned, language: Language | None) -> tuple[str | None, Mentions]:
    """The text of a message and the names of its mentions; None when it is no text. The bot's own mention goes."""
    kind = required(message, "message_type")
    if kind not in {"text", "post"}:
        return None, {}
    content = message.get("content")
    parsed = parse_content(content) if type(content) is str else None
    if parsed is None:
        raise Malformed("content")
    names = mentioned.names
    text = parsed.get("text") if kind == "text" else post_text(parsed, mentioned, language)
    if type(text) is not str:
        raise Malformed("content")
    if EVERYONE in text:
        names.setdefault(EVERYONE, EVERYONE_IN_WORDS.to(language or "en"))
    if names:
        text = PLACEHOLDER.sub(lambda found: found[0] if names.get(found[0], found[0]) else "", text)
    return without_everyone(clean(text)), {key: name for key, name in names.items() if name}


EVERYONE_IN_WORDS = Words(en="all", zh="所有人")
"""For messages whose mentions leave it out."""


def without_everyone(text: str) -> str:
    """The text without a mention of everyone before its first word: that is no part of a command."""
    rest = text
    while rest.startswith(EVERYONE):
        rest = rest.removeprefix(EVERYONE).lstrip()
    return rest or text


def parse_content(content: str) -> dict[str, Any] | None:
    try:
        parsed = decode(content)
    except (ValueError, RecursionError):
        return None
    return parsed if type(parsed) is dict else None


# --- rich text ------------------------------------------------------------------------------------------
# https://open.feishu.cn/document/server-docs/im-v1/message-content-description/message_content
# https://open.feishu.cn/document/server-docs/im-v1/message-content-description/create_json

LOCALES: Mapping[Language | None, str] = {"en": "en_us", "zh": "zh_cn"}
DEEPEST_ELEMENT = 4
"""Documents within documents and elements within elements that are looked into."""


def post_text(post: Fields, mentioned: Mentioned, language: Language | None) -> str:
    """The words of a rich-text message, line by line. Names that only an `at` element tells are added to `mentioned`.

    It may be wrapped in locales (`{"zh_cn": {"title", "content"}}`): the form in which posts are sent. Of several,
    the reader's own counts, else the first that has words.
    """
    found = ""
    for document in documents(post, LOCALES.get(language)):
        found = document_text(document, mentioned)
        if found.strip():
            break
    return found


DOCUMENT = frozenset({"title", "content", "content_v2"})


def documents(post: Fields, first: str | None, depth: int = 0) -> Iterator[Fields]:
    """The post itself, if it has content, and those that it wraps, the `first` locale before the others."""
    if not DOCUMENT.isdisjoint(post):
        yield post
    if depth < DEEPEST_ELEMENT:
        for name in sorted(post, key=lambda name: name != first):
            if isinstance(post[name], dict):
                yield from documents(post[name], first, depth + 1)


def document_text(document: Fields, mentioned: Mentioned) -> str:
    title = document.get("title")
    lines = [title] if isinstance(title, str) and title else []
    rows = list_of(document, "content") or list_of(document, "content_v2")
    lines += ["".join(element_text(each, mentioned) for each in elements_of(row)) for row in rows]
    return "\n".join(lines)


def elements_of(row: Any) -> list[Any]:
    """The elements of a line; one that stands by itself is a line of its own."""
    return row if isinstance(row, list) else [row]


WORDS_OF_ELEMENT = ("text", "content", "title")
"""Where elements carry their words: `text` of text, a, md and code_block, `content` of markdown."""
ADDRESS_OF_ELEMENT = ("href", "url", "link")
INSIDE_ELEMENT = ("text", "content", "elements", "children")
"""Where elements hold others: a button its text object, say."""


def element_text(element: Any, mentioned: Mentioned, depth: int = 0) -> str:
    """What an element says: its words, and where it leads to."""
    if isinstance(element, list) and depth < DEEPEST_ELEMENT:
        return "".join(element_text(each, mentioned, depth + 1) for each in element)
    if not isinstance(element, dict):
        return ""
    tag = element.get("tag")
    if tag == "at":
        return placeholder_of(element.get("user_id"), element.get("user_name"), mentioned)
    words = first_text(element, WORDS_OF_ELEMENT)
    if not words and depth < DEEPEST_ELEMENT:
        inner = (element.get(name) for name in INSIDE_ELEMENT)
        words = "".join(
            element_text(each, mentioned, depth + 1) for each in inner if not isinstance(each, str)
        )
    if tag in MARKDOWN:
        words = AT_IN_MARKDOWN.sub(lambda at: placeholder_of(at["id"], at["name"], mentioned), words)
    return linked(words, first_text(element, ADDRESS_OF_ELEMENT))


def first_text(element: Fields, names: Iterable[str]) -> str:
    return next((value for name in names if isinstance(value := element.get(name), str) and value), "")


MARKDOWN = frozenset({"md", "markdown", "lark_md"})
AT_IN_MARKDOWN = re.compile(
    r"""<at\s+(?:user_id|id)\s*=\s*["']?(?P<id>[^"'<>\s]{1,100})["']?\s*(?:/>|>(?P<name>[^<]{0,200})</at>)"""
)


def linked(words: str, address: str) -> str:
    """Words that lead somewhere, in the form that the platform gives to a link in a text message. An address that
    was typed is its own name, in full or as the client shortens it."""
    name = words.strip()
    if not address or bare(address) == bare(name):
        return words
    if not name or ADDRESS.match(name):
        return address
    return f"[{words}]({address})"


ADDRESS = re.compile(r"(?:https?://|www\.)\S+$", re.IGNORECASE)


def bare(address: str) -> str:
    """An address without what clients add to one that was typed."""
    return re.sub(r"^(?:https?://|mailto:|tel:)", "", address, flags=re.IGNORECASE).rstrip("/").casefold()


def placeholder_of(named: Any, name: Any, mentioned: Mentioned) -> str:
    """What stands for a mention in rich text, which names its person by the placeholder of the message's mentions or
    by an id. Of one that does neither, neither the id nor the name becomes a part of the text."""
    names = mentioned.names
    if isinstance(named, str) and named == mentioned.bot_open_id:
        return ""
    key = known_placeholder(named, mentioned) or next(
        free for n in count(len(names) + 1) if (free := f"@_user_{n}") not in names
    )
    shown = one_line(name, LONGEST_NAME) if isinstance(name, str) else ""
    if shown or key != EVERYONE:
        names.setdefault(key, shown or SOMEBODY)
    return key


def known_placeholder(named: Any, mentioned: Mentioned) -> str | None:
    if not isinstance(named, str):
        return None
    if PLACEHOLDER.fullmatch(named):
        return named
    return EVERYONE if named == "all" else mentioned.keys.get(named)


def clean(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text.strip()
    return tidy(text).replace("\u00a0", " ").strip()


def chat_entered(recipient: Recipient, event_id: str, header: Header, event: Fields) -> ChatEntered:
    open_id = required(part(event, "operator_id"), "open_id")
    return ChatEntered(
        event_id,
        user_of(recipient, required(header, "tenant_key"), open_id),
        Chat(required(event, "chat_id"), "direct"),
        first=optional(event, "last_message_id") is None,
    )


def message_recalled(recipient: Recipient, event_id: str, _header: Header, event: Fields) -> MessageRecalled:
    return MessageRecalled(event_id, "lark", recipient.app_id, required(event, "message_id"))


TIME_ZONE = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+){0,2}")


def card_clicked(recipient: Recipient, event_id: str, header: Header, event: Fields) -> CardClicked:
    operator, action = part(event, "operator"), part(event, "action")
    context = event.get("context")
    where = context if isinstance(context, dict) else {}
    value, zone = action.get("value"), action.get("timezone")
    control = value if type(value) is dict else {}
    tenant_key = optional(operator, "tenant_key") or required(header, "tenant_key")
    return CardClicked(
        event_id,
        user_of(recipient, tenant_key, required(operator, "open_id")),
        optional(where, "open_message_id"),
        optional(where, "open_chat_id"),
        optional(control, "action") or "",
        optional(control, "subject"),
        zone if isinstance(zone, str) and len(zone) <= 64 and TIME_ZONE.fullmatch(zone) else None,
    )


def grant_revoked(recipient: Recipient, event_id: str, header: Header, event: Fields) -> GrantRevoked:
    return GrantRevoked(
        event_id,
        user_of(recipient, required(header, "tenant_key"), required(event, "open_id")),
        moment(header.get("create_time"), "create_time"),
        reason_in(event),
    )


def reason_in(event: Fields) -> str:
    reason = event.get("revoke_reason")
    return one_line(reason, LONGEST_ID) if isinstance(reason, str) else ""


def person_left(recipient: Recipient, event_id: str, header: Header, event: Fields) -> UserDeleted:
    """https://open.feishu.cn/document/server-docs/contact-v3/user/events/deleted"""
    open_id = required(part(event, "object"), "open_id")
    return UserDeleted(event_id, user_of(recipient, required(header, "tenant_key"), open_id))


READERS: Mapping[str, Callable[[Recipient, str, Header, Fields], Received]] = {
    "im.message.receive_v1": message_received,
    "im.message.recalled_v1": message_recalled,
    "im.chat.access_event.bot_p2p_chat_entered_v1": chat_entered,
    "card.action.trigger": card_clicked,
    "auth.user_access_token.revoked_v4": grant_revoked,
    "contact.user.deleted_v3": person_left,
}


def old_event(recipient: Recipient, payload: Mapping[str, Any]) -> Received:
    """An event of the first schema. Of these only those that end the app in an organization matter; that they
    name the app is not documented for all.

    https://open.feishu.cn/document/server-docs/application-v6/event/app-uninstalled and …/app-enabled-or-disabled
    """
    event_id, event = required(payload, "uuid"), part(payload, "event")
    if event.get("app_id", recipient.app_id) != recipient.app_id:
        return Unauthentic("for another app", 403)
    kind, status = event.get("type"), event.get("status")
    if kind == "app_uninstalled" or (kind == "app_status_change" and status in STOPPED):
        tenant_key = required(event, "tenant_key")
        return AppStopped(event_id, "lark", recipient.app_id, tenant_key, old_moment(payload.get("ts")))
    return Ignored(event_id, "an event of the old schema")


def old_moment(value: Any) -> datetime | None:
    """The time of an event of the first schema: seconds with a fraction, as text."""
    try:
        return datetime.fromtimestamp(float(value), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


STOPPED = frozenset({"stop_by_tenant", "stop_by_platform"})
