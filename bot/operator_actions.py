"""What operators do to one user: `bot revoke` and `bot forget`. Both act at the platform and in the database."""

from __future__ import annotations

import asyncio
from functools import partial

from bot.app import assembled
from bot.cli_output import Row
from bot.core.errors import BotError
from bot.core.grants import REVOKED_BY_OPERATOR
from bot.core.people import UserKey
from bot.flows import cards, reactions
from bot.flows.account import permissions
from bot.flows.account.permissions import Revoked
from bot.flows.authorize.token_revocation import revoke_due
from bot.flows.bot import Bot
from bot.operator_name import operator
from bot.settings import Settings
from bot.store import operator_queries, personal_data
from bot.store.personal_data import Erased
from bot.store.transaction import Connection


class NoSuchUser(BotError):
    """The user is not known, or not to the apps of these settings."""


def find_user(c: Connection, text: str) -> UserKey:
    """Return the user whom an operator names. A part of a name is not enough, because this cannot be undone."""
    found = operator_queries.find_user(c, text)
    if not found:
        raise NoSuchUser(f"{text!r} is not a user of the bot.")
    if len(found) > 1:
        listed = "; ".join(operator_queries.candidates(c, found))
        raise NoSuchUser(f"{text!r} matches several users: use the open_id. Choose one of: {listed}.")
    return found[0]


async def own_user(bot: Bot, text: str) -> UserKey:
    """Find a user of the apps of these settings."""
    found = await bot.database.view(lambda c: operator_queries.find_user(c, text))
    own = [each for each in found if each.app in bot.platforms]
    if len(own) == 1:
        return own[0]
    if found and not own:
        others = ", ".join(sorted({each.app for each in found}))
        raise NoSuchUser(f"{text!r} is known to another app only: run this with the settings of {others}.")
    return await bot.database.view(lambda c: find_user(c, text))


def described(c: Connection, text: str) -> str:
    """Return who the user is that an operator names, for the question whether they are meant."""
    (who,) = operator_queries.candidates(c, [find_user(c, text)])
    return who


# --- revoking ----------------------------------------------------------------------------------------------------


def revoke(settings: Settings, text: str) -> tuple[str, Row]:
    """End a grant here and at the platform, cancel waiting calls, and sign the user out.

    Returns what was done, in words and as data.
    """

    async def run() -> tuple[str, Row]:
        async with assembled(settings) as bot:
            await bot.database.enter(bot.worker, None)
            user = await own_user(bot, text)
            ended = await end_and_revoke(bot, user)
            unrevoked = await bot.database.read(lambda c: personal_data.unrevoked(c, user))
            return in_words(ended), {
                "user_key": str(user),
                "had_grant": ended.had_grant,
                "cancelled_calls": ended.cancelled,
                "signed_out_browsers": ended.signed_out,
                "unrevoked_tokens": unrevoked,
            }

    return asyncio.run(run())


async def end_and_revoke(bot: Bot, user: UserKey) -> Revoked:
    ended = await permissions.revoke(bot, user, REVOKED_BY_OPERATOR, sign_out=True, operator=operator())
    await asyncio.gather(*bot.background_tasks)
    await revoke_due(bot)
    await cards.show_due_cards(bot)
    return ended


def in_words(ended: Revoked) -> str:
    grant = "Grant ended here and at the platform." if ended.had_grant else "There was no active grant."
    return f"{grant} Cancelled calls: {ended.cancelled}. Browsers signed out: {ended.signed_out}."


# --- forgetting --------------------------------------------------------------------------------------------------

PATIENCE = 10.0
"""Seconds for which `bot forget` waits for the platform, and then for a running call."""
PAUSE = 0.5


class NotRevoked(BotError):
    """The platform has not confirmed the revocation."""

    hint = "The grant is ended here, and nothing is erased yet. Run this again, or add --unrevoked to erase anyway."


class StillRunning(BotError):
    """A command of the user is still running."""

    hint = "Nothing is erased yet. Run this again in a minute."


def forget(settings: Settings, text: str, *, unrevoked: bool) -> tuple[str, Row]:
    """Revoke a user's grant, then erase all that is stored about them. Returns what was done, in words and as data."""

    async def run() -> tuple[str, Row]:
        async with assembled(settings) as bot:
            await bot.database.enter(bot.worker, None)
            user = await own_user(bot, text)
            ended = await end_and_revoke(bot, user)
            left = await revoked(bot, user, 0.0 if unrevoked else PATIENCE)
            if left and not unrevoked:
                raise NotRevoked(f"The platform has not confirmed the revocation of {left} tokens.")
            await reactions.remove_due(bot)
            erased = await erase(bot, user)
            total = sum(erased.rows.values())
            sentence = (
                f"{in_words(ended)} Erased rows: {total}. The audit log names the user {erased.pseudonym}."
            )
            return sentence, {
                "pseudonym": erased.pseudonym,
                "had_grant": ended.had_grant,
                "unrevoked_tokens": left,
                "erased_rows": erased.rows,
            }

    return asyncio.run(run())


async def revoked(bot: Bot, user: UserKey, patience: float) -> int:
    """Wait until the platform has revoked a user's tokens. Returns how many are left."""
    give_up_at = asyncio.get_running_loop().time() + patience
    while left := await bot.database.read(lambda c: personal_data.unrevoked(c, user)):
        if asyncio.get_running_loop().time() >= give_up_at:
            return left
        await asyncio.sleep(PAUSE)
        await revoke_due(bot)
    return 0


async def erase(bot: Bot, user: UserKey) -> Erased:
    """Erase a user as soon as none of their calls is running: its worker would record what it has done."""
    give_up_at = asyncio.get_running_loop().time() + PATIENCE
    while True:
        work = partial(personal_data.erase, user=user, operator=operator())
        erased = await bot.database.write(work)
        if erased is not None:
            return erased
        if asyncio.get_running_loop().time() > give_up_at:
            raise StillRunning
        await asyncio.sleep(PAUSE)
