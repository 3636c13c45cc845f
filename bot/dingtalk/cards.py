"""Renders cards, and answers to clicks. The words are in `core.words.cards`; those for this platform alone are here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from bot.core.api import Json
from bot.core.cards import (
    Action,
    AdministratorCard,
    AuthorizationCard,
    Card,
    ConfirmationCard,
    Face,
    UnusedCard,
)
from bot.core.language import Language, Words
from bot.core.messages import Content
from bot.core.scopes import Scope
from bot.core.times import Zone, format_moment
from bot.core.unseen_characters import one_line
from bot.core.words import cards as card_words
from bot.dingtalk import markdown
from bot.dingtalk.rendered_messages import (
    CARD,
    Button,
    RenderedMessage,
    card_values,
    content_of,
    parse_content,
)

MAX_SHOWN_SCOPES = 6
MAX_SHOWN_COMMANDS = 8
MAX_SHOWN_PEOPLE = 5

CANCEL_HINT = Words(en="/cancel to drop it.", zh="发送 /cancel 可取消。")

CONFIRM_HINT = Words(
    en="Send /confirm to run it, or /cancel to drop it.", zh="发送 /confirm 执行，发送 /cancel 取消。"
)

CHECK_HINT = Words(en="Once it's enabled, send /check.", zh="开通后请发送 /check。")

DECLINED_ON_PAGE_BODY = Words(
    en="{commands} {was_not} run. You can still authorize until {until}. Needed:",
    zh="{commands} 未执行。{until} 前仍可授权。需要以下权限：",
)
"""Names no button, because a plain card has only the link."""

EXPIRED_HINT = Words(en="Send the command again to retry.", zh="如需重试，请重新发送命令。")

ASK_ADMINISTRATOR_AFTER = Words(
    en="If the console asks for a new version, publish it too. Then have me check again: users who have to authorize "
    "once more get a new card. I also retry every few minutes.",
    zh="如果后台提示需要发布版本，请一并发布，然后让我重新检查：需要再次授权的用户会收到新的卡片。我也会每隔几分钟重试。",
)
"""The bot cannot read which scopes are enabled."""


def render_card(card: Card, language: Language, zone: Zone) -> Content:
    return content_of(CardRenderer(language, zone).render(card), CARD)


class CardRenderer:
    """Renders cards in one language. Times are in one zone, because no client shows them in its own."""

    def __init__(self, language: Language, zone: Zone) -> None:
        self._language, self._zone = language, zone

    def render(self, card: Card) -> RenderedMessage:
        match card:
            case AuthorizationCard():
                return self._authorization(card)
            case AdministratorCard():
                return self._administrator(card)
            case ConfirmationCard():
                return self._confirmation(card)
            case UnusedCard():
                return self._unused(card)

    def _say(self, words: Words, **values: object) -> str:
        return words.format(**values).to(self._language) if values else words.to(self._language)

    def _moment(self, at: datetime) -> Words:
        # Relative to a day long past, so that no date is shown as "today": cards are read on later days too.
        return format_moment(at, self._zone, self._zone.local(at).date() - timedelta(days=30))

    def _about(self, words: Words, card: AuthorizationCard) -> str:
        one = len(card.commands) < 2
        return self._say(
            words,
            commands=command_list(card.commands),
            was_not="wasn't" if one else "weren't",
            needs="needs" if one else "need",
            it="it" if one else "them",
            permissions="a permission" if len(card.scopes) == 1 else "permissions",
            until=self._moment(card.expires_at),
        )

    def _scopes(self, described: Mapping[Scope, Words], scopes: Iterable[Scope]) -> str:
        ordered = sorted(scopes)
        entries = [self._scope(scope, described.get(scope)) for scope in ordered[:MAX_SHOWN_SCOPES]]
        if len(ordered) > MAX_SHOWN_SCOPES:
            entries.append(self._say(card_words.AND_MORE, number=len(ordered) - MAX_SHOWN_SCOPES))
        return markdown.lines(entries)

    def _scope(self, scope: Scope, words: Words | None) -> str:
        name = markdown.escape(scope)
        if words is None or words.en == scope:
            return f"• {name}"
        return f"• {markdown.bold(one_line(self._say(words), 60))} · {name}"

    # --- authorization

    def _authorization(self, card: AuthorizationCard) -> RenderedMessage:
        match card.face:
            case Face.WAITING:
                return self._waiting(card)
            case Face.REDEEMING:
                return self._plain(card_words.REDEEMING_TITLE, self._about(card_words.REDEEMING_BODY, card))
            case Face.AUTHORIZED:
                scopes = self._scopes(card.scopes, card.granted or card.scopes)
                return self._plain(
                    card_words.AUTHORIZED_TITLE, self._about(card_words.AUTHORIZED_BODY, card), scopes
                )
            case Face.PARTLY:
                granted = self._scopes(card.scopes, card.granted)
                return self._plain(
                    card_words.PARTLY_TITLE,
                    *((self._say(card_words.PARTLY_GRANTED), granted) if granted else ()),
                    self._say(card_words.PARTLY_REFUSED),
                    self._scopes(card.scopes, card.refused),
                    status=self._say(card_words.PARTLY_AFTER),
                )
            case Face.DECLINED:
                refused = self._scopes(card.scopes, card.refused)
                return self._plain(
                    card_words.DECLINED_TITLE,
                    self._about(card_words.DECLINED_BODY, card),
                    *((self._say(card_words.PARTLY_REFUSED), refused) if refused else ()),
                )
            case Face.EXPIRED:
                return self._plain(
                    card_words.EXPIRED_TITLE,
                    self._about(card_words.EXPIRED_BODY, card),
                    buttons=(self._button(card_words.RETRY, Action.RETRY_EXPIRED, card.request_id),),
                    hint=EXPIRED_HINT,
                )
            case Face.SUPERSEDED:
                return self._plain(card_words.SUPERSEDED_TITLE, self._about(card_words.SUPERSEDED_BODY, card))
            case Face.ADMINISTRATOR:
                return self._plain(
                    card_words.ADMINISTRATOR_TITLE,
                    self._about(card_words.ADMINISTRATOR_BODY, card),
                    self._scopes(card.scopes, card.scopes),
                    status=self._say(card_words.ADMINISTRATOR_AFTER),
                    buttons=(self._button(card_words.CANCEL, Action.CANCEL, card.request_id),),
                    hint=CANCEL_HINT,
                )
            case Face.FAILED:
                body = self._about(card_words.FAILED_BODY, card)
                if card.failure:
                    body = markdown.escape(one_line(self._say(card.failure), 400))
                return self._plain(card_words.FAILED_TITLE, body)

    def _waiting(self, card: AuthorizationCard) -> RenderedMessage:
        declined = card.declined_on_page
        title = card_words.DECLINED_ON_PAGE_TITLE if declined else card_words.WAITING_TITLE
        why = DECLINED_ON_PAGE_BODY if declined else card_words.WAITING_WHY
        missing = [scope for scope in card.scopes if scope not in card.granted] or list(card.scopes)
        promise = self._say(card_words.WAITING_PROMISE, until=self._moment(card.expires_at))
        buttons: list[Button] = []
        if card.link:
            buttons.append(Button(self._say(card_words.AUTHORIZE), url=card.link, primary=True))
        buttons.append(self._button(card_words.NOT_NOW, Action.NOT_NOW, card.request_id))
        again = self._say(card.why_again) if card.why_again else ""
        return self._plain(
            title,
            again,
            self._about(why, card),
            self._scopes(card.scopes, missing),
            status="" if declined else promise,
            buttons=tuple(buttons),
            hint=CANCEL_HINT,
        )

    # --- the others

    def _administrator(self, card: AdministratorCard) -> RenderedMessage:
        scopes = self._scopes(card.scopes, card.scopes)
        if card.done:
            return self._plain(
                card_words.ADMINISTRATOR_DONE_TITLE, self._say(card_words.ADMINISTRATOR_DONE_BODY), scopes
            )
        if not card.waiting:
            return self._plain(card_words.ADMINISTRATOR_DROPPED_TITLE, scopes)
        body = self._say(
            card_words.ASK_ADMINISTRATOR_BODY,
            people=people_list(tuple(card.names.get(each, each) for each in card.waiting)),
            wants="wants" if len(card.waiting) == 1 else "want",
            commands=command_list(card.commands),
            these="this user permission" if len(card.scopes) == 1 else "these user permissions",
        )
        return self._plain(
            card_words.ASK_ADMINISTRATOR_TITLE,
            body,
            scopes,
            status=self._say(ASK_ADMINISTRATOR_AFTER),
            buttons=(
                Button(self._say(card_words.OPEN_CONSOLE), url=card.console_link, primary=True),
                self._button(card_words.CHECK_AGAIN, Action.CHECK_AGAIN, card.subject),
            ),
            hint=CHECK_HINT,
        )

    def _confirmation(self, card: ConfirmationCard) -> RenderedMessage:
        said = {
            "command": markdown.bold(one_line(card.command, 200)),
            "asked": self._moment(card.asked_at),
        }
        if card.confirmed is not None:
            title = card_words.CONFIRMED_TITLE if card.confirmed else card_words.DISCARDED_TITLE
            return self._plain(title, self._say(card_words.DECIDED_BODY, **said))
        return self._plain(
            card_words.CONFIRM_TITLE,
            self._say(card_words.CONFIRM_BODY, **said),
            buttons=(
                self._button(card_words.CONFIRM, Action.CONFIRM, card.call_id, primary=True),
                self._button(card_words.DISCARD, Action.DISCARD, card.call_id),
            ),
            hint=CONFIRM_HINT,
        )

    def _unused(self, card: UnusedCard) -> RenderedMessage:
        scopes = self._scopes(card.scopes, card.scopes)
        if card.answer is not None:
            return self._plain(card_words.UNUSED_TITLE, self._say(card.answer), scopes)
        return self._plain(
            card_words.UNUSED_TITLE,
            self._say(card_words.UNUSED_BODY),
            scopes,
            buttons=(
                self._button(card_words.GIVE_BACK, Action.GIVE_BACK, card.subject, primary=True),
                self._button(card_words.KEEP, Action.KEEP, card.subject),
            ),
        )

    # --- elements

    def _plain(
        self,
        title: Words,
        *paragraphs: str,
        status: str = "",
        buttons: tuple[Button, ...] = (),
        hint: Words | None = None,
    ) -> RenderedMessage:
        text = "\n\n".join(each for each in paragraphs if each)
        return RenderedMessage(
            self._say(title),
            text,
            status=status,
            buttons=buttons,
            plain_hint=self._say(hint) if hint else "",
        )

    def _button(self, words: Words, action: Action, subject: str, *, primary: bool = False) -> Button:
        return Button(self._say(words), action=action.value, subject=subject, primary=primary)


def command_list(names: tuple[str, ...]) -> Words:
    shown = [markdown.bold(one_line(name, 130)) for name in names[:MAX_SHOWN_COMMANDS]]
    if len(names) > MAX_SHOWN_COMMANDS:
        shown.append("…")
    return joined(shown) if shown else card_words.YOUR_REQUEST


def people_list(names: tuple[str, ...]) -> Words:
    """Return names as text, because a message cannot mention a user who is not in its chat."""
    words = joined([markdown.escape(one_line(each, 60)) for each in names[:MAX_SHOWN_PEOPLE]])
    rest = len(names) - MAX_SHOWN_PEOPLE
    return card_words.AND_OTHERS.format(people=words, rest=rest, all=len(names)) if rest > 0 else words


def joined(items: list[str]) -> Words:
    return Words(", ".join(items), "、".join(items))


def click_answer(toast: str, card: Content | None) -> Json:
    """Return the update of the clicked card. The platform has no toasts: the words become the card's status line."""
    values: dict[str, str] = {} if card is None else card_values(parse_content(card))
    values["tips"] = markdown.shorten(toast, 1000)
    return {
        "cardUpdateOptions": {"updateCardDataByKey": True, "updatePrivateDataByKey": True},
        "cardData": {"cardParamMap": values},
        "userPrivateData": {"cardParamMap": {}},
    }
