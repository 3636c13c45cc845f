"""Endpoints: what of a path names an API, and what may name a user or a thing."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.endpoints import ID, WORDS, endpoint_of


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/open/im/v1/messages/om_dc13264520392913993dd051dba21dcf/reply", "/open/im/v1/messages/{id}/reply"),
        ("/open/im/v1/messages", "/open/im/v1/messages"),
        ("/open/contact/v3/users/samrivera", "/open/contact/v3/users/{id}"),
        ("/open/contact/v3/users/batch_get_id", "/open/contact/v3/users/batch_get_id"),
        ("/open/calendar/v4/calendars/x@group.example/events", "/open/calendar/v4/calendars/{id}/events"),
        ("/open/calendar/v4/calendars/primary", "/open/calendar/v4/calendars/primary"),
        ("/open/docx/v1/documents/doxcnabcdef/blocks", "/open/docx/v1/documents/{id}/blocks"),
        ("/open/suite/docs-api/search/object", "/open/suite/docs-api/search/object"),
        ("/open/authen/v2/oauth/token", "/open/authen/v2/oauth/token"),
        ("/oauth/v1/device_authorization", "/oauth/v1/device_authorization"),
        ("/v1.0/contact/users/me", "/v1.0/contact/users/me"),
        ("/v1.0/contact/users/PiiiPwWx1QiE", "/v1.0/contact/users/{id}"),
        ("/v1.0/todo/users/union/tasks/task17", "/v1.0/todo/users/{id}/tasks/{id}"),
        ("/v1.0/robot/oToMessages/batchSend", "/v1.0/robot/oToMessages/batchSend"),
        ("/v1.0/oauth2/userAccessToken", "/v1.0/oauth2/userAccessToken"),
        ("/open/drive/v1/files/topsecretplan/comments/why", "/open/drive/v1/files/{id}/comments/{id}"),
        ("/open/x/v1/1234567890", "/open/x/v1/{id}"),
        ("/open/x/v1/ou_abc", "/open/x/v1/{id}"),
        ("/", "/{id}"),
        ("", "/{id}"),
        ("//a//b", "/a/{id}/b"),
    ],
)
def test_a_path_is_named_without_its_ids(path: str, endpoint: str) -> None:
    assert endpoint_of(path) == endpoint


IDS = st.one_of(
    st.text(string.ascii_lowercase + string.digits, min_size=3, max_size=24),
    st.text(string.ascii_letters + string.digits + "_-@.", min_size=8, max_size=40),
    st.text(min_size=1, max_size=20),
).filter(lambda text: text not in WORDS and "/" not in text)


@given(st.sampled_from(["/open/im/v1/messages", "/v1.0/todo/users", "/open/suite/docs-api"]), IDS)
def test_no_id_after_the_resource_is_kept(start: str, found: str) -> None:
    assert endpoint_of(f"{start}/{found}") == f"{start}/{ID}"


@given(st.text(max_size=300))
def test_any_path_becomes_a_short_name_of_plain_characters(path: str) -> None:
    named = endpoint_of(path)
    assert set(named) <= set(string.ascii_letters + string.digits + "/{}._-")
    assert len(named) <= 600
