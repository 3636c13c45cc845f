"""The commands that call DingTalk's APIs as the user, in the order of the help."""

from bot.core.commands import Command
from bot.dingtalk.commands.agenda import agenda
from bot.dingtalk.commands.openapi import call
from bot.dingtalk.commands.profile import me
from bot.dingtalk.commands.tasks import task, tasks

COMMANDS: tuple[Command, ...] = (me, agenda, tasks, task, call)
