"""The arrows: who may import what. Read from the source, so that a forbidden import is found wherever it stands."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "bot"

MAY_IMPORT = {
    "core": {"bot.core"},
    "flows": {"bot.flows", "bot.store", "bot.core"},
    "web": {"bot.web", "bot.flows", "bot.store.operator_queries", "bot.core"},
    "store": {"bot.store", "bot.core"},
    "transport": {"bot.transport", "bot.core"},
    "lark": {"bot.lark", "bot.transport", "bot.core"},
    "dingtalk": {"bot.dingtalk", "bot.transport", "bot.core"},
    "sandbox": {"bot.sandbox"},
}
"""What of `bot` each folder may import. What lies beside the folders is the composition root and may import all."""

MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = [*MODULES, *sorted((ROOT / "migrations").rglob("*.py"))]


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


def folder_of(file: Path) -> str:
    inside = file.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else ""


@cache
def imports(file: Path) -> frozenset[str]:
    """Every module that a file imports, anywhere in it; `from a import b` counts as `a` and as `a.b`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name_of(file).split(".")[: -node.level]
                base = ".".join([*package, *([base] if base else [])])
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return frozenset(found)


def within(module: str, allowed: set[str]) -> bool:
    """Whether a module is one of the allowed, lies below one, or is a package on the way to one."""
    return any(
        module == each or module.startswith(f"{each}.") or each.startswith(f"{module}.") for each in allowed
    )


def top_level(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_arrows_point_down(file: Path) -> None:
    folder = folder_of(file)
    if not folder:
        return
    assert folder in MAY_IMPORT, f"bot/{folder} has no arrows yet: say what it may import."
    wrong = {
        each for each in imports(file) if top_level(each) == "bot" and not within(each, MAY_IMPORT[folder])
    }
    assert not wrong


SANDBOX = PACKAGE / "sandbox"


@pytest.mark.parametrize("file", sorted(SANDBOX.rglob("*.py")), ids=name_of)
def test_the_sandbox_names_a_platform_only_in_its_folder_and_where_it_is_chosen(file: Path) -> None:
    inside = file.relative_to(SANDBOX)
    others = [each for each in ("lark", "dingtalk") if each != inside.parts[0]]
    if inside.parts == ("main.py",):
        return
    forbidden = {f"bot.sandbox.{each}" for each in others}
    if inside.parts[0] in ("lark", "dingtalk"):
        forbidden.add("bot.sandbox.page")
    assert not {each for each in imports(file) for name in forbidden if f"{each}.".startswith(f"{name}.")}


@pytest.mark.parametrize("file", sorted(SANDBOX.rglob("*.py")), ids=name_of)
def test_the_sandbox_imports_in_no_circle(file: Path) -> None:
    graph = {name_of(each).removesuffix(".__init__"): set(imports(each)) for each in SANDBOX.rglob("*.py")}
    start = name_of(file).removesuffix(".__init__")
    reached: set[str] = set()
    waiting = [*graph[start]]
    while waiting:
        module = waiting.pop()
        if module in graph and module not in reached:
            reached.add(module)
            waiting += graph[module]
    assert start not in reached


@pytest.mark.parametrize("file", [each for each in MODULES if folder_of(each) == "core"], ids=name_of)
def test_the_core_imports_the_standard_library_only(file: Path) -> None:
    outside = {each for each in imports(file) if top_level(each) not in {*sys.stdlib_module_names, "bot"}}
    assert not outside


IMPURE = {
    "asyncio",
    "logging",
    "os",
    "random",
    "secrets",
    "socket",
    "sqlite3",
    "subprocess",
    "threading",
    "time",
}
CLOCKS = {"now", "utcnow", "today"}


@pytest.mark.parametrize("file", [each for each in MODULES if folder_of(each) == "core"], ids=name_of)
def test_the_core_is_pure(file: Path) -> None:
    assert not IMPURE & {top_level(each) for each in imports(file)}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in CLOCKS:
            assert not (isinstance(node.value, ast.Name) and node.value.id in {"datetime", "date"}), (
                "reads the clock"
            )
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"open", "print", "input"}
        waiting = isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith)
        declared = isinstance(node, ast.AsyncFunctionDef) and not is_declaration(node)
        assert not waiting
        assert not declared


def is_declaration(function: ast.AsyncFunctionDef) -> bool:
    """Whether it has no body, as the methods of the port have none: it says how it is called, and does nothing."""
    return all(isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant) for each in function.body)


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_the_slow_and_the_many_are_imported_in_one_place(file: Path) -> None:
    used = {top_level(each) for each in imports(file)}
    if "lark_oapi" in used:
        assert file.is_relative_to(PACKAGE / "lark")
    if used & {"sqlalchemy", "alembic"}:
        assert file.is_relative_to(PACKAGE / "store") or file.is_relative_to(ROOT / "migrations")


@pytest.mark.parametrize(
    ("module", "slow"),
    [
        ("bot.cli", ("lark_oapi", "aiohttp", "sqlalchemy", "cryptography", "jinja2")),
        ("bot.app", ("lark_oapi", "alembic", "opentelemetry")),
    ],
)
def test_importing_a_module_does_not_import_what_is_slow(module: str, slow: tuple[str, ...]) -> None:
    program = f"import sys, {module}; print(*set({slow!r}) & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize("file", [each for each in SOURCES if each not in MODULES], ids=name_of)
def test_migrations_do_not_import_the_bot(file: Path) -> None:
    """A migration has to do tomorrow what it did on the day it was written."""
    assert "bot" not in {top_level(each) for each in imports(file)}


def test_these_tests_see_what_they_should() -> None:
    assert {"core", "flows", "web", "store", "lark", "sandbox"} <= {folder_of(each) for each in MODULES}
    assert "bot.core.language" in set(imports(PACKAGE / "core" / "cards.py"))
    assert within("bot.store", {"bot.store.operator_queries"})
    assert not within("bot.store.calls", {"bot.store.operator_queries"})
    assert not within("bot.storefront", {"bot.store"})


PLATFORM_WORDS = re.compile(
    r"lark|feishu|dingtalk|飞书|钉钉|applink|\btt\.|open-apis|\bou_|\bcli_|9999\d{4}", re.IGNORECASE
)
"""Names of platforms, and what only one of them has: its links, its JavaScript API, its paths, ids and error codes."""

SUFFIXES = {".py", ".html", ".js", ".css"}
SHARED = sorted(
    each
    for each in PACKAGE.rglob("*")
    if folder_of(each) in {"core", "flows", "web", "transport"} and each.suffix in SUFFIXES
)


@pytest.mark.parametrize("file", SHARED, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_platform_is_named_outside_its_folder(file: Path) -> None:
    assert PLATFORM_WORDS.findall(file.read_text(encoding="utf-8")) == []
