"""The authorize page: which requests it rejects, what it asks, and where the browser goes afterwards.

The page (`static/consent.js`) reads and decides a consent through the routes here. An invalid request is shown as an
error on that page, and the browser does not return to the app.
"""

from urllib.parse import urlencode, urlsplit, urlunsplit

from aiohttp import web

from bot.sandbox.json_http import Json
from bot.sandbox.lark.client import is_in_client
from bot.sandbox.lark.credentials import Consent
from bot.sandbox.lark.gateway import TENANT
from bot.sandbox.lark.scopes import SCOPES
from bot.sandbox.lark.static_files import STATIC
from bot.sandbox.lark.tenant import Person, Tenant, new_id
from bot.sandbox.lark.tokens import new_code
from bot.sandbox.platform import PERSON_COOKIE

routes = web.RouteTableDef()

SCOPES_PER_LINK = 50


# The pages


@routes.get("/open-apis/authen/v1/authorize")
async def authorize(request: web.Request) -> web.Response:
    """The authorization endpoint: opens a consent and redirects to its page, or back to the app at once."""
    tenant = request.app[TENANT]
    consent = open_consent(tenant, dict(request.query))
    tenant.credentials.consents[consent.consent_id] = consent
    person = tenant.people.get(request.cookies.get(PERSON_COOKIE, ""))
    tenant.feed.announce(
        "consent",
        {
            "event": "opened",
            "consent_id": consent.consent_id,
            "person": person.open_id if person else None,
            "scopes": list(consent.scopes),
            "error": consent.error[0] if consent.error else None,
        },
    )
    if person is not None and may_skip_page(tenant, consent, person, request):
        raise web.HTTPFound(allow(tenant, consent, person, consent.scopes) or "/")
    raise web.HTTPFound(f"/sandbox/consent?id={consent.consent_id}")


@routes.get("/sandbox/consent")
async def consent_page(_: web.Request) -> web.FileResponse:
    return web.FileResponse(STATIC / "consent.html")


@routes.get("/sandbox/device")
async def device_page(_: web.Request) -> web.FileResponse:
    return web.FileResponse(STATIC / "device.html")


# Which requests the page rejects


def open_consent(tenant: Tenant, query: dict[str, str]) -> Consent:
    """Return a consent for this link; its `error` is set if the page shows an error."""
    redirect_uri = query.get("redirect_uri", "")
    scope = query.get("scope", "")
    consent = Consent(
        consent_id=new_id("", 32),
        scopes=tuple(dict.fromkeys(scope.split())),
        redirect_uri=redirect_uri,
        state=query.get("state"),
        challenge=query.get("code_challenge"),
        challenge_method=query.get("code_challenge_method", "plain"),
        prompt=query.get("prompt"),
    )
    consent.error = request_error(tenant, query, consent)
    return consent


def request_error(tenant: Tenant, query: dict[str, str], consent: Consent) -> tuple[int, str] | None:
    """Return the page's error code and text, or None. The platform does not document the order of these checks."""
    if (query.get("client_id") or query.get("app_id")) != tenant.app.app_id:
        return 20048, "The app does not exist."
    if not tenant.app.enabled or not tenant.app.installed:
        return 20009, "The app is not installed in your organization."
    if not is_registered(consent.redirect_uri, tenant.app.redirect_urls):
        return 20029, "重定向 URL 有误 (the redirect URL is not on the app's list)"
    # Links of the older form, with `app_id`, have no response_type.
    if query.get("client_id") and query.get("response_type") != "code":
        return 20001, "response_type must be code."
    if consent.challenge_method not in ("plain", "S256") or query.get("code_challenge") == "":
        return 20001, "The PKCE parameters are invalid."
    unknown = [s for s in consent.scopes if s not in SCOPES or not SCOPES[s].user]
    if unknown:
        return 20043, f"{' '.join(unknown)} 有误（错误码 20043）"
    missing = [s for s in consent.scopes if s not in tenant.app.enabled_scopes("user")]
    if missing:
        return 20027, f"The app has not enabled: {' '.join(missing)}"
    if len(consent.scopes) > SCOPES_PER_LINK:
        return 20043, f"More than {SCOPES_PER_LINK} scopes in one link."
    return None


def is_registered(redirect_uri: str, registered: list[str]) -> bool:
    """Return whether everything but the query and the fragment equals an entry of the list."""
    requested = urlsplit(redirect_uri)
    if requested.scheme not in ("http", "https"):
        return False
    return any(urlsplit(entry)[:3] == requested[:3] for entry in registered)


def person_error(tenant: Tenant, person: Person) -> tuple[int, str] | None:
    """Return the page's error for a person who cannot use the app, or None."""
    if person.tenant_key != tenant.app.tenant_key or not person.available or person.status != "active":
        return 20010, "This app is not available to you. Contact your administrator."
    return None


def may_skip_page(tenant: Tenant, consent: Consent, person: Person, request: web.Request) -> bool:
    """Return whether the platform redirects without asking: inside the client, for nothing new, without `prompt`."""
    return (
        is_in_client(request)
        and consent.error is None
        and consent.prompt != "consent"
        and bool(person.granted)
        and person.granted.issuperset(consent.scopes)
        and person_error(tenant, person) is None
    )


# Decisions


def allow(tenant: Tenant, consent: Consent, person: Person, scopes: tuple[str, ...]) -> str | None:
    """Grant the scopes and return the redirect URL with a code; None for a device authorization."""
    consent.decided = True
    requested = frozenset(scopes)
    code = new_code(
        tenant,
        person,
        requested,
        redirect_uri=consent.redirect_uri,
        challenge=consent.challenge,
        challenge_method=consent.challenge_method,
    )
    announce_consent(tenant, consent, person, "allowed", scopes)
    if consent.device is not None:
        code.used = True
        consent.device.person = person.open_id
        return None
    return _redirect(consent, {"code": code.code})


def refuse(tenant: Tenant, consent: Consent, person: Person) -> str | None:
    """Record a refusal and return the redirect URL with `access_denied`; None for a device authorization."""
    consent.decided = True
    announce_consent(tenant, consent, person, "refused", consent.scopes)
    if consent.device is not None:
        consent.device.refused = True
        return None
    return _redirect(consent, {"error": "access_denied"})


def _redirect(consent: Consent, parameters: dict[str, str]) -> str:
    if consent.state is not None:
        parameters["state"] = consent.state
    return redirect_with(consent.redirect_uri, parameters)


def redirect_with(redirect_uri: str, parameters: dict[str, str]) -> str:
    """Return the redirect URL with parameters added to its query, before any fragment."""
    parts = urlsplit(redirect_uri)
    query = "&".join(filter(None, (parts.query, urlencode(parameters))))
    return urlunsplit(parts._replace(query=query))


def announce_consent(
    tenant: Tenant, consent: Consent, person: Person, event: str, scopes: tuple[str, ...]
) -> None:
    data = {
        "event": event,
        "consent_id": consent.consent_id,
        "person": person.open_id,
        "scopes": list(scopes),
    }
    tenant.feed.announce("consent", data)


def is_closed(tenant: Tenant, consent: Consent) -> bool:
    """Return whether the consent cannot be decided any more.

    One device authorization may have several consents, one for each opening of its page; a decision on any of them
    closes all.
    """
    if consent.device is not None:
        return not consent.device.is_open(tenant.clock.now())
    return consent.decided


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
    person = tenant.people.get(request.query.get("person") or request.cookies.get(PERSON_COOKIE, ""))
    already = person.granted if person else set()
    error = consent.error or (person_error(tenant, person) if person else None)
    page: Json = {
        "app": {"app_id": tenant.app.app_id, "name": tenant.app.name, "name_zh": tenant.app.name_zh},
        "person": person.open_id if person else None,
        "people": [_account(each) for each in tenant.people.values()],
        "scopes": [
            {"scope": s, "description": {"en": SCOPES[s].en, "zh": SCOPES[s].zh}}
            for s in consent.scopes
            if s in SCOPES and s not in already
        ],
        "already": [s for s in consent.scopes if s in already],
        "redirect_uri": consent.redirect_uri,
        "decided": is_closed(tenant, consent),
        "user_code": consent.device.user_code if consent.device else None,
    }
    if error is not None:
        page["error"] = {"code": error[0], "text": error[1]}
    return web.json_response(page)


def _account(person: Person) -> Json:
    return {
        "open_id": person.open_id,
        "name": person.name,
        "en_name": person.en_name,
        "avatar_color": person.avatar_color,
        "locale": person.locale,
    }


@routes.post("/sandbox/api/consents/{consent_id}")
async def decide(request: web.Request) -> web.Response:
    """{person, decision: allow | refuse, scopes?}; `scopes` limits what is allowed. A consent is decided once."""
    tenant = request.app[TENANT]
    consent = _consent(request)
    body = await request.json()
    person = tenant.people.get(str(body.get("person")))
    if person is None:
        return web.json_response({"error": "no such person"}, status=404)
    error = consent.error or person_error(tenant, person)
    if error is not None:
        return web.json_response({"error": f"{error[0]} {error[1]}"}, status=409)
    if is_closed(tenant, consent):
        return web.json_response(
            {"error": "this page was already decided, or its code has expired"}, status=409
        )
    if body.get("decision") == "refuse":
        return web.json_response({"redirect": refuse(tenant, consent, person)})
    if body.get("decision") != "allow":
        return web.json_response({"error": "decision is allow or refuse"}, status=400)
    scopes = tuple(body.get("scopes", consent.scopes))
    if not set(scopes) <= set(consent.scopes):
        return web.json_response({"error": "only scopes of the link can be allowed"}, status=400)
    return web.json_response({"redirect": allow(tenant, consent, person, scopes)})
