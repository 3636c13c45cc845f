"""The saved state of `--data` directories: its names are fixed, so that older files load."""

import json
from pathlib import Path
from typing import Any

import pytest

from bot.sandbox.lark.credentials import AccessToken, Consent, DeviceAuthorization
from bot.sandbox.lark.emulator import LarkEmulator
from bot.sandbox.lark.sample_tenant import ADA, GROUP, SAM
from bot.sandbox.lark.tenant import CardToken, Message, PushedEvent, Reaction


def names(listed: str) -> set[str]:
    return set(listed.split())


NAMES: dict[str, set[str]] = {
    "": names(
        "ports offset everybody_ahead app behaviour people chats messages credentials work sent "
        "card_tokens events changes"
    ),
    "app": names(
        "app_id app_secret name name_zh bot_open_id owner tenant_key encrypt_key verification_token "
        "redirect_urls scopes events_url events_by enabled installed may_refresh other_brand "
        "applied_for_scopes"
    ),
    "people": names(
        "open_id name en_name tenant_key locale timezone avatar_color role email mobile employee_no "
        "user_agent union_id user_id available blocked_bot status granted"
    ),
    "chats": {"chat_id", "kind", "name", "members", "has_bot", "dissolved", "topics"},
    "messages": names(
        "message_id chat_id sender_type sender msg_type content created_at updated_at sent_at recalled "
        "deleted ephemeral_for reply_to root_id thread_id versions reactions"
    ),
    "credentials": {"app_tokens", "access", "refresh", "codes", "devices", "consents", "asked_last"},
    "work": names(
        "calendars events tasks documents aliases wiki mail sent_mail minutes tables written being_written"
    ),
    "card_tokens": {"message_id", "expires_at", "uses_left", "answered"},
    "events": {"event_id", "event_type", "body", "attempts", "acknowledged"},
}


def emulator_with_something_of_each_kind() -> LarkEmulator:
    emulator = LarkEmulator()
    tenant = emulator.tenant
    message = Message("om_1", GROUP, "user", SAM, "text", {"text": "hello"}, 1, 2, 3.0)
    tenant.add_message(message)
    tenant.add_reaction(message, Reaction("r1", "OK", SAM, "user", 4))
    device = DeviceAuthorization("dc", "AB-CD", ("task:task:read",), 9e9, 5)
    tenant.credentials.devices["dc"] = device
    tenant.credentials.consents["c1"] = Consent("c1", ("task:task:read",), "", device=device)
    tenant.credentials.access["u-1"] = AccessToken("u-1", ADA, frozenset({"task:task:read"}), 9e9, 1.0, "v2")
    tenant.card_tokens["c-1"] = CardToken("om_1", 9e9)
    tenant.events["e1"] = PushedEvent("e1", "im.message.receive_v1", {})
    tenant.work.written["create task", ADA, "token"] = (1.0, {"guid": "g"})
    tenant.clock.advance(60)
    tenant.clock.advance_everyone(3600)
    return emulator


def test_what_was_saved_is_there_again(tmp_path: Path) -> None:
    before = emulator_with_something_of_each_kind()
    before.save(tmp_path, {"platform": 1, "bot": 2, "door": 3})
    after = LarkEmulator()
    assert after.restore(tmp_path) == {"platform": 1, "bot": 2, "door": 3}
    for name in (
        "app",
        "behaviour",
        "people",
        "chats",
        "messages",
        "credentials",
        "work",
        "card_tokens",
        "events",
    ):
        assert getattr(after.tenant, name) == getattr(before.tenant, name), name
    assert after.feed.changes == before.feed.changes
    assert (after.clock.offset, after.clock.wall_offset) == (60, 3600)
    credentials = after.tenant.credentials
    assert credentials.consents["c1"].device is credentials.devices["dc"]


@pytest.mark.parametrize("part", NAMES, ids=lambda part: part or "the file")
def test_the_names_in_the_file_stay(tmp_path: Path, part: str) -> None:
    emulator_with_something_of_each_kind().save(tmp_path, {})
    saved: Any = json.loads((tmp_path / "platform.json").read_text())
    if part:
        saved = saved[part]
    if part in ("people", "chats", "messages", "card_tokens", "events"):
        saved = next(iter(saved.values()))
    assert saved.keys() >= NAMES[part]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "platform.json").write_text("[")
    with pytest.raises(ValueError, match=r"platform\.json cannot be read"):
        LarkEmulator().restore(tmp_path)
