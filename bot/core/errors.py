"""The hierarchy of exceptions. Expected outcomes are values instead, such as `core.api.Outcome`.

BotError
├── ConfigurationError      the settings are wrong (exit code 2)
├── DatabaseNotReady        the database is missing or at another revision
├── CannotOpenSecret        none of the encryption keys opens a stored secret
├── BrokenPlugin            a command from another package cannot be used (`bot.plugins`)
├── CommandMistake          a command yields, returns or declares something invalid
└── LeaseLost               another worker has claimed the work
"""


class BotError(Exception):
    """Base class of the bot's exceptions."""

    hint: str = ""
    """What to do about it."""

    def __init__(self, message: str = "", hint: str = "") -> None:
        super().__init__(message or (self.__doc__ or "").strip())
        self.hint = hint or self.hint


class ConfigurationError(BotError):
    """The configuration is wrong. `problems` has one line for each problem."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class DatabaseNotReady(BotError):
    """The database is not at the revision that this program needs."""

    hint = "Run `bot db upgrade`."


class CannotOpenSecret(BotError):
    """None of the configured keys opens a stored secret."""

    hint = "Add the key that sealed it to BOT_ENCRYPTION_KEYS again, after the new one."


class CommandMistake(BotError):
    """A command does something invalid."""

    hint = "Fix the command; docs/commands.md describes what it may do."


class LeaseLost(BotError):
    """Another worker has claimed the work."""
