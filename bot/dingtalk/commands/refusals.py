"""Refusals that a command explains itself: what happened, and what to do next."""

from __future__ import annotations

from bot.core.api import Refused
from bot.core.command_replies import paragraph
from bot.core.commands import ApiRefused
from bot.core.language import Words
from bot.core.messages import Reply
from bot.core.words.refusals import for_support
from bot.dingtalk.outcomes import code_of


def code_of_refusal(refused: ApiRefused) -> str:
    """Return the platform's code of a refusal, which is text."""
    data = refused.outcome.data
    return code_of(data) if isinstance(data, dict) else ""


def explained(outcome: Refused, title: Words, advice: Words) -> Reply:
    return Reply(title, (paragraph(advice), *for_support(outcome)), confidential=True)
