"""User tokens: issue, refresh, revoke, expire. No HTTP here.

A `TokenError` carries one of the platform's codes; each token endpoint renders it in its own form.
"""

import base64
import hashlib
import hmac
import secrets

from bot.sandbox.json_http import Json
from bot.sandbox.lark.credentials import AccessToken, AppToken, Code, Generation, RefreshToken, jwt_like
from bot.sandbox.lark.scopes import BASIC_SCOPES
from bot.sandbox.lark.tenant import DAY, Person, Tenant

MAX_AUTHORIZATION_SECONDS = 365 * DAY
APP_TOKEN_SECONDS = 7200
APP_TOKEN_REUSE_SECONDS = 30 * 60
REFRESH_GRACE_SECONDS = 60

DESCRIPTIONS = {
    20001: "The request is missing a required parameter.",
    20002: "The client secret is invalid.",
    20003: "The authorization code is not found. "
    "Please note that an authorization code can only be used once.",
    20046: "Brand inconsistency.",
    20004: "The authorization code has expired.",
    20008: "The user does not exist.",
    20009: "The specified app is not installed.",
    20010: "The user does not have permission to use this app.",
    20024: "The provided authorization code or refresh token does not match the provided client ID.",
    20026: "The refresh token passed is invalid. Please check the value.",
    20036: "The specified grant_type is not supported.",
    20037: "The refresh token passed has expired. Please generate a new one.",
    20048: "The specified app does not exist.",
    20049: "PKCE code challenge failed.",
    20050: "An unexpected server error occurred. Please retry your request.",
    20063: "The request is malformed. Please check your request.",
    20064: "The refresh token has been revoked. Please note that a refresh token can only be used once.",
    20065: "The authorization code has been used. "
    "Please note that an authorization code can only be used once.",
    20066: "The user status is invalid.",
    20067: "The provided scope list contains duplicate scopes. Please ensure all scopes are unique.",
    20068: "The provided scope list contains scopes that are not permitted. "
    "Please ensure all scopes are allowed.",
    20069: "The specified app is not enabled.",
    20070: "Multiple authentication methods were provided. Please only use one to proceed.",
    20071: "The provided redirect URI does not match the one used during authorization.",
    20072: "The server is temporarily unavailable. Please retry your request.",
    20073: "The refresh token has been used. Please note that a refresh token can only be used once.",
    20074: "The specified app is not allowed to refresh token.",
    20014: "The app access token is invalid.",
}


class TokenError(Exception):
    """One of the token endpoint's codes."""

    def __init__(self, code: int) -> None:
        super().__init__(f"{code} {DESCRIPTIONS[code]}")
        self.code = code
        self.description = DESCRIPTIONS[code]


def app_token(tenant: Tenant, prefix: str = "t-g1") -> AppToken:
    """Return the app's token: the same one while it has half an hour left, then a new one; both stay valid."""
    now = tenant.clock.now()
    known = tenant.credentials.app_tokens
    for token in known.values():
        if token.token.startswith(prefix) and token.expires_at - now >= APP_TOKEN_REUSE_SECONDS:
            return token
    fresh = jwt_like() if prefix == "eyJ" else prefix + secrets.token_hex(20)
    known[fresh] = AppToken(fresh, now + APP_TOKEN_SECONDS)
    return known[fresh]


def new_code(
    tenant: Tenant,
    person: Person,
    requested: frozenset[str],
    *,
    redirect_uri: str | None,
    challenge: str | None = None,
    challenge_method: str = "plain",
    seconds: int | None = None,
) -> Code:
    """Record a person's consent, which adds to what they have granted, and return a code for it.

    `redirect_uri` None: the client's SDK requested the code. `seconds` overrides its usual lifetime.
    """
    now = tenant.clock.now()
    gained = sorted(requested - person.granted)
    person.granted |= requested
    if requested:
        tenant.credentials.asked_last[person.open_id] = requested
    if gained:
        tenant.feed.announce("scope", {"person": person.open_id, "granted": gained})
    behaviour = tenant.behaviour
    usual = behaviour.in_client_code_seconds if redirect_uri is None else behaviour.code_seconds
    code = Code(
        code=secrets.token_urlsafe(48),
        client_id=tenant.app.app_id,
        person=person.open_id,
        requested=requested,
        expires_at=now + (seconds or usual),
        authorized_at=now,
        redirect_uri=redirect_uri,
        challenge=challenge,
        challenge_method=challenge_method,
    )
    tenant.credentials.codes[code.code] = code
    return code


def redeem_code(
    tenant: Tenant,
    value: str,
    *,
    generation: Generation,
    redirect_uri: str | None = None,
    verifier: str | None = None,
    scope: str | None = None,
) -> Json:
    """Exchange a code for tokens, once. A failed attempt leaves the code usable. Raises TokenError."""
    code = tenant.credentials.codes.get(value)
    if code is None:
        raise TokenError(20003)
    if code.client_id != tenant.app.app_id:
        raise TokenError(20024)
    if code.used:
        raise TokenError(20065)
    if code.expires_at <= tenant.clock.now():
        raise TokenError(20004)
    if generation != "v1":
        if code.redirect_uri != redirect_uri:
            raise TokenError(20071)
        check_verifier(code, verifier, generation)
    person = usable_person(tenant, code.person)
    scopes = narrow_scopes(tenant, scopes_for(tenant, person, code.requested), scope, code)
    code.used = True
    return issue(
        tenant, person, scopes, authorized_at=code.authorized_at, generation=generation, event="issued"
    )


def scopes_for(tenant: Tenant, person: Person, requested: frozenset[str]) -> frozenset[str]:
    """Return the scopes of a consent's tokens: all that the person has granted, unless `codes_give` narrows them.

    `offline_access`, and with it a refresh token, is included only if the link requested it.
    """
    granted = frozenset(person.granted)
    if tenant.behaviour.codes_give == "what the link asked for":
        return granted & requested
    return granted if "offline_access" in requested else granted - {"offline_access"}


def check_verifier(code: Code, verifier: str | None, generation: Generation) -> None:
    """Check PKCE. v2 ignores a verifier without a challenge, v3 refuses it."""
    if code.challenge is None:
        if verifier is not None and generation == "v3":
            raise TokenError(20049)
        return
    if verifier is None or not 43 <= len(verifier) <= 128:
        raise TokenError(20049)
    if code.challenge_method == "S256":
        verifier = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    if not hmac.compare_digest(verifier.encode(), code.challenge.encode()):
        raise TokenError(20049)


def redeem_refresh_token(
    tenant: Tenant, value: str, *, generation: Generation, scope: str | None = None
) -> Json:
    """Exchange a refresh token for new tokens, once. Raises TokenError."""
    refresh = tenant.credentials.refresh.get(value)
    if refresh is None or (refresh.generation == "v1") != (generation == "v1"):
        raise TokenError(20026)
    if not tenant.app.may_refresh:
        raise TokenError(20074)
    if refresh.used:
        raise TokenError(20073)
    if refresh.revoked:
        raise TokenError(20064)
    now = tenant.clock.now()
    if refresh.expires_at <= now or refresh.authorized_at + MAX_AUTHORIZATION_SECONDS <= now:
        raise TokenError(20037)
    person = usable_person(tenant, refresh.person)
    family = refresh.scopes
    if tenant.behaviour.refresh_gives == "all that was granted":
        family |= frozenset(person.granted)
    if tenant.behaviour.refresh_gives == "what the last link asked for":
        family &= tenant.credentials.asked_last.get(person.open_id, frozenset())
    scopes = narrow_scopes(tenant, family, scope, refresh)
    refresh.used = True
    _retire_access_token(tenant, refresh.access_token)
    return issue(
        tenant,
        person,
        scopes,
        authorized_at=refresh.authorized_at,
        generation=generation,
        event="refreshed",
        refresh_scopes=family,
    )


def _retire_access_token(tenant: Tenant, access_token: str) -> None:
    """Apply a refresh to the previous access token. The documentation has three versions; see `after_refresh`."""
    access = tenant.credentials.access[access_token]
    match tenant.behaviour.after_refresh:
        case "dies":
            access.revoked = True
        case "has a minute":
            access.expires_at = min(access.expires_at, tenant.clock.now() + REFRESH_GRACE_SECONDS)
        case "old access token lives":
            pass


def usable_person(tenant: Tenant, open_id: str) -> Person:
    person = tenant.people[open_id]
    if person.status != "active":
        raise TokenError(20066)
    if not person.available or person.tenant_key != tenant.app.tenant_key:
        raise TokenError(20010)
    return person


def narrow_scopes(
    tenant: Tenant, scopes: frozenset[str], requested: str | None, presented: Code | RefreshToken
) -> frozenset[str]:
    """Return the scopes of a token: those granted and still enabled in the app, or the requested part of them.

    `BASIC_SCOPES` are added always; requesting them explicitly requires that they were granted. Raises TokenError.
    """
    held = scopes & tenant.app.enabled_scopes("user")
    if requested is None or not requested.strip():
        return held | BASIC_SCOPES
    wanted = requested.split()
    if len(set(wanted)) != len(wanted):
        raise TokenError(20067)
    if not held.issuperset(wanted):
        presented.used = tenant.behaviour.refused_scopes_spend
        raise TokenError(20068)
    return frozenset(wanted) | BASIC_SCOPES


def issue(
    tenant: Tenant,
    person: Person,
    scopes: frozenset[str],
    *,
    authorized_at: float,
    generation: Generation,
    event: str,
    refresh_scopes: frozenset[str] | None = None,
) -> Json:
    """Issue an access token and, with `offline_access`, a refresh token; return the fields of a v2 response."""
    now = tenant.clock.now()
    lifetime = tenant.behaviour.access_token_seconds
    access = AccessToken(
        token="u-" + secrets.token_urlsafe(24) if generation == "v1" else jwt_like(),
        person=person.open_id,
        scopes=scopes,
        expires_at=now + lifetime,
        authorized_at=authorized_at,
        generation=generation,
    )
    tenant.credentials.access[access.token] = access
    fields: Json = {
        "access_token": access.token,
        "expires_in": lifetime,
        "token_type": "Bearer",
    }
    if tenant.behaviour.token_answers_name_scopes:
        fields["scope"] = " ".join(sorted(scopes))
    family_scopes = refresh_scopes or scopes
    if "offline_access" in family_scopes:
        remaining = authorized_at + MAX_AUTHORIZATION_SECONDS - now
        refresh_lifetime = int(min(tenant.behaviour.refresh_token_seconds, remaining))
        refresh = RefreshToken(
            token="ur-" + secrets.token_urlsafe(24) if generation == "v1" else jwt_like(),
            person=person.open_id,
            scopes=family_scopes,
            expires_at=now + refresh_lifetime,
            authorized_at=authorized_at,
            generation=generation,
            access_token=access.token,
        )
        tenant.credentials.refresh[refresh.token] = refresh
        fields |= {"refresh_token": refresh.token, "refresh_token_expires_in": refresh_lifetime}
    tenant.feed.announce("token", {"event": event, "person": person.open_id, "scopes": sorted(scopes)})
    return fields


def revoke_token(tenant: Tenant, value: str) -> bool:
    """Revoke one token; return False if no valid token has this value. The token issued with it stays valid."""
    token = tenant.credentials.refresh.get(value) or tenant.credentials.access.get(value)
    if token is None or token.revoked or (isinstance(token, RefreshToken) and token.used):
        return False
    token.revoked = True
    if tenant.behaviour.revoke_clears_grant:
        tenant.people[token.person].granted.clear()
    tenant.feed.announce("token", {"event": "revoked", "person": token.person})
    return True


def revoke_person(tenant: Tenant, person: Person) -> None:
    """Withdraw all that a person has granted: revoke their tokens, expire their codes, empty the grant."""
    issued: list[AccessToken | RefreshToken] = [
        *tenant.credentials.access.values(),
        *tenant.credentials.refresh.values(),
    ]
    for token in issued:
        if token.person == person.open_id:
            token.revoked = True
    for code in tenant.credentials.codes.values():
        if code.person == person.open_id:
            code.expires_at = 0
    person.granted.clear()
    tenant.feed.announce("token", {"event": "revoked", "person": person.open_id})


def expire_tokens(tenant: Tenant, person: Person, *, access: bool, refresh: bool) -> None:
    """Make the person's valid tokens expire now."""
    now = tenant.clock.now()
    if access:
        for token in tenant.credentials.access.values():
            if token.person == person.open_id:
                token.expires_at = min(token.expires_at, now)
    if refresh:
        for renewal in tenant.credentials.refresh.values():
            if renewal.person == person.open_id:
                renewal.expires_at = min(renewal.expires_at, now)
    tenant.feed.announce(
        "token", {"event": "expired", "person": person.open_id, "access": access, "refresh": refresh}
    )
