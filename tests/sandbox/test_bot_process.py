"""The process of the sandbox's bot."""

from pathlib import Path

import pytest

from bot import settings
from bot.sandbox.bot_process import BotProcess


def test_the_sandboxs_bot_gets_no_setting_of_another_bot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = {each.name for each in settings.TABLE} | set(settings.SECRET_FILES)
    for name in real:
        monkeypatch.setenv(name, "real")
    monkeypatch.setenv("LANG", "C.UTF-8")
    own = {"LARK_APP_ID": "cli_sandbox", "BOT_PORT": "1"}
    environment = BotProcess(own, tmp_path, lambda changed: None)._child_environment()
    assert {name: environment[name] for name in own} == own
    assert environment.keys() & real == own.keys() | {"BOT_DEFERRED_TTL"}
    assert "real" not in environment.values()
    assert environment["LANG"] == "C.UTF-8"
