"""Codes and tokens: issue, exchange, refresh, expire, withdraw."""

import secrets

from bot.sandbox.dingtalk.credentials import AccessToken, AppToken, Code, RefreshToken
from bot.sandbox.dingtalk.gateway import ApiError
from bot.sandbox.dingtalk.scopes import IDENTITY_SCOPES
from bot.sandbox.dingtalk.tenant import Person, Tenant, new_id
from bot.sandbox.json_http import Json

CODE_NOT_FOUND = "invalidParameter.authCode.notFound"


def app_token(tenant: Tenant) -> AppToken:
    """Return the app's token: the same one while it is valid, with its lifetime extended."""
    now = tenant.clock.now()
    for token in tenant.credentials.app_tokens.values():
        if token.expires_at > now:
            token.expires_at = now + tenant.behaviour.app_token_seconds
            return token
    token = AppToken(
        new_id("", 32), now + tenant.behaviour.app_token_seconds, tenant.app.enabled_scopes("tenant")
    )
    tenant.credentials.app_tokens[token.token] = token
    return token


def grant(tenant: Tenant, person: Person, scopes: frozenset[str]) -> None:
    """Record what a person grants. A new grant takes `Behaviour.consent_spreads_seconds` to reach the gateway."""
    effective_at = tenant.clock.now() + tenant.behaviour.consent_spreads_seconds
    for scope in scopes - person.granted:
        person.effective_at[scope] = effective_at
    person.granted |= scopes


def new_code(
    tenant: Tenant,
    person: Person,
    scopes: frozenset[str],
    *,
    corp_id: str | None = None,
    tells_corp_id: bool = False,
) -> Code:
    """Grant the scopes and return a code for them."""
    granted = scopes - IDENTITY_SCOPES
    grant(tenant, person, granted)
    everything = tenant.behaviour.tokens_give == "all that was granted"
    code = Code(
        code=new_id("", 32),
        person=person.user_id,
        scopes=frozenset(person.granted) if everything else granted,
        expires_at=tenant.clock.now() + tenant.behaviour.code_seconds,
        corp_id=corp_id or person.corp_id,
        tells_corp_id=tells_corp_id,
    )
    tenant.credentials.codes[code.code] = code
    return code


def silent_code(tenant: Tenant, person: Person) -> Code:
    """Return a code of the JSAPI, which proves who opened a page and grants nothing."""
    expires_at = tenant.clock.now() + tenant.behaviour.silent_code_seconds
    code = Code(new_id("", 32), person.user_id, frozenset(), expires_at, person.corp_id, silent=True)
    tenant.credentials.codes[code.code] = code
    return code


def redeem_code(tenant: Tenant, value: str) -> Json:
    """Exchange a code for tokens. A code that is unknown, used, expired or silent is not found."""
    code = tenant.credentials.codes.get(value)
    if code is None or code.used or code.silent or code.expires_at <= tenant.clock.now():
        raise ApiError(CODE_NOT_FOUND, "不合法的临时授权码")
    code.used = True
    return issue(tenant, code.person, code.scopes, code.corp_id, code.tells_corp_id, event="issued")


def redeem_silent_code(tenant: Tenant, value: str) -> Person | None:
    """Return the person of a silent code of the app's organization, once; None for any other code."""
    code = tenant.credentials.codes.get(value)
    if code is None or code.used or not code.silent or code.expires_at <= tenant.clock.now():
        return None
    code.used = True
    return tenant.member(code.person)


def redeem_refresh_token(tenant: Tenant, value: str) -> Json:
    """Exchange a refresh token for new tokens. It is used up; the earlier access token stays valid."""
    refresh = tenant.credentials.refresh.get(value)
    if refresh is None or refresh.used or refresh.expires_at <= tenant.clock.now():
        raise ApiError(tenant.behaviour.dead_refresh_code, "不合法的临时授权码")
    refresh.used = True
    return issue(
        tenant, refresh.person, refresh.scopes, refresh.corp_id, refresh.tells_corp_id, event="refreshed"
    )


def issue(
    tenant: Tenant, user_id: str, scopes: frozenset[str], corp_id: str, tells_corp_id: bool, *, event: str
) -> Json:
    """Issue an access token and a refresh token; return the response, which names no scopes."""
    behaviour, now = tenant.behaviour, tenant.clock.now()
    access = AccessToken(new_id("", 32), user_id, scopes, now + behaviour.access_token_seconds, corp_id)
    tenant.credentials.access[access.token] = access
    answer: Json = {"accessToken": access.token, behaviour.expiry_field: behaviour.access_token_seconds}
    if behaviour.returns_refresh_token:
        refresh = RefreshToken(
            secrets.token_hex(16),
            user_id,
            scopes,
            now + behaviour.refresh_token_seconds,
            corp_id,
            tells_corp_id,
        )
        tenant.credentials.refresh[refresh.token] = refresh
        answer["refreshToken"] = refresh.token
    if tells_corp_id:
        answer["corpId"] = corp_id
    tenant.feed.announce("token", {"event": event, "person": user_id, "scopes": sorted(scopes)})
    return answer


def expire_tokens(tenant: Tenant, person: Person, *, access: bool, refresh: bool) -> None:
    """Make a person's tokens expire now."""
    now = tenant.clock.now()
    tokens = [
        *(tenant.credentials.access.values() if access else ()),
        *(tenant.credentials.refresh.values() if refresh else ()),
    ]
    for token in tokens:
        if token.person == person.user_id:
            token.expires_at = min(token.expires_at, now)
    tenant.feed.announce(
        "token", {"event": "expired", "person": person.user_id, "access": access, "refresh": refresh}
    )


def withdraw_grants(tenant: Tenant, person: Person) -> None:
    """Withdraw everything that a person granted. Their tokens stay valid, but without scopes."""
    person.granted.clear()
    person.effective_at.clear()
    issued: list[AccessToken | RefreshToken | Code] = [
        *tenant.credentials.access.values(),
        *tenant.credentials.refresh.values(),
        *tenant.credentials.codes.values(),
    ]
    for each in issued:
        if each.person == person.user_id:
            each.scopes = frozenset()
    tenant.feed.announce("token", {"event": "revoked", "person": person.user_id})
