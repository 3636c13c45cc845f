"""What a person reports of the platform's page, which never calls back: the error that it shows.

Only what the platform itself confirms is told to an administrator as a fact. Everything else is told as what it is: a
report of a user.
"""

from __future__ import annotations

from bot.core import replies
from bot.core.cards import PageError
from bot.core.model import AuthorizationRequest, Reply, Words
from bot.core.scopes import OFFLINE_ACCESS
from bot.flows import administrators, alternatives
from bot.flows.bot import Bot, now
from bot.flows.delivery import Draft, deliver_all, draft, insert_all
from bot.store import audit, events, users
from bot.store.database import Connection
from bot.store.outbox import OutgoingMessage


async def page_error(bot: Bot, request: AuthorizationRequest, error: PageError) -> bool | None:
    """Acts on an error of the page. None: something else is asked for, or the administrator enables what is missing.

    Else the administrators are told what the person says; False when that is not possible.
    """
    if error is PageError.SCOPE:
        enabled = await alternatives.in_time(bot.platform.enabled_scopes(fresh=True))
        if await alternatives.ask_otherwise_now(bot, request, enabled, "page_error_reported"):
            return None
        scopes = request.scopes - {OFFLINE_ACCESS}
        words = administrators.in_words(await bot.platform.describe_scopes(scopes))
        found = replies.scopes_enabled(words) if enabled is not None else replies.scopes_unknown(words)
        return await tell(bot, request, error, found)
    if error is PageError.REDIRECT and not bot.by_device:
        registered = await alternatives.in_time(bot.platform.redirect_urls())
        return await tell(bot, request, error, redirects(bot, registered))
    check = replies.PAGE_ERROR_CHECK.get(error, replies.PAGE_ERROR_CHECK[PageError.OTHER])
    return await tell(bot, request, error, check)


def redirects(bot: Bot, registered: frozenset[str] | None) -> Words:
    """What the app's list of redirect URLs says of those that the bot uses."""
    ours = (bot.callback_url, bot.client_url)
    missing = [url for url in ours if registered is not None and url not in registered]
    if missing:
        return replies.redirects_missing(missing)
    return replies.redirects_registered(ours) if registered is not None else replies.redirects_unknown(ours)


async def tell(bot: Bot, request: AuthorizationRequest, error: PageError, found: Words) -> bool:
    """Tells the administrators, once for each request and error. False when there are none, or they know enough."""
    user, moment = request.user, now()
    admins = await bot.administrators()
    profile = await bot.database.read(lambda c: users.profile(c, user))
    name = (profile.name if profile is not None else None) or user.open_id
    commands = tuple(f"/{name}" for name in request.reasons)
    reply = replies.page_error_reported(name, error, commands, found)

    def work(c: Connection) -> list[OutgoingMessage] | None:
        once = f"{error.value}-{request.id}"
        if events.is_known(c, user.platform, user.app_id, once):
            return []
        if not admins or not administrators.take_place(c, bot, user, moment):
            return None
        events.record(c, user.platform, user.app_id, once, moment)
        subject = ("request", request.id)
        audit.write(c, "page_error_reported", user=user, subject=subject, now=moment, error=error.value)
        return insert_all(c, bot, [notice(bot, request, error, admin, reply) for admin in admins])

    messages = await bot.database.write(work)
    if messages:
        bot.background(deliver_all(bot, messages))
    return messages is not None


def notice(bot: Bot, request: AuthorizationRequest, error: PageError, admin: str, reply: Reply) -> Draft:
    key = f"{request.id}-{error.value[0]}/{admin[-12:]}"
    user = bot.platform.user_key(admin, request.user.tenant_key)
    return draft(bot, user, bot.platform.render_reply(reply), kind="notice", key=key)
