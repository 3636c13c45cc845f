"""The login page: which requests it rejects, what it asks, and where the browser goes afterwards.

The page (`static/consent.js`) reads and decides a consent through the routes here. An invalid request is shown as an
error on that page, and the browser does not return to the app. By default the scope codes of a link do not affect
what is granted: the page asks for every delegated scope that the app has added.
"""

from urllib.parse import urlencode, urlsplit, urlunsplit

from aiohttp import web

from bot.sandbox.dingtalk.credentials import Consent
from bot.sandbox.dingtalk.gateway import TENANT
from bot.sandbox.dingtalk.scopes import IDENTITY_SCOPES, SCOPES
from bot.sandbox.dingtalk.static_files import STATIC
from bot.sandbox.dingtalk.tenant import Person, Tenant, new_id
from bot.sandbox.dingtalk.tokens import new_code
from bot.sandbox.json_http import Json, read_object
from bot.sandbox.platform import PERSON_COOKIE

routes = web.RouteTableDef()


@routes.get("/oauth2/auth")
async def authorize(request: web.Request) -> web.Response:
    """The authorization endpoint: opens a consent and redirects to its page."""
    tenant = request.app[TENANT]
    consent = open_consent(tenant, dict(request.query))
    tenant.credentials.consents[consent.consent_id] = consent
    person = signed_in(tenant, request)
    tenant.feed.announce(
        "consent",
        {
            "event": "opened",
            "consent_id": consent.consent_id,
            "person": person.user_id if person else None,
            "scopes": sorted(asked_scopes(tenant, consent)),
            "error": consent.error,
        },
    )
    raise web.HTTPFound(f"/sandbox/consent?id={consent.consent_id}")


@routes.get("/sandbox/consent")
async def consent_page(_: web.Request) -> web.FileResponse:
    return web.FileResponse(STATIC / "consent.html")


def signed_in(tenant: Tenant, request: web.Request) -> Person | None:
    """Return the person who is signed in to this browser. `Behaviour.consents_as` replaces them."""
    return tenant.people.get(tenant.behaviour.consents_as or request.cookies.get(PERSON_COOKIE, ""))


# Which requests the page rejects


def open_consent(tenant: Tenant, query: dict[str, str]) -> Consent:
    """Return a consent for this link; its `error` is set if the page shows an error."""
    consent = Consent(
        consent_id=new_id("", 32),
        scopes=tuple(dict.fromkeys(query.get("scope", "").split(" "))) if query.get("scope") else (),
        redirect_uri=query.get("redirect_uri", ""),
        state=query.get("state"),
        corp_id=query.get("corpId"),
    )
    consent.error = request_error(tenant, query, consent)
    return consent


def request_error(tenant: Tenant, query: dict[str, str], consent: Consent) -> str | None:
    """Return the error that the page shows instead of asking, or None."""
    if query.get("client_id") != tenant.app.client_id or not tenant.app.enabled:
        return "client_id: the app does not exist."
    if consent.redirect_uri not in tenant.app.redirect_urls:
        return "redirect_uri: this address is not among the app's redirect URLs."
    if query.get("response_type") != "code":
        return "response_type must be code."
    if "openid" not in consent.scopes:
        return "scope must contain openid."
    if query.get("prompt") != "consent":
        return "prompt must be consent."
    unknown = [s for s in consent.scopes if s not in IDENTITY_SCOPES and not is_delegated(s)]
    if unknown and tenant.behaviour.honours_scope_codes:
        return f"scope: unknown {' '.join(unknown)}."
    if consent.corp_id is not None and "corpid" not in consent.scopes:
        return "corpId needs corpid in the scope."
    if query.get("org_type") not in (None, "", "management"):
        return "org_type is management."
    return None


def is_delegated(scope: str) -> bool:
    return scope in SCOPES and SCOPES[scope].delegated


def person_error(tenant: Tenant, consent: Consent, person: Person) -> str | None:
    """Return why this person cannot consent, or None."""
    if not person.active:
        return "This account is not active."
    if consent.corp_id is not None and consent.corp_id != person.corp_id:
        return "You do not belong to this organization."
    return None


def asked_scopes(tenant: Tenant, consent: Consent) -> frozenset[str]:
    """Return the delegated scopes that the page asks for."""
    added = tenant.app.enabled_scopes("user")
    if tenant.behaviour.honours_scope_codes:
        return added & frozenset(consent.scopes)
    return added


# Decisions


def allow(tenant: Tenant, consent: Consent, person: Person) -> str:
    """Grant the scopes and return the redirect URL with a code."""
    consent.decided = True
    scopes = asked_scopes(tenant, consent)
    chosen = tenant.behaviour.consents_in
    code = new_code(tenant, person, scopes, corp_id=chosen, tells_corp_id="corpid" in consent.scopes)
    announce_consent(tenant, consent.consent_id, person, "allowed", scopes)
    name = tenant.behaviour.callback_parameter
    names = ("authCode", "code") if name == "both" else (name,)
    return _redirect(consent, dict.fromkeys(names, code.code))


def refuse(tenant: Tenant, consent: Consent, person: Person) -> str:
    """Record a refusal and return the redirect URL with an error."""
    consent.decided = True
    announce_consent(tenant, consent.consent_id, person, "refused", asked_scopes(tenant, consent))
    return _redirect(consent, {"error": tenant.behaviour.refusal_error})


def _redirect(consent: Consent, parameters: dict[str, str]) -> str:
    if consent.state is not None:
        parameters["state"] = consent.state
    parts = urlsplit(consent.redirect_uri)
    query = "&".join(filter(None, (parts.query, urlencode(parameters))))
    return urlunsplit(parts._replace(query=query))


def announce_consent(
    tenant: Tenant, consent_id: str, person: Person, event: str, scopes: frozenset[str], **more: object
) -> None:
    data = {
        "event": event,
        "consent_id": consent_id,
        "person": person.user_id,
        "scopes": sorted(scopes),
        **more,
    }
    tenant.feed.announce("consent", data)


# The page's API


def _consent(request: web.Request) -> Consent:
    consent = request.app[TENANT].credentials.consents.get(request.match_info["consent_id"])
    if consent is None:
        raise web.HTTPNotFound(text='{"error": "no such consent"}', content_type="application/json")
    return consent


@routes.get("/sandbox/api/consents/{consent_id}")
async def show(request: web.Request) -> web.Response:
    """What the page shows to `person`, by default the person who is signed in to the browser."""
    tenant = request.app[TENANT]
    consent = _consent(request)
    given = tenant.people.get(request.query.get("person", ""))
    person = given or signed_in(tenant, request)
    already = person.granted if person else set()
    error = consent.error or (person_error(tenant, consent, person) if person else None)
    asked = sorted(asked_scopes(tenant, consent))
    return web.json_response(
        {
            "app": {"app_id": tenant.app.client_id, "name": tenant.app.name, "name_zh": tenant.app.name_zh},
            "person": person.user_id if person else None,
            "people": [account_json(tenant, each) for each in tenant.people.values()],
            "scopes": [scope_json(s) for s in asked if s not in already],
            "already": [s for s in asked if s in already],
            "requested": list(consent.scopes),
            "asks_organization": "corpid" in consent.scopes,
            "redirect_uri": consent.redirect_uri,
            "decided": consent.decided,
            "error": error,
            "link_error": consent.error,
        }
    )


def scope_json(scope: str) -> Json:
    info = SCOPES[scope]
    return {"scope": scope, "description": {"en": info.en, "zh": info.zh}, "field": info.field}


def account_json(tenant: Tenant, person: Person) -> Json:
    organization = tenant.organizations.get(person.corp_id)
    return {
        "open_id": person.user_id,
        "name": person.name,
        "en_name": person.en_name,
        "avatar_color": person.avatar_color,
        "locale": person.locale,
        "organization": organization.name if organization else person.corp_id,
    }


@routes.post("/sandbox/api/consents/{consent_id}")
async def decide(request: web.Request) -> web.Response:
    """{person, decision: allow | refuse}. A consent is decided once. `Behaviour.consents_as` replaces the person."""
    tenant = request.app[TENANT]
    consent = _consent(request)
    body = await read_object(request)
    person = tenant.people.get(tenant.behaviour.consents_as or str(body.get("person")))
    if person is None:
        return web.json_response({"error": "no such person"}, status=404)
    error = consent.error or person_error(tenant, consent, person)
    if error is not None:
        return web.json_response({"error": error}, status=409)
    if consent.decided:
        return web.json_response({"error": "this page was already decided"}, status=409)
    if body.get("decision") == "refuse":
        return web.json_response({"redirect": refuse(tenant, consent, person)})
    if body.get("decision") != "allow":
        return web.json_response({"error": "decision is allow or refuse"}, status=400)
    return web.json_response({"redirect": allow(tenant, consent, person)})
