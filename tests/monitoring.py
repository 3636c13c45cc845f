"""The queries of the alerts and of the dashboard, parsed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml

DEPLOY = Path(__file__).resolve().parent.parent / "docs" / "deploy"
GRAFANA_VARIABLES = {
    "$__rate_interval": "5m",
    "$__range": "6h",
    "$platform": "lark|dingtalk",
}


@dataclass(frozen=True)
class Query:
    """One expression, and where it stands."""

    where: str
    text: str

    def selectors(self) -> Iterator[Any]:
        """The selectors, each with the name of its series and its matchers. Raises ValueError if it is not PromQL."""
        found: list[Any] = []

        def visit(node: Any) -> None:
            if isinstance(node, promql_parser.VectorSelector):
                found.append(node)

        promql_parser.walk(promql_parser.parse(self.text), visit)
        return iter(found)

    def labels(self) -> set[str]:
        """The labels by which it selects or groups."""
        grouped = re.findall(r"\b(?:by|on|without|ignoring) \(([^)]*)\)", self.text)
        matched = [matcher.name for selector in self.selectors() for matcher in selector.matchers.matchers]
        return {label.strip() for labels in grouped for label in labels.split(",") if label.strip()} | set(
            matched
        )


def alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load((DEPLOY / "alerts.yaml").read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))
    return found


def queries() -> list[Query]:
    found = [Query(f"alert {rule['alert']}", rule["expr"]) for rule in alerts()]
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            text = target["expr"]
            for name, value in GRAFANA_VARIABLES.items():
                text = text.replace(name, value)
            found.append(Query(f"panel {panel['title']}", text))
    return found
