"""What comes in: accepted only from the platform, and read without ever failing."""

import base64
import copy
import hashlib
import json
import os
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.commands import with_names
from bot.core.events import (
    AppStopped,
    CardClicked,
    ChatEntered,
    GrantRevoked,
    Ignored,
    MessageRecalled,
    MessageReceived,
    Unauthentic,
    UrlVerification,
    UserDeleted,
)
from bot.core.messages import Chat
from bot.core.people import UserKey
from bot.core.secrets import Secret
from bot.lark import webhook
from bot.lark.events import PARSERS, Recipient
from bot.lark.webhook import WebhookKeys, receive_over_connection

KEY, TOKEN, APP = "emu-encrypt-key-01", "vtok-emu-1", "cli_a1b2c3d4e5f60718"
BOT = "ou_b07b07b07b07b07b07b07b07b07b07b0"
NOW = 1767225600.0
KEYS = WebhookKeys(Secret(KEY), Secret(TOKEN))
RECIPIENT = Recipient(APP, BOT)
WEI = UserKey("lark", APP, "736588c92abc175d", "ou_11112222333344445555666677778888")


def encrypt(plain: bytes, *, pad: bytes | None = None) -> bytes:
    """As the platform does; `pad` instead of PKCS#7."""
    length = 16 - len(plain) % 16
    padded = plain + (bytes([length]) * length if pad is None else pad)
    iv = os.urandom(16)
    encryptor = Cipher(algorithms.AES(hashlib.sha256(KEY.encode()).digest()), modes.CBC(iv)).encryptor()
    sealed = iv + encryptor.update(padded) + encryptor.finalize()
    return json.dumps({"encrypt": base64.b64encode(sealed).decode()}).encode()


def signed(body: bytes, timestamp: str = str(int(NOW)), nonce: str = "n") -> dict[str, str]:
    signature = hashlib.sha256(f"{timestamp}{nonce}{KEY}".encode() + body).hexdigest()
    return {
        "X-Lark-Request-Timestamp": timestamp,
        "X-Lark-Request-Nonce": nonce,
        "X-Lark-Signature": signature,
    }


def receive_webhook(body: bytes, headers: dict[str, str] | None = None, keys=KEYS, now: float = NOW):
    return webhook.receive(keys, RECIPIENT, signed(body) if headers is None else headers, body, now)


def read(payload, recipient=RECIPIENT):
    """As it comes by the long connection."""
    return receive_over_connection(KEYS, recipient, json.dumps(payload).encode())


def both_ways(payload):
    by_webhook, by_connection = receive_webhook(encrypt(json.dumps(payload).encode())), read(payload)
    assert by_webhook == by_connection
    return by_webhook


# --- what is in the events


def test_a_direct_message_is_read(payload):
    assert both_ways(payload("message_direct")) == MessageReceived(
        "5e3702a84e847582be8db7fb73280001",
        WEI,
        Chat("oc_1a7c4c3eb6d94a0c8f2e5d7b9a1c3e5f", "direct"),
        "om_5ce6d572455d361153b7cb51da133945",
        "/agenda today",
        datetime(2025, 12, 31, 23, 59, 59, 800000, UTC),
        "zh",
        False,
        "on_99990000111122223333444455556666",
    )


def test_a_group_message_loses_the_mention_of_the_bot_and_tells_names_beside_the_text(payload):
    message = both_ways(payload("message_group"))
    assert message.text == "/task ask @_user_2 for the plan"
    assert message.mentions == {"@_user_2": "Sam Rivera"}
    assert with_names(message.text, message.mentions) == "/task ask @Sam Rivera for the plan"
    assert message.chat.kind == "group"
    assert message.language is None


def test_the_words_of_a_rich_text_are_read(payload):
    message = both_ways(payload("message_post"))
    assert message.text == "/doc https://sample.example/docx/abc\n\nplease"


def test_a_group_message_without_the_bot_is_ignored(payload):
    message = payload("message_group")
    message["event"]["message"]["mentions"].pop(0)
    assert isinstance(both_ways(message), Ignored)
    del message["event"]["message"]["mentions"]
    assert isinstance(both_ways(message), Ignored)


def test_a_mention_of_another_bot_does_not_count(payload):
    message = payload("message_group")
    message["event"]["message"]["mentions"][0]["id"]["open_id"] = "ou_another"
    assert isinstance(both_ways(message), Ignored)


def test_a_group_message_comes_again_while_the_bot_does_not_know_its_own_name(payload):
    nameless = Recipient(APP, None)
    answer = read(payload("message_group"), nameless)
    assert isinstance(answer, Unauthentic)
    assert answer.status == 503
    assert isinstance(read(payload("message_direct"), nameless), MessageReceived)


def test_what_another_bot_says_is_ignored(payload):
    message = payload("message_direct")
    message["event"]["sender"]["sender_type"] = "bot"
    assert isinstance(both_ways(message), Ignored)


def test_a_sender_from_another_tenant_is_foreign(payload):
    message = payload("message_direct")
    message["event"]["sender"]["tenant_key"] = "2ed263bf32cf1651"
    read_message = both_ways(message)
    assert read_message.foreign
    assert read_message.user.tenant_key == "2ed263bf32cf1651"


def test_a_message_that_is_no_text_has_none(payload):
    message = payload("message_direct")
    message["event"]["message"] |= {"message_type": "image", "content": '{"image_key":"img_1"}'}
    assert both_ways(message).text is None


@pytest.mark.parametrize(
    ("user_agent", "language"),
    [
        ("Mozilla/5.0 Lark/7.30 LarkLocale/en_US", "en"),
        ("Lark/7.30 LarkLocale/en_US ChannelName/Feishu LarkLocale/zh_CN", "zh"),
        ("Lark/7.30 LarkLocale/zh_CN LarkLocale/ja_JP", "en"),
        ("Lark/7.30 LarkLocale/zh-TW", "zh"),
        ("Lark/7.30", None),
        (None, None),
        (7, None),
    ],
)
def test_the_last_locale_of_the_client_is_its_language(payload, user_agent, language):
    message = payload("message_direct")
    message["event"]["message"]["user_agent"] = user_agent
    assert both_ways(message).language == language


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("  /agenda\u00a0today ", "/agenda today"),
        ("a\x00b\ud800c", "abc"),
        ("a\x1b[31mb\x07\x9b\u202ec\u200bd", "a[31mbcd"),
        ("one\r\ntwo\u2028three\tfour", "one\ntwo\nthree\tfour"),
        ("می\u200cخواهم 👩\u200d💻", "می\u200cخواهم 👩\u200d💻"),
        ("@_user_1", "@_user_1"),
        ("@_all hello", "hello"),
        ("@_all\u200b @_all /me", "/me"),
        ("ask @_all now", "ask @_all now"),
        ("@_all", "@_all"),
        ("", ""),
    ],
)
def test_text_is_made_fit_to_be_stored(payload, text, shown):
    message = payload("message_direct")
    message["event"]["message"]["content"] = json.dumps({"text": text})
    assert both_ways(message).text == shown


def test_ten_mentions_are_told_apart(payload):
    message = payload("message_group")
    mentions = [{"key": f"@_user_{n}", "id": {"open_id": f"ou_{n}"}, "name": f"P{n}"} for n in range(1, 12)]
    mentions[0]["id"]["open_id"] = BOT
    message["event"]["message"] |= {
        "mentions": mentions,
        "content": json.dumps({"text": "@_user_1 meet @_user_11 and @_user_2"}),
    }
    read_message = both_ways(message)
    assert read_message.text == "meet @_user_11 and @_user_2"
    assert with_names(read_message.text, read_message.mentions) == "meet @P11 and @P2"


def rich(payload, *spans):
    message = payload("message_post")
    message["event"]["message"]["content"] = json.dumps({"title": "", "content": [list(spans)]})
    return both_ways(message)


@pytest.mark.parametrize("key", ["ou_1", "/help", "@_user_", "", None, 7])
def test_of_a_mention_in_rich_text_neither_the_id_nor_the_name_becomes_text(payload, key):
    helper = {"tag": "at", "user_id": "@_user_1", "user_name": "Helper"}
    named = {"tag": "at", "user_id": key, "user_name": "/revoke\nnow"}
    message = rich(payload, helper, {"tag": "text", "text": " "}, named, named)
    assert message.text == "@_user_2@_user_3"
    assert message.mentions == {"@_user_2": "/revoke now", "@_user_3": "/revoke now"}


def test_everyone_is_named_as_the_message_names_them_or_in_words(payload):
    for key in ("all", "@_all"):
        named = {"tag": "at", "user_id": key, "user_name": "Everybody\nhere"}
        message = rich(payload, {"tag": "text", "text": "/task tell "}, named)
        assert (message.text, message.mentions) == ("/task tell @_all", {"@_all": "Everybody here"})
        message = rich(payload, {"tag": "text", "text": "/task tell "}, {"tag": "at", "user_id": key})
        assert with_names(message.text, message.mentions) == "/task tell @all"


PLAN = "https://corp.feishu.cn/docx/AbCd1234"


@pytest.mark.parametrize(
    ("elements", "text"),
    [
        ([{"tag": "a", "href": PLAN, "text": "Quarterly plan"}], f"[Quarterly plan]({PLAN})"),
        ([{"tag": "a", "href": PLAN, "text": PLAN}], PLAN),
        (
            [{"tag": "a", "href": PLAN, "text": "corp.feishu.cn/docx/AbCd1234"}],
            "corp.feishu.cn/docx/AbCd1234",
        ),
        ([{"tag": "a", "href": PLAN, "text": "https://corp.feishu.cn/docx/Ab…"}], PLAN),
        ([{"tag": "a", "href": PLAN, "text": ""}], PLAN),
        ([{"tag": "a", "href": PLAN}], PLAN),
        ([{"tag": "a", "href": "mailto:wei@corp.cn", "text": "wei@corp.cn"}], "wei@corp.cn"),
        ([{"tag": "a", "href": 7, "text": "words"}], "words"),
        ([{"tag": "markdown", "content": f"**/doc** {PLAN}"}], f"**/doc** {PLAN}"),
        ([{"tag": "md", "text": "/me"}], "/me"),
        ([{"tag": "md", "text": '<at user_id="ou_9">Eve /revoke</at> hi'}], "@_user_2 hi"),
        ([{"tag": "code_block", "language": "JSON", "text": "/call GET /x"}], "/call GET /x"),
        (
            [{"tag": "button", "text": {"tag": "plain_text", "content": "Open"}, "url": PLAN}],
            f"[Open]({PLAN})",
        ),
        (
            [{"tag": "quote", "elements": [{"tag": "text", "text": "in"}, {"tag": "text", "text": "side"}]}],
            "inside",
        ),
        ([{"tag": "img", "image_key": "img_1"}, {"tag": "text", "text": "/me"}], "/me"),
        ([{"tag": "emotion", "emoji_type": "SMILE"}, {"tag": "text", "text": "/me"}], "/me"),
        ([{"tag": "at", "user_id": BOT, "user_name": "Helper"}, {"tag": "text", "text": " /me"}], "/me"),
        ([{"tag": "hr"}, {"tag": "media", "file_key": "f"}, "text", None, 7], ""),
    ],
)
def test_every_element_of_rich_text_gives_its_words_and_its_address(payload, elements, text):
    assert rich(payload, *elements).text == text


def wrapped(payload, content, user_agent=None):
    message = payload("message_post")
    message["event"]["message"] |= {"content": json.dumps(content), "user_agent": user_agent}
    return both_ways(message).text


def document(text, title=""):
    return {"title": title, "content": [[{"tag": "text", "text": text}]]}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"zh_cn": document("/agenda 今天")}, "/agenda 今天"),
        ({"ja_jp": document("/tasks", "Please")}, "Please\n/tasks"),
        ({"zh_cn": {"title": "/me"}}, "/me"),
        ({"zh_cn": document(""), "en_us": document("/me")}, "/me"),
        ({"zh_cn": document("/help"), "en_us": document("/me")}, "/help"),
        ({"post": {"en_us": document("/me")}}, "/me"),
        ({"title": "", "content": [], "content_v2": [[{"tag": "md", "text": "/me"}]]}, "/me"),
        ({"en_us": {"content": [{"tag": "text", "text": "/me"}]}}, "/me"),
        ({"files": [{"file_key": "f"}], "en_us": document("/me")}, "/me"),
        ({}, ""),
        ({"zh_cn": 7, "en_us": None}, ""),
    ],
)
def test_a_post_is_read_in_the_form_in_which_it_is_sent(payload, content, text):
    assert wrapped(payload, content) == text


@pytest.mark.parametrize(("locale", "text"), [("zh-CN", "/help"), ("en-US", "/me"), ("ja-JP", "/me")])
def test_of_several_locales_the_readers_own_counts(payload, locale, text):
    content = {"zh_cn": document("/help"), "en_us": document("/me")}
    assert wrapped(payload, content, f"Mozilla/5.0 Lark/7.30 LarkLocale/{locale}") == text


def test_a_person_named_by_an_id_is_the_one_of_the_mentions(payload):
    message = payload("message_group")
    content = {"zh_cn": {"content": [[{"tag": "text", "text": "/task ask "}, {"tag": "at", "user_id": ""}]]}}
    sam = message["event"]["message"]["mentions"][1]["id"]["open_id"]
    content["zh_cn"]["content"][0][1]["user_id"] = sam
    message["event"]["message"] |= {"message_type": "post", "content": json.dumps(content)}
    read_message = both_ways(message)
    assert with_names(read_message.text, read_message.mentions) == "/task ask @Sam Rivera"


def test_the_messages_own_mentions_tell_the_name_rather_than_an_element_of_the_text(payload):
    assert rich(payload, {"tag": "at", "user_id": "@_user_1", "user_name": "somebody"}).text == ""
    assert rich(payload, {"tag": "at", "user_id": "@_user_4", "user_name": None}).mentions == {
        "@_user_4": "?"
    }


@pytest.mark.parametrize("name", ["", " ", "\u3164", "\u200b\n"])
def test_a_name_that_nobody_can_see_is_a_question_mark(payload, name):
    message = payload("message_group")
    message["event"]["message"]["mentions"][1]["name"] = name
    assert both_ways(message).mentions == {"@_user_2": "?"}


def test_a_recalled_message_is_read(payload):
    assert both_ways(payload("message_recalled")) == MessageRecalled(
        "5e3702a84e847582be8db7fb73280004", "lark", APP, "om_cc330000000000000000000000000002"
    )


def test_a_click_is_read(payload):
    assert both_ways(payload("card_clicked")) == CardClicked(
        "f7984f25108f8137722bb63c0001",
        WEI,
        "om_aa11",
        "oc_bb22",
        "not_now",
        "request-1",
        "Asia/Shanghai",
    )


@pytest.mark.parametrize("value", [{}, "not_now", None, {"other": 1}])
def test_a_click_on_a_control_that_is_not_ours_is_still_a_click(payload, value):
    click = payload("card_clicked")
    click["event"]["action"]["value"] = value
    read = both_ways(click)
    assert isinstance(read, CardClicked)
    assert (read.action, read.subject) == ("", None)


@pytest.mark.parametrize("zone", ["../../etc/passwd", "a b", "", 7, None, "x" * 100])
def test_a_strange_time_zone_is_none(payload, zone):
    click = payload("card_clicked")
    click["event"]["action"]["timezone"] = zone
    assert both_ways(click).time_zone is None


def test_entering_the_chat_is_read(payload):
    entered = payload("chat_entered")
    assert both_ways(entered) == ChatEntered(
        "5e3702a84e847582be8db7fb73280005", WEI, Chat("oc_bb22", "direct"), first=False
    )
    del entered["event"]["last_message_id"]
    assert both_ways(entered).first


def test_a_revocation_is_read_with_its_time(payload):
    assert both_ways(payload("grant_revoked")) == GrantRevoked(
        "e-1", WEI, datetime(2026, 1, 1, tzinfo=UTC), "Revoked by user action."
    )


def test_users_who_left_and_organizations_that_stopped_the_app_are_read(payload):
    left = payload("message_recalled")
    left["header"]["event_type"] = "contact.user.deleted_v3"
    left["event"] = {"object": {"open_id": WEI.open_id, "name": "Wei"}, "old_object": {}}
    assert both_ways(left) == UserDeleted(left["header"]["event_id"], WEI)
    stopped = {
        "app_id": WEI.app_id,
        "tenant_key": "t-1",
        "type": "app_status_change",
        "status": "stop_by_tenant",
    }
    old = {"uuid": "u-1", "token": TOKEN, "type": "event_callback", "event": stopped}
    assert both_ways(old) == AppStopped("u-1", "lark", WEI.app_id, "t-1")
    assert both_ways(old | {"event": stopped | {"type": "app_uninstalled"}}) == both_ways(old)
    assert isinstance(both_ways(old | {"event": stopped | {"status": "start_by_tenant"}}), Ignored)
    assert isinstance(both_ways(old | {"event": stopped | {"app_id": "cli_other"}}), Unauthentic)


def test_an_event_of_the_first_schema_need_not_name_the_app():
    assert isinstance(
        both_ways({"uuid": "u", "token": TOKEN, "type": "event_callback", "event": {"type": "message"}}),
        Ignored,
    )


def test_other_events_are_ignored(payload):
    other = payload("message_direct")
    other["header"]["event_type"] = "drive.file.edit_v1"
    assert isinstance(both_ways(other), Ignored)
    assert isinstance(
        both_ways({"uuid": "u", "token": TOKEN, "type": "event_callback", "event": {"app_id": WEI.app_id}}),
        Ignored,
    )


# --- who is believed


def test_the_documented_vectors_hold():
    body = (
        b'{"encrypt":"AAECAwQFBgcICQoLDA0ODyIZadNjAv2yuwEw+5GQS0yMlnEWFG4m6EjVgusu+f2K0wP+iESxMil1qQPVMyzBeA7/'
        b'6+mGtDVUTSfOAPYz58by8Uo5/bPYJfMuGWRsHvVv"}'
    )
    signature = "3fad66bb2e58ca3d362d774537ddcff5597f907400bff9396b064c5f593c10c6"
    headers = {
        "X-Lark-Request-Timestamp": "1767225600",
        "X-Lark-Request-Nonce": "n0nce-42",
        "X-Lark-Signature": signature,
    }
    assert receive_webhook(body, headers) == UrlVerification({"challenge": "ch-7f3a"})
    assert (
        WebhookKeys(Secret("test key"), None).decrypt(
            b'{"encrypt":"P37w+VZImNgPEO1RBhJ6RtKl7n6zymIbEG1pReEzghk="}'
        )
        == b"hello world"
    )


CHECK = {"challenge": "ch-1", "token": TOKEN, "type": "url_verification"}


def test_the_address_check_is_answered_unsigned():
    body = encrypt(json.dumps(CHECK).encode())
    assert receive_webhook(body, {}) == UrlVerification({"challenge": "ch-1"})
    assert receive_webhook(body) == UrlVerification({"challenge": "ch-1"})


@pytest.mark.parametrize(
    "plain",
    [
        json.dumps(CHECK | {"token": "other"}).encode(),
        json.dumps(CHECK | {"token": None}).encode(),
        json.dumps(CHECK | {"type": "event_callback"}).encode(),
        json.dumps(CHECK | {"challenge": {"a": 1}}).encode(),
        b"no json",
        b"",
    ],
)
def test_everything_wrong_without_a_signature_is_answered_alike(plain):
    wrong = receive_webhook(encrypt(plain), {})
    assert wrong == receive_webhook(encrypt(b"x" * 15, pad=b"\x07"), {}) == receive_webhook(b"{}", {})
    assert wrong.status == 401


def test_an_unsigned_event_changes_nothing(payload):
    assert receive_webhook(encrypt(json.dumps(payload("message_direct")).encode()), {}).status == 401


@pytest.mark.parametrize("header", ["X-Lark-Request-Timestamp", "X-Lark-Request-Nonce", "X-Lark-Signature"])
@pytest.mark.parametrize("value", ["", "1", "\udcff", "é", "0" * 64])
def test_a_changed_header_is_unauthentic(payload, header, value):
    body = encrypt(json.dumps(payload("message_direct")).encode())
    assert receive_webhook(body, signed(body) | {header: value}).status == 401


def test_a_changed_body_is_unauthentic(payload):
    body = encrypt(json.dumps(payload("message_direct")).encode())
    assert receive_webhook(body + b" ", signed(body)).status == 401


@pytest.mark.parametrize(
    ("age", "accepted"),
    [
        (0, True),
        (8 * 3600, True),
        (8 * 3600 + 1, False),
        (-5 * 60, True),
        (-5 * 60 - 1, False),
        (7 * 3600, True),
    ],
)
def test_the_signed_time_has_to_be_fresh(payload, age, accepted):
    body = encrypt(json.dumps(payload("message_direct")).encode())
    assert isinstance(receive_webhook(body, now=NOW + age), MessageReceived) == accepted


@pytest.mark.parametrize("timestamp", ["", "soon", "1e9", "-1", "٤٢", "9" * 30, "1767225600.5"])
def test_a_signed_time_that_is_none_is_unauthentic(payload, timestamp):
    body = encrypt(json.dumps(payload("message_direct")).encode())
    assert receive_webhook(body, signed(body, timestamp)).status == 401


@pytest.mark.parametrize("pad", [b"\x00" * 16, b"\x11" * 16, b"\x02" * 15 + b"\x03", b"a" * 15 + b"\x02"])
def test_wrong_padding_is_malformed(pad):
    assert receive_webhook(encrypt(b"", pad=pad)).status == 400


def test_a_whole_block_of_padding_is_right():
    plain = json.dumps(CHECK).encode()
    plain += b" " * (16 - len(plain) % 16)
    assert receive_webhook(encrypt(plain)) == UrlVerification({"challenge": "ch-1"})


def test_the_verification_token_has_to_match(payload):
    message = payload("message_direct")
    message["header"]["token"] = "vtok-emu-2"
    body = encrypt(json.dumps(message).encode())
    assert receive_webhook(body).status == 401
    assert isinstance(receive_webhook(body, keys=WebhookKeys(Secret(KEY), None)), MessageReceived)


def test_an_event_for_another_app_is_not_ours(payload):
    message = payload("message_direct")
    message["header"]["app_id"] = "cli_other"
    assert both_ways(message).status == 403


def test_without_an_encrypt_key_nothing_is_accepted(payload):
    keyless = WebhookKeys(None, Secret(TOKEN))
    for body in (json.dumps(payload("message_direct")).encode(), json.dumps(CHECK).encode()):
        assert receive_webhook(body, {}, keys=keyless).status == 401


# --- nothing makes it fail

ALL = ["message_direct", "message_group", "message_post", "message_recalled", "card_clicked", "chat_entered"]
ODD = [None, True, 7, -1.5, "", "\x00", "a\nb", "x" * 300, [], [None], {}, {"a": 1}, "\ud800"]


def paths(value, at=()):
    if at:
        yield at
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from paths(inner, (*at, index))


@pytest.mark.parametrize("wrong", ["guessed", " ", TOKEN + " ", TOKEN[:-1], 7, True, [], [TOKEN], {}])
def test_by_the_long_connection_too_a_token_that_is_there_has_to_match(payload, wrong):
    whole = payload("message_direct")
    for changed in (whole | {"header": whole["header"] | {"token": wrong}}, whole | {"token": wrong}):
        assert read(changed).status == 401
    for right in (TOKEN, "", None):
        assert isinstance(read(whole | {"header": whole["header"] | {"token": right}}), MessageReceived)
    anything = receive_over_connection(WebhookKeys(None, None), RECIPIENT, json.dumps(changed).encode())
    assert isinstance(anything, MessageReceived), "without a token to compare with"


@pytest.mark.parametrize("name", [*ALL, "grant_revoked"])
def test_every_field_may_be_anything(payload, name):
    whole = payload(name)
    for path in paths(whole):
        for odd in (*ODD, KeyError):
            changed = copy.deepcopy(whole)
            holder = changed
            for key in path[:-1]:
                holder = holder[key]
            if odd is KeyError:
                del holder[path[-1]]
            else:
                holder[path[-1]] = odd
            result = read(changed)
            if isinstance(result, Unauthentic):
                assert result.status in ({401} if path == ("header", "token") else {400, 403}), path
            else:
                storable(result)


def storable(event):
    """Whatever is read can be written to a database and to a log."""
    text = repr(event)
    text.encode()
    assert "\\x00" not in text
    if isinstance(getattr(event, "user", None), UserKey):
        assert UserKey.parse(str(event.user)) == event.user


@pytest.mark.parametrize("content", ["", "[]", "7", "{", '{"text":7}', '{"text":null}', "[" * 5000])
def test_content_that_is_none_is_malformed(payload, content):
    message = payload("message_direct")
    message["event"]["message"]["content"] = content
    assert both_ways(message).status == 400


@pytest.mark.parametrize("time", ["99999999999999", "9999999999999999", "-1", "", "1.5", "٤", 10**30, True])
def test_a_time_that_is_none_is_malformed(payload, time):
    message = payload("message_direct")
    message["event"]["message"]["create_time"] = time
    assert both_ways(message).status == 400


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


@given(body=st.binary(max_size=300), signed_too=st.booleans())
def test_no_bytes_make_it_fail(body, signed_too):
    result = receive_webhook(body, signed(body) if signed_too else {})
    assert isinstance(result, Unauthentic)
    assert 400 <= result.status < 500


@given(plain=json_values)
def test_no_signed_json_makes_it_fail(plain):
    body = encrypt(json.dumps(plain).encode())
    assert isinstance(receive_webhook(body), Unauthentic)


@settings(max_examples=200)
@given(
    event=json_values,
    kind=st.sampled_from(sorted(PARSERS)),
    event_id=json_values,
    mentions=json_values,
)
def test_no_event_makes_it_fail(event, kind, event_id, mentions):
    header = {"event_id": event_id, "event_type": kind, "app_id": APP, "tenant_key": "t", "create_time": "1"}
    read({"schema": "2.0", "header": header, "event": event})
    message = {"chat_type": "group", "mentions": mentions}
    read(
        {"schema": "2.0", "header": header, "event": {"sender": {"sender_type": "user"}, "message": message}}
    )


def test_deep_nesting_is_malformed():
    deep = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    assert receive_webhook(encrypt(deep)).status == 400
    assert receive_over_connection(KEYS, RECIPIENT, deep).status == 400
    assert receive_webhook(deep, {}).status == 401
