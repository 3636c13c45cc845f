"""lark-oapi's catalogue: used without its client, and the oracle for the calls that our own commands make."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bot.core.api import ApiCall
from bot.core.command_testing import after
from bot.core.commands import Command
from bot.core.messages import Reply
from bot.lark import commands
from bot.lark.commands import COMMANDS
from bot.lark.sdk_requests import from_sdk_request, typed
from tests.bot_process import REPOSITORY

PACKAGES = {
    "none": None,
    "an old one": "import warnings; warnings.warn('pkg_resources is deprecated as an API', UserWarning)\n"
    "def declare_namespace(name): warnings.warn('Deprecated call', DeprecationWarning)",
    "one that cannot do it": "",
    "a broken one": "raise RuntimeError('cannot be imported')",
}
USE = """
import json, sys, time
from bot.lark.sdk_requests import from_sdk_request, typed
began = time.monotonic()
request = typed("calendar.v4").PrimaryCalendarRequest.builder().user_id_type("open_id").build()
task = typed("task.v2").InputTask.builder().summary("Pay").build()
request = typed("task.v2").CreateTaskRequest.builder().request_body(task).build()
call = from_sdk_request(request)
print(json.dumps([call.method, call.path, call.body, [each for each in sys.modules if each.startswith("lark_oapi")]]))
"""


@pytest.mark.parametrize("setuptools", PACKAGES)
def test_it_works_with_any_setuptools_and_leaves_nothing_half_imported(tmp_path: Path, setuptools: str):
    """The SDK's own import wants `pkg_resources` of setuptools, which is deprecated, and gone from newer ones."""
    source = PACKAGES[setuptools]
    if source is not None:
        (tmp_path / "pkg_resources.py").write_text(source)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", USE],
        env={"PYTHONPATH": f"{tmp_path}:{REPOSITORY}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout) == ["POST", "/open-apis/task/v2/tasks", {"summary": "Pay"}, []]


def test_beside_it_the_whole_sdk_can_be_imported():
    source = "import lark_oapi; lark_oapi.Client.builder(); lark_oapi.core.json.JSON; typed('im.v1')"
    code = (
        "import warnings; warnings.simplefilter('ignore'); from bot.lark.sdk_requests import typed; "
        f"typed('calendar.v4'); {source}"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def upload() -> Any:
    drive = typed("drive.v1")
    body = drive.UploadAllFileRequestBody.builder().file_name("a").file(io.BytesIO(b"content")).build()
    return drive.UploadAllFileRequest.builder().request_body(body).build()


def moment() -> Any:
    task = typed("task.v2")
    body = task.InputTask.builder().summary(datetime.now(UTC)).build()
    return task.CreateTaskRequest.builder().request_body(body).build()


def twice() -> Any:
    builder = typed("contact.v3").BatchUserRequest.builder()
    return builder.user_ids(["ou_1", "ou_2"]).build()


@pytest.mark.parametrize("made", [upload, moment, twice])
def test_what_no_call_can_hold_is_refused(made: Callable[[], Any]):
    with pytest.raises(ValueError, match="An ApiCall cannot contain"):
        from_sdk_request(made())


# --- the oracle ----------------------------------------------------------------------------------------------------

ANSWERS: dict[str, Any] = {
    "/open-apis/authen/v1/user_info": {"name": "Sam", "open_id": "ou_1"},
    "/open-apis/calendar/v4/calendars/primary": {
        "calendars": [{"calendar": {"calendar_id": "feishu.cn_x@group.calendar.feishu.cn", "summary": "Sam"}}]
    },
    "/open-apis/wiki/v2/spaces/get_node": {
        "node": {"obj_token": "doxcnAbc", "obj_type": "docx", "title": "Plan"}
    },
    "/open-apis/task/v2/tasks": {"items": [{"summary": "x"}], "has_more": True, "page_token": "p2"},
}
"""What the platform says under `data`, where an empty object would lead a command no further."""

ASKED: dict[str, tuple[str, ...]] = {
    "me": ("",),
    "agenda": ("", "tomorrow", "week"),
    "tasks": ("",),
    "task": ("Pay the invoice",),
    "doc": ("doxcnAbcdefghijklmnopqrstuv", "https://example.feishu.cn/wiki/wikcnAbcdefghijklmnopqrs"),
    "search": ("quarterly plan",),
    "call": (),
}
"""The arguments that bring out every call of a command. `/call` makes those that its user writes."""


def calls_of(command: Command, arguments: str) -> list[ApiCall]:
    made: list[ApiCall] = []
    results: list[Any] = []
    while not isinstance(move := after(command, arguments, *results), Reply):
        assert isinstance(move, ApiCall)
        made.append(move)
        results.append({"code": 0, "msg": "", "data": ANSWERS.get(move.path, {})})
    return made


CALLS = {
    f"{command.name} {call.method} {call.path} {number}": call
    for command in COMMANDS
    for arguments in ASKED[command.name]
    for number, call in enumerate(calls_of(command, arguments))
}


def test_every_address_in_a_command_is_among_the_calls():
    folder = Path(str(commands.__file__)).parent
    sources = "".join(
        file.read_text(encoding="utf-8") for file in folder.glob("*.py") if file.name != "openapi.py"
    )
    for written in re.findall(r'f?"(/open-apis/[^"]+)"', sources):
        pattern = re.sub(r"\\\{.*?\\\}", "[^/]+", re.escape(written))
        assert any(re.fullmatch(pattern, call.path) for call in CALLS.values()), written


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_lark_oapi_builds_the_same_request(call: ApiCall):
    """Method, path, names in the query and fields of the body: what the catalogue does not know is left out by it."""
    catalogue = typed(".".join(call.path.split("/")[2:4]))
    kind, paths = request_for(catalogue, call)
    builder = kind.builder()
    for name, value in paths.items():
        getattr(builder, name)(value)
    for name, value in call.query.items():
        getattr(builder, name)(value)
    if call.body is not None:
        builder.request_body(body_model(kind)(call.body))
    built = from_sdk_request(builder.build(), write=call.write, read=call.read)
    assert built == call


def request_for(catalogue: Any, call: ApiCall) -> tuple[Any, dict[str, str]]:
    """The catalogue's request with this method and path, and what stands for the path's parameters."""
    for name in dir(catalogue):
        if name.endswith("Request") and hasattr(getattr(catalogue, name), "builder"):
            request = getattr(catalogue, name).builder().build()
            parts, asked = str(getattr(request, "uri", "")).split("/"), call.path.split("/")
            fits = len(parts) == len(asked) and all(
                a == b or a.startswith(":") for a, b in zip(parts, asked, strict=True)
            )
            if fits and request.http_method.name == call.method:
                return getattr(catalogue, name), {
                    a[1:]: b for a, b in zip(parts, asked, strict=True) if a.startswith(":")
                }
    raise AssertionError(f"The catalogue has no {call.method} {call.path}.")


def body_model(kind: Any) -> Any:
    """The model that the request's builder takes as its body."""
    annotations = kind.builder().request_body.__annotations__
    return annotations["request_body"]
