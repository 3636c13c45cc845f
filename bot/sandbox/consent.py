"""The authorize page: what it refuses to show, what it asks, and where the browser goes afterwards.

The page itself is part of the chat page (`/sandbox/consent?id=…`); it reads and decides a consent through the
routes here. Trouble with the request is an error on that page: the app is never called back for it.
"""

from urllib.parse import urlencode, urlsplit, urlunsplit

from aiohttp import web

from bot.sandbox.credentials import Consent
from bot.sandbox.gateway import TENANT
from bot.sandbox.scopes import SCOPES
from bot.sandbox.tenant import Json, Person, Tenant, new_id
from bot.sandbox.tokens import new_code

routes = web.RouteTableDef()

PERSON_COOKIE = "sandbox_person"
CLIENT_COOKIE = "sandbox_client"
"""Set while the browser stands in for the client's own. Cookies do not tell ports apart: the bot's pages are asked for
with it as well."""

SCOPES_PER_LINK = 50


@routes.get("/open-apis/authen/v1/authorize")
async def authorize(request: web.Request) -> web.Response:
    tenant = request.app[TENANT]
    consent = open_consent(tenant, dict(request.query))
    tenant.credentials.consents[consent.consent_id] = consent
    person = tenant.people.get(request.cookies.get(PERSON_COOKIE, ""))
    tenant.announce(
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


def open_consent(tenant: Tenant, query: dict[str, str]) -> Consent:
    """A consent for this link; with an `error` if the page would show one instead."""
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
    consent.error = trouble(tenant, query, consent)
    return consent


def trouble(tenant: Tenant, query: dict[str, str], consent: Consent) -> tuple[int, str] | None:
    """The page's error code and text. The order of these checks is not documented."""
    if (query.get("client_id") or query.get("app_id")) != tenant.app.app_id:
        return 20048, "The app does not exist."
    if not tenant.app.enabled or not tenant.app.installed:
        return 20009, "The app is not installed in your organization."
    if not is_registered(consent.redirect_uri, tenant.app.redirect_urls):
        return 20029, "重定向 URL 有误 (the redirect URL is not on the app's list)"
    # Links from before `client_id` carry no response_type.
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
    """Everything but query and fragment must equal an entry of the list."""
    asked = urlsplit(redirect_uri)
    if asked.scheme not in ("http", "https"):
        return False
    return any(urlsplit(entry)[:3] == asked[:3] for entry in registered)


def may_skip_page(tenant: Tenant, consent: Consent, person: Person, request: web.Request) -> bool:
    """Only inside the client, when nothing new is asked for and the link does not insist."""
    return (
        is_in_client(request)
        and consent.error is None
        and consent.prompt != "consent"
        and bool(person.granted)
        and person.granted.issuperset(consent.scopes)
        and not_for(tenant, person) is None
    )


def is_in_client(request: web.Request) -> bool:
    agent = request.headers.get("User-Agent", "")
    return "Lark/" in agent or "Feishu/" in agent or CLIENT_COOKIE in request.cookies


def not_for(tenant: Tenant, person: Person) -> tuple[int, str] | None:
    """Why this person cannot use the app at all, if so."""
    if person.tenant_key != tenant.app.tenant_key or not person.available or person.status != "active":
        return 20010, "This app is not available to you. Contact your administrator."
    return None


def back_to_app(redirect_uri: str, parameters: dict[str, str]) -> str:
    """The redirect URL with the parameters added to its query; a fragment stays behind the query."""
    parts = urlsplit(redirect_uri)
    query = "&".join(filter(None, (parts.query, urlencode(parameters))))
    return urlunsplit(parts._replace(query=query))


def allow(tenant: Tenant, consent: Consent, person: Person, scopes: tuple[str, ...]) -> str | None:
    """Grants, and says where the browser goes (None for a device)."""
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
    announce(tenant, consent, person, "allowed", scopes)
    if consent.device is not None:
        code.used = True
        consent.device.person = person.open_id
        return None
    return _redirect(consent, {"code": code.code})


def refuse(tenant: Tenant, consent: Consent, person: Person) -> str | None:
    consent.decided = True
    announce(tenant, consent, person, "refused", consent.scopes)
    if consent.device is not None:
        consent.device.refused = True
        return None
    return _redirect(consent, {"error": "access_denied"})


def _redirect(consent: Consent, parameters: dict[str, str]) -> str:
    if consent.state is not None:
        parameters["state"] = consent.state
    return back_to_app(consent.redirect_uri, parameters)


def announce(tenant: Tenant, consent: Consent, person: Person, event: str, scopes: tuple[str, ...]) -> None:
    data = {
        "event": event,
        "consent_id": consent.consent_id,
        "person": person.open_id,
        "scopes": list(scopes),
    }
    tenant.announce("consent", data)


# What the consent page reads and sends


def is_over(tenant: Tenant, consent: Consent) -> bool:
    """Decided before; for a device, on any page that was opened with its code, or too late."""
    if consent.device is not None:
        return not consent.device.is_open(tenant.clock.now())
    return consent.decided


def _consent(request: web.Request) -> Consent:
    consent = request.app[TENANT].credentials.consents.get(request.match_info["consent_id"])
    if consent is None:
        raise web.HTTPNotFound(text='{"error": "no such consent"}', content_type="application/json")
    return consent


@routes.get("/sandbox/api/consents/{consent_id}")
async def show(request: web.Request) -> web.Response:
    tenant = request.app[TENANT]
    consent = _consent(request)
    person = tenant.people.get(request.query.get("person") or request.cookies.get(PERSON_COOKIE, ""))
    already = person.granted if person else set()
    error = consent.error or (not_for(tenant, person) if person else None)
    answer: Json = {
        "app": {"app_id": tenant.app.app_id, "name": tenant.app.name, "name_zh": tenant.app.name_zh},
        "person": person.open_id if person else None,
        "people": [
            {
                "open_id": p.open_id,
                "name": p.name,
                "en_name": p.en_name,
                "avatar_color": p.avatar_color,
                "locale": p.locale,
            }
            for p in tenant.people.values()
        ],
        "scopes": [
            {"scope": s, "description": {"en": SCOPES[s].en, "zh": SCOPES[s].zh}}
            for s in consent.scopes
            if s in SCOPES and s not in already
        ],
        "already": [s for s in consent.scopes if s in already],
        "redirect_uri": consent.redirect_uri,
        "decided": is_over(tenant, consent),
        "user_code": consent.device.user_code if consent.device else None,
    }
    if error is not None:
        answer["error"] = {"code": error[0], "text": error[1]}
    return web.json_response(answer)


@routes.post("/sandbox/api/consents/{consent_id}")
async def decide(request: web.Request) -> web.Response:
    """Allow (all, or a part for tests) or refuse, as `person`. A page can be decided once."""
    tenant = request.app[TENANT]
    consent = _consent(request)
    body = await request.json()
    person = tenant.people.get(str(body.get("person")))
    if person is None:
        return web.json_response({"error": "no such person"}, status=404)
    error = consent.error or not_for(tenant, person)
    if error is not None:
        return web.json_response({"error": f"{error[0]} {error[1]}"}, status=409)
    if is_over(tenant, consent):
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


@routes.get("/sandbox/login")
async def login(request: web.Request) -> web.Response:
    """Makes this browser the person's, then goes on to a path of this site."""
    person = request.query.get("person", "")
    if person not in request.app[TENANT].people:
        return web.json_response({"error": "no such person"}, status=404)
    onward = request.query.get("next", "/")
    if not onward.startswith("/") or onward.startswith(("//", "/\\")):
        return web.json_response({"error": "next must be a path of this site"}, status=400)
    response = web.HTTPFound(onward)
    response.set_cookie(PERSON_COOKIE, person, samesite="Lax", httponly=True)
    raise response
