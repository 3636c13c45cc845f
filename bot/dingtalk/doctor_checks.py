"""The requests that only `bot doctor` makes. Whether a result is good or bad is decided in `bot.doctor_dingtalk`."""

from __future__ import annotations

import json
from urllib.parse import quote

from bot.core.api import ApiCall, Outcome, Refused, Succeeded, Unreachable
from bot.core.secrets import Secret
from bot.dingtalk.api import CallAsApp
from bot.dingtalk.app import DingTalkApp
from bot.dingtalk.app_token import AppToken
from bot.dingtalk.error_codes import LEGACY_NOT_A_MEMBER
from bot.dingtalk.identities import BY_UNION_ID, CallLegacy
from bot.dingtalk.messages import CARDS, is_refused_with
from bot.dingtalk.oauth import OAuthClient
from bot.dingtalk.outcomes import outcome_of
from bot.dingtalk.stream_endpoint import request_address
from bot.dingtalk.webhook import SIGN, TIMESTAMP, signature_of
from bot.transport.http_client import HttpClient
from bot.transport.long_connection import CannotConnect

NO_USER = "bot-doctor"


async def check_credentials(token: AppToken) -> Outcome | None:
    """Return None if the app's credentials are accepted, else why not."""
    found = await token.get()
    return None if isinstance(found, Secret) else found


async def check_stream(http: HttpClient, api_url: str, client_id: str, secret: Secret) -> str | None:
    """Return None if the platform would open a long connection for these credentials, else why not.

    The ticket is not used: it expires after 90 seconds.
    """
    try:
        await request_address(http, api_url, client_id, secret)
    except CannotConnect as problem:
        return str(problem)
    return None


UNKNOWN_USER = frozenset({33012, 33013, 40003, 40031, 60003, LEGACY_NOT_A_MEMBER})
"""The directory's codes for a user who does not exist. They show that the app may look up members."""


async def check_lookups(call_legacy: CallLegacy) -> Outcome | None:
    """Return None if the app may look up members, else why not. Looks up a member who does not exist."""
    outcome = await call_legacy(ApiCall("POST", BY_UNION_ID, {}, {"unionid": NO_USER}))
    if isinstance(outcome, Succeeded):
        return None
    return None if isinstance(outcome, Refused) and outcome.code in UNKNOWN_USER else outcome


async def check_corp(http: HttpClient, app: DingTalkApp) -> Outcome | None:
    """Return None if the app belongs to the configured organization, else the outcome that says why not."""
    body = {"client_id": app.id, "client_secret": app.secret.reveal(), "grant_type": "client_credentials"}
    url = f"{app.api_url}/v1.0/oauth2/{quote(app.corp_id, safe='')}/token"
    response = await http.fetch("POST", url, body=body)
    if isinstance(response, Unreachable):
        return response
    outcome = outcome_of(response, "POST")
    return None if isinstance(outcome, Succeeded) else outcome


BY_USER_ID = "/topapi/v2/user/get"


async def check_member(call_legacy: CallLegacy, user_id: str) -> Outcome | None:
    """Return None if the user is a member of the organization, else the outcome that says why not."""
    outcome = await call_legacy(ApiCall("POST", BY_USER_ID, {}, {"userid": user_id}))
    return None if isinstance(outcome, Succeeded) else outcome


NO_SUCH_RECIPIENT = ("staffId.notExisted", "invalidParameter.userIds.invalid")


async def check_sending(call_as_app: CallAsApp, robot_code: str) -> Outcome | None:
    """Return None if the robot may send messages, else why not. The message is for a nonexistent user."""
    body = {
        "robotCode": robot_code,
        "userIds": [NO_USER],
        "msgKey": "sampleText",
        "msgParam": json.dumps({"content": "bot doctor"}),
    }
    outcome = await call_as_app(ApiCall("POST", "/v1.0/robot/oToMessages/batchSend", {}, body))
    if isinstance(outcome, Succeeded) or any(is_refused_with(outcome, code) for code in NO_SUCH_RECIPIENT):
        return None
    return outcome


def signed_message(app_secret: Secret, now: float) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a message that the bot ignores: one of a group, which does not mention it."""
    key, timestamp = app_secret.reveal(), str(int(now * 1000))
    body = json.dumps({"conversationType": "2", "isInAtList": False}).encode()
    headers = {TIMESTAMP: timestamp, SIGN: signature_of(key, f"{timestamp}\n{key}")}
    return body, {"Content-Type": "application/json; charset=utf-8", **headers}


async def open_login_page(http: HttpClient, oauth: OAuthClient, redirect_uri: str) -> int | Unreachable:
    """Open the authorization page as a browser would, without a user. Returns its HTTP status."""
    url = oauth.authorize_url(redirect_uri=redirect_uri, scopes=frozenset(), state="bot-doctor")
    response = await http.fetch("GET", url)
    return response if isinstance(response, Unreachable) else response.status


async def check_template(call_as_app: CallAsApp, template_id: str) -> Outcome | None:
    """Return None if the card template can be used, else why not. The card is for a nonexistent user, so it is not
    delivered."""
    body = {
        "cardTemplateId": template_id,
        "outTrackId": NO_USER,
        "callbackType": "STREAM",
        "userIdType": 1,
        "cardData": {"cardParamMap": {"title": ""}},
        "openSpaceId": f"dtv1.card//IM_ROBOT.{NO_USER}",
        "imRobotOpenSpaceModel": {"supportForward": False},
        "imRobotOpenDeliverModel": {"spaceType": "IM_ROBOT"},
    }
    outcome = await call_as_app(ApiCall("POST", f"{CARDS}/createAndDeliver", {}, body))
    usable = ("param.userIdNotExist", "param.cardAlreadyExist")
    if isinstance(outcome, Succeeded) or any(is_refused_with(outcome, code) for code in usable):
        return None
    return outcome
