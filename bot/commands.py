"""Everything that a command may import: `from bot.commands import ApiCall, Reply, Words, command`.

The names come from `bot.core`; this module keeps them stable for commands of other packages. docs/commands.md explains
how to write a command.
"""

from bot.core.api import ApiCall, Json, Refused, Write
from bot.core.command_replies import how_to_use, listed, paragraph
from bot.core.command_testing import after
from bot.core.commands import (
    ApiRefused,
    Ask,
    CancelWaiting,
    EndGrant,
    ReadGrant,
    RequireScopes,
    Steps,
    command,
    with_names,
)
from bot.core.language import Words
from bot.core.messages import Code, Reply, Span
from bot.core.pagination import read_pages
from bot.core.scopes import Requirement, all_of, any_of
from bot.core.unseen_characters import one_line

__all__ = [
    "ApiCall",
    "ApiRefused",
    "Ask",
    "CancelWaiting",
    "Code",
    "EndGrant",
    "Json",
    "ReadGrant",
    "Refused",
    "Reply",
    "RequireScopes",
    "Requirement",
    "Span",
    "Steps",
    "Words",
    "Write",
    "after",
    "all_of",
    "any_of",
    "command",
    "how_to_use",
    "listed",
    "one_line",
    "paragraph",
    "read_pages",
    "with_names",
]
