"""The tree of exceptions: surprises only. Expected outcomes are values (`model.Outcome` and its kin).

BotError
├── ConfigurationError      the settings are wrong; exit code 2
├── DatabaseNotReady        no database there, or at another revision; names the command that fixes it
├── CannotOpenSecret        a stored secret opens with none of the keys
├── BrokenPlugin            a command from another package cannot be used (`plugins`)
├── CommandMistake          a command yielded, returned or declared what it may not (`commands`)
└── LeaseLost               somebody else has taken over what this worker was doing
"""


class BotError(Exception):
    """Something the bot cannot go on with."""

    hint: str = ""
    """What to do about it, for the person who can."""

    def __init__(self, message: str = "", hint: str = "") -> None:
        super().__init__(message or (self.__doc__ or "").strip())
        self.hint = hint or self.hint


class ConfigurationError(BotError):
    """The configuration is wrong. `problems` holds one line for each."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class DatabaseNotReady(BotError):
    """The database is not at the revision that this program needs."""

    hint = "Run `bot db upgrade`."


class CannotOpenSecret(BotError):
    """A stored secret opens with none of the configured keys."""

    hint = "Put the key that sealed it back into BOT_ENCRYPTION_KEYS, after the new one."


class CommandMistake(BotError):
    """A command does what no command may."""

    hint = "Fix the command; docs/commands.md says what it may do."


class LeaseLost(BotError):
    """Another worker has taken over."""
