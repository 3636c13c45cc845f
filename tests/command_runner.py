"""Runs a command through the real replay, with results from the test, and reads its reply."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bot.core.api import ApiCall, Json, Refused
from bot.core.commands import Ask, BotCall, Command, Result, advance
from bot.core.language import Language
from bot.core.messages import Chat, Code, Reply, Span
from bot.core.people import UserKey

NOW = datetime(2026, 1, 5, 1, 30, tzinfo=UTC)
"""A Monday: 09:30 in Shanghai, and still Sunday evening in New York."""

WEI = UserKey("lark", "cli_a1b2c3d4e5f60718", "736588c92abc175d", "ou_11112222333344445555666677778888")


def ask(
    arguments: str = "", *, time_zone: str | None = None, key: str = "call-1", asked_at: datetime = NOW
) -> Ask:
    return Ask(key, WEI, Chat("oc_1", "direct"), arguments, asked_at, "en", time_zone)


@dataclass(frozen=True)
class Run:
    reply: Reply
    moves: list[ApiCall | BotCall]

    @property
    def calls(self) -> list[ApiCall]:
        return [move for move in self.moves if isinstance(move, ApiCall)]


def run(command: Command, asked: Ask | str, *results: Json | Refused) -> Run:
    """Run a command to its reply. Fails unless every result is used and every move has a result."""
    asked = ask(asked) if isinstance(asked, str) else asked
    recorded = [Result(refused=r) if isinstance(r, Refused) else Result(value=r) for r in results]
    moves: list[ApiCall | BotCall] = []
    for count in range(len(recorded) + 1):
        move = advance(command, asked, recorded[:count])
        if isinstance(move, Reply):
            assert count == len(recorded), f"Answered after {count} of {len(recorded)} results."
            return Run(move, moves)
        moves.append(move)
    raise AssertionError(f"Not finished: wants {moves[-1]}")


def run_with_answers(
    command: Command, asked: Ask, answers: Sequence[Json], check: Callable[[ApiCall], None]
) -> Reply | None:
    """Run a command on these answers of the platform, checking each call. Return its reply, or None without one."""
    results: list[Result] = []
    for answer in answers:
        move = advance(command, asked, results)
        if not isinstance(move, ApiCall):
            break
        check(move)
        results.append(Result(answer))
    return move if isinstance(move, Reply) else None


def said(reply: Reply, language: Language = "en") -> list[str]:
    """Return the title and every line as text, in one language."""
    title = [reply.title.to(language)] if reply.title else []
    return title + [line_text(line, language) for line in reply.lines]


def line_text(line: Code | Sequence[Span], language: Language = "en") -> str:
    if isinstance(line, Code):
        return line.text
    return "".join(span.text if isinstance(span.text, str) else span.text.to(language) for span in line)


def links(reply: Reply) -> list[str]:
    return [span.url for line in reply.lines if not isinstance(line, Code) for span in line if span.url]


def code(reply: Reply) -> str:
    (block,) = [line for line in reply.lines if isinstance(line, Code)]
    return block.text


def success(data: Json) -> Json:
    return {"code": 0, "msg": "success", "data": data}


def refused(number: int, message: str = "no", log_id: str | None = "20260105LOG") -> Refused:
    return Refused(number, message, log_id, {"code": number, "msg": message})


ODD: list[Json] = [
    {},
    None,
    [],
    "text",
    7,
    {"data": None},
    {"data": {}},
    {"data": []},
    {"data": "text"},
    {"code": 0, "data": {"items": None}},
    {"code": 0, "data": {"items": {"a": 1}, "res_units": 5, "calendars": "x", "node": [], "content": 5}},
    {
        "code": 0,
        "data": {"items": [None, 5, "x", [], {}], "res_units": [None, {}, 5], "calendars": [None, {}]},
    },
]
"""Successful responses without the expected fields."""
