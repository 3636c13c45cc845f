"""The state of a claimed call while this process runs it."""

from __future__ import annotations

from dataclasses import dataclass, field

from bot.core.api import ApiCall, Json, Refused
from bot.core.calls import DeferredCall, Step
from bot.core.commands import (
    Ask,
    BotCall,
    CancelWaiting,
    Command,
    ConfirmWrite,
    EndGrant,
    Result,
    fingerprint,
)
from bot.core.scopes import ScopeSet, named
from bot.flows.bot import utc_now


@dataclass(slots=True)
class Run:
    """A claimed call, and its steps so far."""

    call: DeferredCall
    command: Command
    default_time_zone: str
    steps: list[Step] = field(default_factory=list)
    """Numbered from 0 without gaps. Only the last may have no result: a write that may have been sent."""
    unsafe: bool = False
    """Whether a write without an idempotency key is being sent. Interrupting the call would then lose its outcome."""
    used_grant: bool = False
    first_in_a_day: bool = False
    """Whether this is the first use of the grant in a day. Unused scopes are looked for only then."""

    @property
    def used_scopes(self) -> ScopeSet | None:
        """The scopes that the call is known to need. None if it did not use the grant."""
        needs = (*self.command.needs(self.call.arguments), *self.call.needs)
        return named(needs) if self.used_grant else None

    @property
    def ask(self) -> Ask:
        call = self.call
        return Ask(
            call.id,
            call.user,
            call.chat,
            call.arguments,
            call.asked_at,
            call.language,
            call.time_zone,
            self.default_time_zone,
        )

    @property
    def results(self) -> list[Result]:
        return [decode(step.result) for step in self.steps if step.result is not None]

    @property
    def pending(self) -> Step | None:
        """A write that may have been sent, and whose response is unknown. None if there is none."""
        return self.steps[-1] if self.steps and self.steps[-1].result is None else None

    @property
    def has_acted(self) -> bool:
        """Whether the call read or wrote something as the user."""
        return self.used_grant or (self.has_written and not self.command.urgent)

    @property
    def has_written(self) -> bool:
        return any(step.write and step.first_sent_at is not None for step in self.steps)

    def with_result(self, move: ApiCall | BotCall, result: Result) -> list[Step]:
        """Return the steps with one more result. It replaces a write that was recorded as sent."""
        before = self.steps[:-1] if self.pending else self.steps
        sent_at = self.pending.first_sent_at if self.pending else None
        match move:
            case ApiCall(write=write):
                is_write = write is not None
            case CancelWaiting() | EndGrant() | ConfirmWrite():
                # Carried out in the transaction that records it.
                is_write, sent_at = True, utc_now()
            case _:
                is_write = False
        return [*before, Step(len(before), fingerprint(move), is_write, sent_at, encode(result))]

    def add(self, move: ApiCall | BotCall, result: Result) -> None:
        self.steps = self.with_result(move, result)


def encode(result: Result) -> Json:
    if result.refused is None:
        return {"value": result.value}
    refused = result.refused
    return {"refused": [refused.code, refused.message, refused.log_id, refused.data]}


def decode(stored: Json) -> Result:
    if "refused" in stored:
        return Result(refused=Refused(*stored["refused"]))
    return Result(value=stored["value"])
