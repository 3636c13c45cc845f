"""The commands for Lark and Feishu, in the order of the help."""

from bot.core.builtin_commands import PlatformWords
from bot.core.commands import Command
from bot.lark.commands.agenda import agenda
from bot.lark.commands.documents import doc
from bot.lark.commands.openapi import call
from bot.lark.commands.profile import me
from bot.lark.commands.search import search
from bot.lark.commands.tasks import task, tasks
from bot.lark.scope_syntax import SCOPE_SYNTAX

WORDS = PlatformWords(SCOPE_SYNTAX, "/authorize calendar:calendar:readonly task:task:read")

COMMANDS: tuple[Command, ...] = (me, agenda, tasks, task, doc, search, call)
