"""What only an administrator can mend: a scope that the app does not have. The call waits, and goes on by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bot.core import replies
from bot.core.cards import AdministratorCard
from bot.core.model import DeferredCall, NotSent, Step, UserKey, WaitsFor, Words
from bot.core.scopes import Requirement, Scope, ScopeSet, choose_scopes
from bot.flows.bot import Bot, now
from bot.flows.delivery import Draft, deliver_all, draft, insert_all, note, typed
from bot.flows.waiting import suspend
from bot.store import audit, calls, outbox, scope_waits, users
from bot.store.database import Connection
from bot.store.outbox import OutgoingMessage
from bot.store.scope_waits import ScopeWait


async def wait_for(bot: Bot, call: DeferredCall, needs: Requirement, steps: Sequence[Step]) -> None:
    """Suspends a claimed call until the app has scopes for `needs`; tells its person, and the administrators once."""
    enabled = await bot.platform.enabled_scopes()
    scopes = to_enable(needs, enabled)
    moment = now()
    described = await bot.platform.describe_scopes(scopes)
    told = note(
        bot, call, replies.waiting_for_administrator(typed(call), in_words(described)), "administrator"
    )
    cards = await cards_for_administrators(bot, call, scopes)

    def work(c: Connection) -> list[OutgoingMessage]:
        suspend(c, call, steps, WaitsFor.ADMINISTRATOR, needs, None, moment)
        audit.write(
            c,
            "waits_for_administrator",
            user=call.user,
            subject=("call", call.id),
            now=moment,
            command=call.command,
            scopes=sorted(scopes),
        )
        wait_id, _ = scope_waits.open(c, bot.platform.name, bot.platform.app_id, scopes, moment)
        return insert_all(c, bot, [told, *cards(wait_id)])

    await deliver_all(bot, await bot.database.write(work))


def to_enable(needs: Requirement, enabled: ScopeSet | None) -> ScopeSet:
    """The preferred alternative of each clause that the app cannot meet (of all, when that cannot be told)."""
    lacking = choose_scopes(needs, frozenset(), enabled).unavailable or needs
    return frozenset(clause[0] for clause in lacking if clause)


def in_words(described: Mapping[Scope, Words]) -> Words:
    items = sorted(described.items())
    return Words(
        ", ".join(f"“{words.en}” ({scope})" for scope, words in items),
        "、".join(f"“{words.zh}”（{scope}）" for scope, words in items),
    )


class CardsOf:
    """Drafts of the administrators' cards; what they are about is known only inside the transaction."""

    def __init__(self, bot: Bot, admins: Sequence[UserKey], card: AdministratorCard) -> None:
        self.bot, self.admins, self.card = bot, admins, card

    def __call__(self, wait_id: str) -> list[Draft]:
        card = AdministratorCard(
            wait_id, self.card.scopes, self.card.waiting, self.card.commands, self.card.console_link
        )
        content = self.bot.platform.render_card(card)
        return [
            draft(
                self.bot,
                admin,
                content,
                kind="administrator_card",
                key=f"{wait_id}-{admin.open_id[-12:]}",
            )
            for admin in self.admins
        ]


async def cards_for_administrators(bot: Bot, call: DeferredCall, scopes: ScopeSet) -> CardsOf:
    admins = [bot.platform.user_key(each, call.user.tenant_key) for each in await bot.administrators()]
    names = await bot.database.read(lambda c: users.names(c, [call.user]))
    card = AdministratorCard(
        "",
        await bot.platform.describe_scopes(scopes),
        (names.get(call.user) or call.user.open_id,),
        (typed(call),),
        bot.platform.console_link(scopes),
    )
    return CardsOf(bot, admins, card)


async def look_again(bot: Bot, *, asked_by_administrator: bool = False) -> int:
    """Releases the calls whose scopes the app has by now; returns how many. Costs nothing while nobody waits."""
    platform = bot.platform

    def read(c: Connection) -> tuple[list[DeferredCall], list[ScopeWait]]:
        waiting = calls.waiting_for(c, WaitsFor.ADMINISTRATOR, platform.name, platform.app_id, limit=200)
        return waiting, scope_waits.waiting(c, platform.name, platform.app_id)

    waiting, waits = await bot.database.read(read)
    if not waiting and not waits:
        return 0
    enabled = await platform.enabled_scopes(fresh=True)
    ready = [call for call in waiting if may_go_on(call, enabled, asked=asked_by_administrator)]
    if ready:
        await bot.database.write(lambda c: calls.release(c, [call.id for call in ready], now()))
        bot.wake.calls.set()
    await tell_of_page_errors(bot, [call for call in waiting if call not in ready], enabled)
    if not asked_by_administrator:
        # Not for a click: its answer would undo what a card shows before it. The next look comes soon.
        await settle_waits(bot, waits, waiting, enabled)
    return len(ready)


def may_go_on(call: DeferredCall, enabled: ScopeSet | None, *, asked: bool) -> bool:
    """Whether a call that waits for the administrator is worth another try.

    One that the platform itself refused is tried again when the list says so, or cannot be read. One whose page
    showed an error (it still names its request) waits for the administrator's word, unless the list explains
    the error: then it goes on as one of the others.
    """
    lacking = enabled is not None and bool(choose_scopes(call.needs, frozenset(), enabled).unavailable)
    return asked or lacking if call.request_id is not None else not lacking


async def tell_of_page_errors(bot: Bot, waiting: Sequence[DeferredCall], enabled: ScopeSet | None) -> None:
    """Tells the administrators, once, of scopes for which the authorization page shows nothing but an error."""
    reported = {to_enable(call.needs, enabled): call for call in waiting if call.request_id is not None}
    for scopes, call in reported.items():
        cards = await cards_for_administrators(bot, call, scopes)

        def work(c: Connection, scopes: ScopeSet = scopes, cards: CardsOf = cards) -> list[OutgoingMessage]:
            wait_id, _ = scope_waits.open(c, bot.platform.name, bot.platform.app_id, scopes, now())
            return insert_all(c, bot, cards(wait_id))

        await deliver_all(bot, await bot.database.write(work))


async def settle_waits(
    bot: Bot, waits: Sequence[ScopeWait], waiting: Sequence[DeferredCall], enabled: ScopeSet | None
) -> None:
    """What is enabled, and what no call has come back to wait for, is done: the administrators' cards say so.

    A list may say "enabled" while the platform goes on refusing; then nobody is thanked, nor told anew.
    """
    needed = frozenset(scope for call in waiting for clause in call.needs for scope in clause)
    for wait in waits:
        if enabled is None or not wait.scopes <= enabled or not wait.scopes.isdisjoint(needed):
            continue

        if not await show_enabled(bot, wait):
            continue

        def work(c: Connection, wait: ScopeWait = wait) -> None:
            moment = now()
            if scope_waits.enabled(c, wait.id, moment):
                subject = ("scope_wait", wait.id)
                audit.write(
                    c, "scopes_enabled", user=None, subject=subject, now=moment, scopes=sorted(wait.scopes)
                )

        await bot.database.write(work)


async def show_enabled(bot: Bot, wait: ScopeWait) -> bool:
    """Changes the administrators' cards of a scope set that is enabled by now. False when it is to be tried again."""
    described = await bot.platform.describe_scopes(wait.scopes)
    card = AdministratorCard(wait.id, described, (), (), bot.platform.console_link(wait.scopes), done=True)
    content = bot.platform.render_card(card)
    shown = True
    for message_id in await bot.database.read(lambda c: outbox.message_ids(c, f"{wait.id}-")):
        problem = await bot.platform.update_card(message_id, content)
        shown = shown and not (isinstance(problem, NotSent) and problem.retry)
    return shown
