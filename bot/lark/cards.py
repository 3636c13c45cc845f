"""Renders cards as Card JSON 2.0, and answers to clicks. The words are in `core.words.cards`."""

from __future__ import annotations

import json
from collections.abc import Iterable

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
from bot.core.language import Words
from bot.core.messages import Content
from bot.core.scopes import OFFLINE_ACCESS, Scope
from bot.core.words import cards as card_words
from bot.lark.card_elements import (
    LOCALES,
    MAX_BYTES,
    button,
    command_list,
    encoded_size,
    escape,
    escape_words,
    frame,
    grey_note,
    grey_note_with_time,
    inline_scope,
    joined,
    link_button,
    local_time,
    markdown,
    mention_people,
    row,
    scope_list,
    to_json,
)


def render_card(card: Card) -> Content:
    """Render a card. Descriptions of scopes are shortened if it would exceed the size limit."""
    for max_length in (120, 60, 24, 0):
        body = to_json(render_json(card, max_length))
        if encoded_size(body) <= MAX_BYTES:
            break
    return Content("interactive", body)


def render_json(card: Card, max_length: int) -> Json:
    match card:
        case AuthorizationCard():
            return render_authorization(card, max_length)
        case AdministratorCard():
            return render_administrator(card, max_length)
        case ConfirmationCard():
            return render_confirmation(card)
        case UnusedCard():
            return render_unused(card, max_length)


def render_authorization(card: AuthorizationCard, max_length: int) -> Json:
    def listed(scopes: Iterable[Scope]) -> list[Json]:
        return scope_list(card.scopes, scopes, max_length)

    match card.face:
        case Face.WAITING:
            return render_waiting(card, max_length)
        case Face.REDEEMING:
            return frame(card_words.REDEEMING_TITLE, "blue", text(card, card_words.REDEEMING_BODY))
        case Face.AUTHORIZED:
            granted = listed(without_implied(card.granted or card.scopes))
            return frame(
                card_words.AUTHORIZED_TITLE, "green", text(card, card_words.AUTHORIZED_BODY), *granted
            )
        case Face.PARTLY:
            partly_granted = without_implied(card.granted)
            return frame(
                card_words.PARTLY_TITLE,
                "yellow",
                *([markdown(card_words.PARTLY_GRANTED), *listed(partly_granted)] if partly_granted else []),
                markdown(card_words.PARTLY_REFUSED),
                *listed(without_implied(card.refused)),
                grey_note(card_words.PARTLY_AFTER),
            )
        case Face.DECLINED:
            refused = listed(without_implied(card.refused))
            return frame(
                card_words.DECLINED_TITLE,
                "grey",
                text(card, card_words.DECLINED_BODY),
                *([markdown(card_words.PARTLY_REFUSED), *refused] if refused else []),
            )
        case Face.EXPIRED:
            return frame(
                card_words.EXPIRED_TITLE,
                "grey",
                text(card, card_words.EXPIRED_BODY),
                row(button(card_words.RETRY, Action.RETRY_EXPIRED, card.request_id, size="small")),
            )
        case Face.SUPERSEDED:
            return frame(card_words.SUPERSEDED_TITLE, "grey", text(card, card_words.SUPERSEDED_BODY))
        case Face.ADMINISTRATOR:
            return frame(
                card_words.ADMINISTRATOR_TITLE,
                "orange",
                text(card, card_words.ADMINISTRATOR_BODY),
                *listed(without_implied(card.scopes)),
                row(button(card_words.CANCEL, Action.CANCEL, card.request_id, size="small")),
                grey_note(card_words.ADMINISTRATOR_AFTER),
            )
        case Face.FAILED:
            body = text(card, card_words.FAILED_BODY)
            if card.failure:
                body = markdown(escape_words(card.failure, 400))
            return frame(card_words.FAILED_TITLE, "red", body)


def render_waiting(card: AuthorizationCard, max_length: int) -> Json:
    """Render the card of an open request: asking for consent, or which error the platform's page shows.

    After a refusal on the page it asks less prominently.
    """
    if card.asks_which_error:
        return frame(
            card_words.WHICH_ERROR_TITLE,
            "blue",
            markdown(card_words.WHICH_ERROR_BODY),
            row(*(button(words, action, card.request_id, size="small") for words, action in PAGE_ERRORS)),
            *authorize_controls(card, "default"),
            row(button(card_words.NOT_NOW, Action.NOT_NOW, card.request_id, size="small")),
        )
    why_again = [markdown(card.why_again)] if card.why_again else []
    requested = scope_list(card.scopes, missing_scopes(card), max_length)
    if card.declined_on_page:
        return frame(
            card_words.DECLINED_ON_PAGE_TITLE,
            "grey",
            *why_again,
            text(card, card_words.DECLINED_ON_PAGE_BODY),
            *requested,
            *authorize_controls(card, "default"),
            secondary_controls(card),
        )
    return frame(
        card_words.WAITING_TITLE,
        "blue",
        *why_again,
        text(card, card_words.WAITING_WHY),
        *requested,
        *authorize_controls(card, "primary"),
        secondary_controls(card),
        *already_granted(card, max_length),
        grey_note_with_time(waiting_note(card), card.expires_at),
    )


def text(card: AuthorizationCard, words: Words) -> Json:
    """Return text as markdown, with the card's commands filled in."""
    one = len(card.commands) < 2
    return markdown(
        words.format(
            commands=command_list(card.commands),
            was_not="wasn't" if one else "weren't",
            needs="needs" if one else "need",
            permissions="a permission" if len(without_implied(card.scopes)) == 1 else "permissions",
            it="it" if one else "them",
            until=local_time(card.expires_at),
        )
    )


def without_implied(scopes: Iterable[Scope]) -> list[Scope]:
    """Return the scopes without `offline_access`, which is implied, unless it is the only one."""
    scopes = list(scopes)
    return [scope for scope in scopes if scope != OFFLINE_ACCESS] or scopes


def missing_scopes(card: AuthorizationCard) -> list[Scope]:
    return without_implied(scope for scope in card.scopes if scope not in card.granted)


def already_granted(card: AuthorizationCard, max_length: int) -> list[Json]:
    """Return a note that lists the scopes that are already granted and requested again; nothing if there are none."""
    scopes = sorted(scope for scope in card.scopes if scope in card.granted and scope != OFFLINE_ACCESS)
    names = [inline_scope(scope, card.scopes[scope], max_length) for scope in scopes]
    return [grey_note(card_words.ALREADY_GRANTED.format(scopes=joined(names)))] if names else []


def waiting_note(card: AuthorizationCard) -> Words:
    stays = card.stays_signed_in and OFFLINE_ACCESS not in missing_scopes(card)
    return card_words.WAITING_PROMISE + card_words.STAYS_SIGNED_IN if stays else card_words.WAITING_PROMISE


PAGE_ERRORS = (
    (card_words.ERROR_SCOPE, Action.PAGE_ERROR_SCOPE),
    (card_words.ERROR_REDIRECT, Action.PAGE_ERROR_REDIRECT),
    (card_words.ERROR_APP, Action.PAGE_ERROR_APP),
    (card_words.ERROR_OTHER, Action.PAGE_ERROR_OTHER),
)
"""The errors that the platform's page may show instead of asking for consent."""


def authorize_controls(card: AuthorizationCard, kind: str) -> list[Json]:
    """Return the link to the consent page; or the button that requests one, below a note about the last attempt."""
    if card.link:
        return [link_button(card_words.AUTHORIZE, card.link, kind)]
    if card.device_link:
        code, until = escape(card.device_link.user_code.reveal(), 40), local_time(card.device_link.expires_at)
        return [
            markdown(card_words.DEVICE_CODE.format(code=code, until=until)),
            link_button(card_words.OPEN_PLATFORM_PAGE, card.device_link.url.reveal(), kind),
        ]
    fetch = button(card_words.AUTHORIZE, Action.AUTHORIZE, card.request_id, kind)
    return [markdown(card.notice), fetch] if card.notice else [fetch]


def secondary_controls(card: AuthorizationCard) -> Json:
    """Return the secondary controls: "Not now" and, once the link was opened, help with errors on the page."""
    not_now = button(card_words.NOT_NOW, Action.NOT_NOW, card.request_id, size="small")
    if not card.opened:
        return row(not_now)
    return row(
        not_now, button(card_words.PAGE_ERROR, Action.PAGE_ERROR, card.request_id, kind="text", size="small")
    )


def render_administrator(card: AdministratorCard, max_length: int) -> Json:
    scopes = scope_list(card.scopes, card.scopes, max_length)
    if card.done:
        return frame(
            card_words.ADMINISTRATOR_DONE_TITLE,
            "green",
            markdown(card_words.ADMINISTRATOR_DONE_BODY),
            *scopes,
        )
    if not card.waiting:
        return frame(card_words.ADMINISTRATOR_DROPPED_TITLE, "grey", *scopes)
    values = {
        "people": mention_people(card.waiting),
        "wants": "wants" if len(card.waiting) == 1 else "want",
        "commands": command_list(card.commands),
        "these": "this user permission" if len(card.scopes) == 1 else "these user permissions",
    }
    return frame(
        card_words.ASK_ADMINISTRATOR_TITLE,
        "orange",
        markdown(card_words.ASK_ADMINISTRATOR_BODY.format(**values)),
        *scopes,
        link_button(card_words.OPEN_CONSOLE, card.console_link),
        row(
            *([button(card_words.APPLY, Action.APPLY, card.subject, size="small")] if card.can_apply else []),
            button(card_words.CHECK_AGAIN, Action.CHECK_AGAIN, card.subject, size="small"),
        ),
        grey_note(card_words.ASK_ADMINISTRATOR_AFTER),
    )


def render_confirmation(card: ConfirmationCard) -> Json:
    values = {"command": f"**{escape(card.command, 200)}**", "asked": local_time(card.asked_at)}
    if card.confirmed is not None:
        title = card_words.CONFIRMED_TITLE if card.confirmed else card_words.DISCARDED_TITLE
        return frame(title, "grey", markdown(card_words.DECIDED_BODY.format(**values)))
    return frame(
        card_words.CONFIRM_TITLE,
        "yellow",
        markdown(card_words.CONFIRM_BODY.format(**values)),
        row(
            button(card_words.CONFIRM, Action.CONFIRM, card.call_id, kind="primary"),
            button(card_words.DISCARD, Action.DISCARD, card.call_id),
        ),
    )


def render_unused(card: UnusedCard, max_length: int) -> Json:
    scopes = scope_list(card.scopes, card.scopes, max_length)
    if card.answer is not None:
        return frame(card_words.UNUSED_TITLE, "grey", markdown(card.answer), *(scopes if card.scopes else []))
    return frame(
        card_words.UNUSED_TITLE,
        "blue",
        markdown(card_words.UNUSED_BODY),
        *scopes,
        row(
            button(card_words.GIVE_BACK, Action.GIVE_BACK, card.subject, kind="primary"),
            button(card_words.KEEP, Action.KEEP, card.subject),
        ),
    )


def click_answer(toast: Words, kind: str, card: Content | None) -> Json:
    """https://open.feishu.cn/document/uAjLw4CM/ukzMukzMukzM/feishu-cards/card-callback-communication"""
    i18n = {locale: toast.to(language) for locale, language in LOCALES.items()}
    answer: Json = {"toast": {"type": kind, "content": toast.en, "i18n": i18n}}
    if card is not None:
        answer["card"] = {"type": "raw", "data": json.loads(card.body)}
    return answer
