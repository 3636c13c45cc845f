"""Refusals that a command explains itself: what happened, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bot.core.command_replies import paragraph
from bot.core.commands import ApiRefused
from bot.core.language import Words
from bot.core.messages import Line, Reply
from bot.core.words.refusals import for_support


@dataclass(frozen=True, slots=True)
class Refusal:
    title: Words
    advice: Words


Refusals = Mapping[int, Refusal]
"""Refusals by the platform's code."""


def explain(refused: ApiRefused, known: Refusals, *about: Line) -> Reply:
    """Return the reply to a `known` refusal. Reraises any other refusal, which then gets the general explanation."""
    refusal = known.get(refused.outcome.code)
    if refusal is None:
        raise refused
    lines = (*about, paragraph(refusal.advice), *for_support(refused.outcome))
    return Reply(refusal.title, lines, confidential=True)
