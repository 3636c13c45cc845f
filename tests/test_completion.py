"""The scripts that complete the commands in a shell."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bot import cli

BASH = shutil.which("bash")


def script(shell: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "bot", "completion", shell],
        cwd=Path(__file__).resolve().parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("shell", cli.SHELLS)
def test_each_shell_has_a_script_that_knows_every_command(shell: str) -> None:
    written = script(shell)
    for word in ("explain", "errors", "stats", "forget", "since", "limit", "wide", "rotate", "backup"):
        assert word in written


@pytest.mark.skipif(BASH is None, reason="needs bash")
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["ex"], {"explain", "export"}),
        (["for"], {"forget"}),
        (["calls", "--s"], {"--since", "--status"}),
        (["stats", "--u"], {"--until", "--user"}),
        (["keys", "r"], {"rotate"}),
        (["db", ""], {"upgrade", "check", "backup"}),
        (["sandbox", "--platform", "d"], {"dingtalk"}),
        (["completion", "z"], {"zsh"}),
    ],
)
def test_bash_completes_commands_options_and_choices(
    tmp_path: Path, typed: list[str], expected: set[str]
) -> None:
    (tmp_path / "completion.sh").write_text(script("bash"), encoding="utf-8")
    words = ["bot", *typed]
    listed = " ".join(f"'{word}'" for word in words)
    asked = "\n".join(
        [
            f"source '{tmp_path}/completion.sh'",
            f"COMP_WORDS=({listed})",
            f"COMP_CWORD={len(words) - 1}",
            "function_of_bot=$(complete -p bot | sed 's/.*-F \\([^ ]*\\).*/\\1/')",
            f'"$function_of_bot" bot "{words[-1]}" "{words[-2]}"',
            'printf "%s\\n" "${COMPREPLY[@]}"',
        ]
    )
    done = subprocess.run([str(BASH), "-c", asked], capture_output=True, text=True, check=True)
    assert expected <= set(done.stdout.split()), done
    assert all(word.startswith(typed[-1]) for word in done.stdout.split())
