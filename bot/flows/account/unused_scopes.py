"""Scopes that have not been used for a long time: the bot offers to drop them, and drops them if the user agrees.

A refresh may ask for fewer scopes, to which the new tokens are then limited. The platform remembers the consent, but the
bot asks again before it uses the scopes again.
"""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta

from bot.core.cards import UnusedCard
from bot.core.grants import Grant, GrantStatus
from bot.core.messages import Destination
from bot.core.people import UserKey
from bot.core.scopes import OFFLINE_ACCESS, ScopeSet
from bot.flows import tokens
from bot.flows.bot import Bot, utc_now
from bot.flows.outbox import deliver_all, draft, insert_all
from bot.store import audit, granted_scopes, grants, requests, users
from bot.store.ids import new_id
from bot.store.outbox import OutgoingMessage
from bot.store.transaction import Connection

UNUSED_FOR = timedelta(days=60)
OFFER_INTERVAL = timedelta(days=90)


def is_first_use_today(grant: Grant) -> bool:
    """Return whether this is the first use of a grant in a day. Unused scopes are looked for only then."""
    return grant.last_used_at is None or utc_now() - grant.last_used_at > timedelta(days=1)


def time_of_offer(subject: str) -> datetime:
    """Return the time of an offer from the subject of its controls, or the current time if the subject is not a time."""
    now = utc_now()
    with contextlib.suppress(ValueError):
        offered = datetime.fromisoformat(subject)
        return min(offered, now) if offered.tzinfo else now
    return now


def unused_scopes_of(c: Connection, user: UserKey, at: datetime) -> ScopeSet:
    """Return the granted scopes that no call of the user has used for `UNUSED_FOR` before that time."""
    grant = grants.find(c, user)
    if grant is None or grant.status is not GrantStatus.ACTIVE or grant.refresh_token is None:
        return frozenset()
    before = at - UNUSED_FOR
    unused = frozenset(
        record.scope
        for record in granted_scopes.of_user(c, user).values()
        # The platform adds a scope that no command has asked for to any token, so dropping it has no effect.
        if record.asked_by
        and record.scope != OFFLINE_ACCESS
        and (record.used_at or record.granted_at) < before
    )
    return unused & grant.scopes


async def offer(bot: Bot, user: UserKey) -> None:
    """Offer to drop unused scopes, at most every `OFFER_INTERVAL`, where the platform can drop some of them."""
    if bot.platform_of(user).narrowing is None:
        return
    now = utc_now()
    scopes = await bot.database.read(lambda c: unused_scopes_of(c, user, now))
    if not scopes:
        return
    platform = bot.platform_of(user)
    described = await platform.describe_scopes(scopes)
    language = await bot.database.read(lambda c: users.language(c, user))
    card = platform.render_card(UnusedCard(described, subject=now.isoformat()), language)
    message = draft(Destination(user), card, kind="notice", key=f"{new_id(now)}-unused")

    def work(c: Connection) -> list[OutgoingMessage]:
        if is_muted(c, user) or not users.offer(c, user, now, now - OFFER_INTERVAL):
            return []
        audit.write(c, "unused_scopes_offered", user=user, now=now, scopes=sorted(scopes))
        return insert_all(c, bot, [message])

    await deliver_all(bot, await bot.database.write(work))


def is_muted(c: Connection, user: UserKey) -> bool:
    """Return whether the user has declined a request, which mutes unsolicited messages until they consent."""
    profile, live = users.profile(c, user), requests.live_of(c, user)
    declined = profile is not None and profile.quiet_since is not None
    return declined or (live is not None and live.declined_on_page_at is not None)


async def drop_unused(bot: Bot, user: UserKey, offered_at: datetime) -> None:
    """Narrow the tokens to the scopes that are used. Nothing changes if the platform cannot do that now."""
    scopes = await bot.database.read(lambda c: unused_scopes_of(c, user, offered_at))
    narrowed = await tokens.narrow(bot, user, without=scopes) if scopes else None
    if narrowed is None:
        return
    dropped = scopes - narrowed.scopes

    def work(c: Connection) -> None:
        if not grants.forget_scopes(c, narrowed, dropped):
            return
        granted_scopes.forget(c, user, dropped)
        audit.write(c, "scopes_given_back", user=user, now=utc_now(), scopes=sorted(dropped))

    await bot.database.write(work)
