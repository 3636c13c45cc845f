"""The token endpoint's three generations, against the emulated platform, and every code that they document."""

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.api import Refused, Unreachable
from bot.core.oauth import TokenProblem, TokenRefused, TokenSet, s256
from bot.core.people import Identity
from bot.core.secrets import Secret
from bot.lark.token_endpoints import TOKEN_ENDPOINTS
from bot.lark.token_problems import PROBLEMS, problem_of
from bot.lark.token_responses import parse_fields, parse_token_set
from bot.sandbox.lark.sample_tenant import SAM, WEI
from bot.sandbox.lark.tokens import expire_tokens, revoke_person
from bot.transport.http_client import HttpResponse

VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
REDIRECT = "https://bot.example/cb"


def test_the_link_asks_for_what_it_should(world):
    url = world.platform.authorize_url(
        redirect_uri="https://bot.example/cb?x=1",
        scopes=frozenset({"offline_access", "task:task:read", "calendar:calendar:readonly"}),
        state="s t",
        challenge="ch",
        prompt=True,
    )
    parts = urlsplit(url)
    assert url.startswith(f"{world.url}/open-apis/authen/v1/authorize?")
    assert "scope=calendar%3Acalendar%3Areadonly%20task%3Atask%3Aread%20offline_access" in parts.query
    assert {name: values[0] for name, values in parse_qs(parts.query).items()} == {
        "client_id": world.platform.app_id,
        "response_type": "code",
        "redirect_uri": "https://bot.example/cb?x=1",
        "scope": "calendar:calendar:readonly task:task:read offline_access",
        "state": "s t",
        "code_challenge": "ch",
        "code_challenge_method": "S256",
        "prompt": "consent",
    }


def test_a_link_for_signing_in_names_no_scope(world):
    url = world.platform.authorize_url(
        redirect_uri=REDIRECT, scopes=frozenset(), state="s", challenge=None, prompt=False
    )
    assert parse_qs(urlsplit(url).query).keys() == {"client_id", "response_type", "redirect_uri", "state"}


@pytest.fixture(params=["v1", "v2", "v3"])
async def platform(request, world):
    platform = world.another(oauth=request.param)
    yield platform
    await platform.close()


async def exchanged(world, platform, *scopes, narrow=None):
    challenge = s256(VERIFIER) if platform.uses_pkce else None
    code = world.code(*scopes, challenge=challenge, challenge_method="S256")
    return await platform.exchange_code(
        code, redirect_uri=REDIRECT, verifier=Secret(VERIFIER) if challenge else None, scopes=narrow
    )


async def test_a_code_becomes_tokens_and_they_say_who_consented(world, platform):
    tokens = await exchanged(world, platform, "task:task:read", "offline_access")
    assert isinstance(tokens, TokenSet)
    assert tokens.scopes == {"auth:user.id:read", "user_profile", "task:task:read", "offline_access"}
    assert 7000 < tokens.expires_in <= 7200
    assert tokens.refresh_token is not None
    assert tokens.refresh_expires_in > 600_000
    identity = await platform.identify(tokens.access_token)
    person = world.tenant.people[WEI]
    assert identity == Identity(WEI, world.tenant.app.tenant_key, person.union_id, person.name)


async def test_without_offline_access_there_is_no_refresh_token(world, platform):
    tokens = await exchanged(world, platform, "task:task:read")
    assert tokens.refresh_token is None
    assert tokens.refresh_expires_in is None


async def test_a_refresh_gives_a_new_pair_once(world, platform):
    tokens = await exchanged(world, platform, "task:task:read", "offline_access")
    fresh = await platform.refresh(tokens.refresh_token)
    assert isinstance(fresh, TokenSet)
    assert fresh.refresh_token != tokens.refresh_token
    again = await platform.refresh(tokens.refresh_token)
    assert again.problem is TokenProblem.OVER


async def test_a_code_works_once(world, platform):
    code = world.code("task:task:read")
    given = {"redirect_uri": REDIRECT, "verifier": None, "scopes": None}
    assert isinstance(await platform.exchange_code(code, **given), TokenSet)
    assert (await platform.exchange_code(code, **given)).problem is TokenProblem.CODE


async def test_a_wrong_secret_is_the_apps_problem(world, platform):
    wrong = world.another(app_secret=Secret("wrong"), oauth="v2" if platform.uses_pkce else "v1")
    refused = await wrong.refresh(Secret("eyJ.x"))
    await wrong.close()
    assert refused.problem is TokenProblem.APP


async def test_a_person_who_may_not_use_the_app_is_told_apart(world, platform):
    world.tenant.people[WEI].available = False
    assert (await exchanged(world, platform, "task:task:read")).problem is TokenProblem.USER


async def test_a_missing_verifier_spoils_the_code(world):
    code = world.code("task:task:read", challenge=s256(VERIFIER), challenge_method="S256")
    refused = await world.platform.exchange_code(code, redirect_uri=REDIRECT, verifier=None, scopes=None)
    assert refused == TokenRefused(TokenProblem.CODE, 20049, "PKCE code challenge failed.", "invalid_grant")


@pytest.mark.parametrize("generation", ["v2", "v3"])
async def test_an_exchange_can_be_narrowed_to_what_was_asked(world, generation):
    world.tenant.people[WEI].granted |= {"calendar:calendar:readonly"}
    platform = world.another(oauth=generation)
    asked = frozenset({"task:task:read", "offline_access"})
    tokens = await exchanged(world, platform, *asked, narrow=asked)
    await platform.close()
    assert "calendar:calendar:readonly" not in tokens.scopes
    assert asked <= tokens.scopes


async def test_with_less_consented_than_asked_the_token_has_what_both_say(world):
    world.tenant.people[WEI].granted |= {"calendar:calendar:readonly"}
    asked = frozenset({"task:task:read", "docx:document:readonly", "offline_access"})
    tokens = await exchanged(world, world.platform, "task:task:read", "offline_access", narrow=asked)
    assert isinstance(tokens, TokenSet)
    assert tokens.scopes & {*asked, "calendar:calendar:readonly"} == {"task:task:read", "offline_access"}


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("drop_before", TokenProblem.IN_DOUBT),
        ("drop_after", TokenProblem.IN_DOUBT),
        ("truncate", TokenProblem.IN_DOUBT),
        ("html", TokenProblem.IN_DOUBT),
        ("rate_limit", TokenProblem.TRANSIENT),
    ],
)
async def test_trouble_on_the_way_is_doubt_unless_the_platform_says_otherwise(world, kind, problem):
    world.trouble(kind, match={"path": "/open-apis/authen/v2/oauth/token"})
    assert (await world.platform.refresh(Secret("eyJ.x"))).problem is problem


async def test_a_platform_that_is_not_there_did_nothing(world):
    away = world.another(open_url="http://127.0.0.1:9")
    refused = await away.refresh(Secret("eyJ.x"))
    await away.close()
    assert refused.problem is TokenProblem.TRANSIENT


DOCUMENTED = {
    TokenProblem.APP: "20001 20002 20036 20048 20063 20067 20069 20070",
    TokenProblem.CODE: "20003 20004 20024 20049 20065 20068 20071",
    TokenProblem.OVER: "20008 20074",
    TokenProblem.USER: "20009 20010 20066",
    TokenProblem.TRANSIENT: "20050 20072",
    TokenProblem.BLOCKED: "21000 21001",
}
REFRESHING = DOCUMENTED | {
    TokenProblem.CODE: "",
    TokenProblem.OVER: "20008 20024 20026 20037 20038 20064 20073 20074",
}


@pytest.mark.parametrize(("purpose", "table"), [("exchange", DOCUMENTED), ("refresh", REFRESHING)])
def test_every_documented_code_has_its_problem(purpose, table):
    for problem, codes in table.items():
        for code in codes.split():
            assert problem_of(int(code), "", purpose) is problem, code


def test_a_code_nobody_knows_never_costs_a_stored_grant():
    assert problem_of(29999, "", "refresh") is TokenProblem.APP
    assert problem_of(29999, "", "exchange") is TokenProblem.CODE
    assert problem_of(29999, "invalid_grant", "refresh") is TokenProblem.OVER
    assert problem_of(29999, "server_error", "refresh") is TokenProblem.TRANSIENT


@pytest.mark.parametrize("code", [20002, 20003, 20050, 29999])
async def test_what_the_platform_quotes_of_our_secrets_is_masked(world, code):
    secret = world.tenant.app.app_secret
    world.trouble(
        "status", status=400, body={"code": code, "error_description": f"bad {secret} eyJ.abcdefghijkl"}
    )
    refused = await world.platform.refresh(Secret("eyJ.abcdefghijkl"))
    assert secret not in refused.message
    assert "eyJ." not in refused.message


async def test_revoking_ends_the_tokens(world):
    tokens = await exchanged(world, world.platform, "task:task:read", "offline_access")
    assert await world.platform.revoke(tokens.refresh_token) is None
    assert await world.platform.revoke(tokens.refresh_token) is None
    assert (await world.platform.refresh(tokens.refresh_token)).problem is TokenProblem.OVER
    assert await world.platform.revoke(Secret("never-seen")) is None


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"status": 200, "body": ""}, None),
        ({"status": 200, "body": {"code": 0}}, None),
        ({"status": 400, "body": {"error": "invalid_token"}}, None),
        ({"status": 400, "body": {"code": 20064, "error": "invalid_grant"}}, None),
        ({"status": 400, "body": {"error": "invalid_client"}}, TokenProblem.APP),
        ({"status": 400, "body": {"code": 20002}}, TokenProblem.APP),
        ({"status": 503, "body": {"code": 20072}}, TokenProblem.TRANSIENT),
        ({"status": 502, "body": "<html>"}, TokenProblem.IN_DOUBT),
    ],
)
async def test_only_an_answer_that_says_so_counts_as_revoked(world, answer, problem):
    world.trouble("status", match={"path": "/oauth/v1/revoke"}, **answer)
    refused = await world.platform.revoke(Secret("eyJ.x"))
    assert (refused.problem if refused else None) is problem


async def test_a_token_that_is_no_longer_good_identifies_nobody(world):
    tokens = await exchanged(world, world.platform, "task:task:read")
    expire_tokens(world.tenant, world.tenant.people[WEI], access=True, refresh=True)
    assert isinstance(await world.platform.identify(tokens.access_token), Refused)
    world.trouble("html")
    assert isinstance(await world.platform.identify(tokens.access_token), Unreachable)


async def test_a_token_of_somebody_else_says_so(world):
    code = world.code("task:task:read", open_id=SAM)
    tokens = await world.platform.exchange_code(code, redirect_uri=REDIRECT, verifier=None, scopes=None)
    assert (await world.platform.identify(tokens.access_token)).open_id == SAM


async def test_a_withdrawn_grant_is_over(world):
    tokens = await exchanged(world, world.platform, "task:task:read", "offline_access")
    revoke_person(world.tenant, world.tenant.people[WEI])
    assert (await world.platform.refresh(tokens.refresh_token)).problem is TokenProblem.OVER


@pytest.mark.parametrize(
    "fields",
    [{}, {"access_token": ""}, {"access_token": 7}, {"access_token": "a b"}, {"access_token": "a\nb"}],
)
def test_an_answer_without_a_usable_token_is_none(fields):
    assert parse_token_set(fields, "refresh_token_expires_in") is None


def test_everything_but_the_token_may_be_missing():
    assert parse_token_set({"access_token": "t"}, "x") == TokenSet(Secret("t"), 7200, None, None, None)
    odd = {"access_token": "t", "expires_in": "7", "refresh_token": None, "scope": ["a"]}
    assert parse_token_set(odd, "x") == TokenSet(Secret("t"), 7200, None, None, None)


json_values = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.lists(st.integers(), max_size=2)
)
names = ["code", "error", "access_token", "expires_in", "refresh_token", "scope", "data", "msg"]


@given(fields=st.dictionaries(st.sampled_from(names), json_values))
def test_no_answer_makes_the_parser_fail(fields):
    tokens = parse_token_set(fields, "refresh_token_expires_in")
    assert tokens is None or isinstance(tokens, TokenSet)


@given(body=st.binary(max_size=100), status=st.integers(200, 599))
def test_no_bytes_make_the_reader_fail(body, status):
    assert isinstance(parse_fields(HttpResponse(status, {}, body)), dict | TokenRefused)


def test_no_documented_difference_is_forgotten():
    assert TOKEN_ENDPOINTS["v3"].on_accounts
    assert not TOKEN_ENDPOINTS["v1"].pkce
    assert all(20000 < code < 22000 or code in {1, 10003, 10014} or code > 100_000 for code in PROBLEMS)
