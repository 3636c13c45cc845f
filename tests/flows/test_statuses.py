"""Flows name statuses by the members of their enumerations, never by raw strings, which no type checker compares."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.core.lifecycle import LIFECYCLES

BOT = Path(__file__).resolve().parent.parent.parent / "bot"
FLOWS = sorted((BOT / "flows").rglob("*.py"))
STORE = sorted((BOT / "store").rglob("*.py"))
KINDS = {kind.__name__ for kind in LIFECYCLES}
STATUSES = {status.value for kind in LIFECYCLES for status in kind}


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(file: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            yield node


def parameters(function: Function) -> list[ast.arg]:
    return [*function.args.posonlyargs, *function.args.args]


def is_status(parameter: ast.arg) -> bool:
    named = {node.id for node in ast.walk(parameter) if isinstance(node, ast.Name)}
    return bool(named & KINDS)


TAKES_STATUS: dict[tuple[str, str], dict[int, str]] = {
    (file.stem, function.name): {
        number: parameter.arg for number, parameter in enumerate(parameters(function)) if is_status(parameter)
    }
    for file in (*FLOWS, *STORE)
    for function in functions(file)
}
"""For each function of a module, the positions and names of its parameters that are statuses."""


def modules_of_names(file: Path) -> dict[str, str]:
    """The module that each function called by its bare name comes from."""
    imported = {
        alias.asname or alias.name: node.module.rpartition(".")[2]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    return imported | {function.name: file.stem for function in functions(file)}


def constants(node: ast.AST | None) -> list[str]:
    found = ast.walk(node) if node is not None else ()
    return [each.value for each in found if isinstance(each, ast.Constant) and each.value in STATUSES]


def is_attribute_status(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "status"


def status_arguments(call: ast.Call, modules: dict[str, str]) -> Iterator[ast.expr]:
    match call.func:
        case ast.Attribute(value=ast.Name(id=module), attr=name):
            found = TAKES_STATUS.get((module, name), {})
        case ast.Name(id=name):
            found = TAKES_STATUS.get((modules.get(name, ""), name), {})
        case _:
            return
    yield from (given for number, given in enumerate(call.args) if number in found)
    yield from (keyword.value for keyword in call.keywords if keyword.arg in found.values())


def raw_statuses(tree: ast.AST, modules: dict[str, str]) -> Iterator[str]:
    """The status strings that stand where a member belongs."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare(left=left, comparators=others) if any(map(is_attribute_status, [left, *others])):
                for each in (left, *others):
                    yield from constants(each)
            case ast.Match(subject=subject, cases=cases) if is_attribute_status(subject):
                for case in cases:
                    yield from constants(case.pattern)
            case ast.Call():
                for each in status_arguments(node, modules):
                    yield from constants(each)
            case _:
                pass


@pytest.mark.parametrize("file", FLOWS, ids=lambda file: str(file.relative_to(BOT)))
def test_no_flow_names_a_status_by_a_raw_string(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert not list(raw_statuses(tree, modules_of_names(file)))


@pytest.mark.parametrize("file", [*FLOWS, *STORE], ids=lambda file: str(file.relative_to(BOT)))
def test_a_parameter_that_is_a_status_has_the_type_of_one(file: Path) -> None:
    for function in functions(file):
        for parameter in parameters(function):
            if parameter.arg == "status" and function.name != "status_is":
                assert is_status(parameter), function.name


@pytest.mark.parametrize(
    "code",
    [
        'attempts.finish(c, attempt.id, "denied", "x", now)',
        'outbox.give_up(c, message.id, 1, "undeliverable", "x", now)',
        'request.status == "open"',
        'request.status in {"open", "redeeming"}',
        'calls.settle(c, call, status="failed", outcome="crashed", now=now)',
        'match call.status:\n    case "queued" | "running":\n        pass',
    ],
)
def test_raw_strings_are_found(code: str) -> None:
    assert list(raw_statuses(ast.parse(code), {}))
