"""The commands for Lark and Feishu, in the order of the help."""

from bot.core.commands import Command
from bot.lark.commands.agenda import agenda
from bot.lark.commands.documents import doc
from bot.lark.commands.openapi import call
from bot.lark.commands.profile import me
from bot.lark.commands.search import search
from bot.lark.commands.tasks import task, tasks

COMMANDS: tuple[Command, ...] = (me, agenda, tasks, task, doc, search, call)
