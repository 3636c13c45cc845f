"""Device authorization (RFC 8628) against the emulated platform, and what its answers may look like."""

from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.oauth import DeviceAnswer, DeviceCode, TokenProblem, TokenRefused, TokenSet
from bot.core.secrets import Secret
from bot.lark.token_problems import problem_of
from bot.lark.token_responses import parse_device_code
from bot.sandbox.lark.sample_tenant import WEI

ASKED = frozenset({"task:task:read", "offline_access"})


@pytest.fixture(params=["v2", "v3"])
async def platform(request, world):
    world.tenant.behaviour.device_poll_seconds = 1
    platform = world.another(oauth=request.param)
    yield platform
    await platform.close()


async def decide(world, code, decision="allow", person=WEI):
    """The person follows the link and decides on the platform's page."""
    async with aiohttp.ClientSession() as http:
        async with http.get(code.verification_uri_complete.reveal(), allow_redirects=False) as page:
            consent = page.headers["Location"].partition("id=")[2]
        body = {"person": person, "decision": decision}
        async with http.post(f"{world.url}/sandbox/api/consents/{consent}", json=body) as decided:
            assert decided.status == 200


async def test_a_code_is_minted_with_a_link_that_holds_it(world, platform):
    code = await platform.request_device_authorization(ASKED)
    assert isinstance(code, DeviceCode)
    assert (code.expires_in, code.interval) == (240, 1)
    assert parse_qs(urlsplit(code.verification_uri_complete.reveal()).query)["user_code"] == [
        code.user_code.reveal()
    ]
    (minted,) = world.tenant.credentials.devices.values()
    assert frozenset(minted.scopes) == ASKED


async def test_polls_wait_are_slowed_down_and_bring_tokens_once(world, platform):
    code = await platform.request_device_authorization(ASKED)
    assert await platform.poll_device(code.device_code) is DeviceAnswer.PENDING
    assert await platform.poll_device(code.device_code) is DeviceAnswer.SLOW_DOWN
    await decide(world, code)
    world.tenant.clock.advance(7)
    tokens = await platform.poll_device(code.device_code)
    assert isinstance(tokens, TokenSet)
    assert tokens.scopes >= ASKED
    assert tokens.refresh_token is not None
    world.tenant.clock.advance(7)
    refused = await platform.poll_device(code.device_code)
    assert isinstance(refused, TokenRefused)
    assert refused.problem is TokenProblem.CODE


async def test_refusal_and_expiry_are_told_apart(world, platform):
    code = await platform.request_device_authorization(ASKED)
    await decide(world, code, "refuse")
    assert await platform.poll_device(code.device_code) is DeviceAnswer.DENIED
    code = await platform.request_device_authorization(ASKED)
    world.tenant.clock.advance(241)
    assert await platform.poll_device(code.device_code) is DeviceAnswer.EXPIRED


async def test_a_scope_that_the_app_has_not_enabled_is_refused_at_once(platform):
    refused = await platform.request_device_authorization(frozenset({"mail:user_mailbox:readonly"}))
    assert refused.problem is TokenProblem.SCOPE


async def test_a_wrong_secret_is_the_apps_matter(world):
    platform = world.another(app_secret=Secret("wrong"))
    assert (await platform.request_device_authorization(ASKED)).problem is TokenProblem.APP
    assert (await platform.poll_device(Secret("unknown"))).problem is TokenProblem.APP
    await platform.close()


@pytest.mark.parametrize("ask", ["authorize", "poll"])
@pytest.mark.parametrize(
    ("trouble", "problem"),
    [
        ({"kind": "down"}, TokenProblem.IN_DOUBT),
        ({"kind": "html"}, TokenProblem.IN_DOUBT),
        ({"kind": "truncate"}, TokenProblem.IN_DOUBT),
        ({"kind": "rate_limit"}, TokenProblem.TRANSIENT),
        ({"kind": "status", "status": 503, "code": 20072}, TokenProblem.TRANSIENT),
        ({"kind": "status", "status": 500, "body": {"error": "oops"}}, TokenProblem.IN_DOUBT),
        ({"kind": "status", "status": 200, "body": {}}, TokenProblem.IN_DOUBT),
        ({"kind": "status", "status": 200, "body": {"device_code": 7}}, TokenProblem.IN_DOUBT),
        ({"kind": "status", "status": 200, "body": []}, TokenProblem.IN_DOUBT),
    ],
    ids=str,
)
async def test_a_platform_that_stumbles_has_done_nothing_or_leaves_us_in_doubt(world, ask, trouble, problem):
    world.trouble(times=1, match={"path": "/o"}, **trouble)
    if ask == "authorize":
        answer = await world.platform.request_device_authorization(ASKED)
    else:
        answer = await world.platform.poll_device(Secret("code"))
    assert isinstance(answer, TokenRefused)
    assert answer.problem is problem


async def test_tokens_are_narrowed_to_what_was_asked(world, platform):
    world.tenant.people[WEI].granted |= {"calendar:calendar:readonly"}
    code = await platform.request_device_authorization(ASKED)
    await decide(world, code)
    tokens = await platform.poll_device(code.device_code)
    assert "calendar:calendar:readonly" in tokens.scopes
    narrowed = await platform.narrow(tokens, ASKED)
    assert narrowed.scopes >= ASKED
    assert "calendar:calendar:readonly" not in narrowed.scopes


async def test_tokens_that_cannot_be_exchanged_are_used_for_what_was_asked(world):
    given = frozenset({"task:task:read", "calendar:calendar:readonly", "user_profile"})
    tokens = TokenSet(Secret("t"), 7200, None, None, given)
    assert await world.platform.narrow(tokens, given) is tokens
    narrowed = await world.platform.narrow(tokens, frozenset({"task:task:read", "docx:document:readonly"}))
    assert narrowed == replace(tokens, scopes=frozenset({"task:task:read", "user_profile"}))


ANSWER = {"device_code": "d", "user_code": "U-1", "verification_uri": "https://a.example/verify"}


def test_what_the_platform_leaves_out_has_its_documented_value():
    assert parse_device_code(ANSWER) == DeviceCode(
        Secret("d"), Secret("U-1"), Secret("https://a.example/verify"), 240, 5
    )
    odd = parse_device_code({**ANSWER, "interval": 10**9, "expires_in": -1})
    assert (odd.interval, odd.expires_in) == (60, 240)


@pytest.mark.parametrize(
    "changed",
    [
        {"device_code": ""},
        {"user_code": None},
        {"verification_uri": "javascript:alert(1)"},
        {"verification_uri_complete": "file:///etc/passwd"},
        {"verification_uri": "https://a.example/" + "x" * 3000},
    ],
)
def test_an_answer_without_a_page_to_go_to_is_none(changed):
    assert parse_device_code({**ANSWER, **changed}) is None


@given(st.dictionaries(st.sampled_from([*ANSWER, "interval", "expires_in"]), st.text() | st.integers()))
def test_any_answer_is_a_code_or_none(fields):
    code = parse_device_code(fields)
    assert code is None or code.verification_uri_complete.reveal().startswith(("https://", "http://"))


def test_a_refused_scope_is_another_matter_when_a_token_is_refreshed():
    assert problem_of(0, "invalid_scope", "device") is TokenProblem.SCOPE
    assert problem_of(0, "invalid_scope", "refresh") is TokenProblem.APP
