"""The commands that call DingTalk's APIs as the user, in the order of the help."""

from bot.core.builtin_commands import PlatformWords
from bot.core.commands import Command
from bot.dingtalk.commands.agenda import agenda
from bot.dingtalk.commands.openapi import call
from bot.dingtalk.commands.profile import me
from bot.dingtalk.commands.tasks import task, tasks
from bot.dingtalk.scope_kinds import SCOPE_SYNTAX
from bot.dingtalk.words import REVOKED, WHERE_TO_WITHDRAW

WORDS = PlatformWords(
    scopes=SCOPE_SYNTAX,
    authorize_example="/authorize Todo.Todo.Read Calendar.Event.Read",
    revoked=REVOKED,
    where_to_withdraw=WHERE_TO_WITHDRAW,
    has_plain_cards=True,
)

COMMANDS: tuple[Command, ...] = (me, agenda, tasks, task, call)
