"""The alerts and the dashboard of docs/deploy: their form. That their metrics exist is tested with a running bot."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import promql_parser
import pytest

from tests.monitoring import Query, alerts, dashboard, queries

ALERTS, DASHBOARD, QUERIES = alerts(), dashboard(), queries()
PANELS = DASHBOARD["panels"]
CHARTS = [panel for panel in PANELS if panel["type"] != "row"]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.where)
def test_every_query_is_promql(query: Query) -> None:
    assert list(query.selectors())
    assert "$" not in query.text


@pytest.mark.parametrize("wrong", ["sum by (a) (x", "rate(x)", "x{a=b}", "x and", "x offset", "max(x) > > 1"])
def test_a_query_that_is_not_promql_is_found(wrong: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the parser's own words
        promql_parser.parse(wrong)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Bot[A-Z][A-Za-z]+", rule["alert"])
    assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"})
    assert re.fullmatch(r"\d+[mh]", rule.get("for", "1m"))
    summary, description = rule["annotations"]["summary"], rule["annotations"]["description"]
    assert rule["annotations"].keys() == {"summary", "description"}
    assert 10 < len(summary) < 160
    assert len(description) > 80
    assert description.rstrip().endswith(".")
    grouping = Query(rule["alert"], rule["expr"]).labels() | {"instance", "platform"}
    assert set(re.findall(r"\$labels\.(\w+)", summary + description)) <= grouping


def test_alerts_have_names_of_their_own_and_cover_what_operators_have_to_know() -> None:
    names = [rule["alert"] for rule in ALERTS]
    assert len(names) == len(set(names))
    assert {
        *("BotNoEvent", "BotOldQueue", "BotPlatformErrors", "BotRefreshFailures", "BotUnsentMessages"),
        *("BotScopeWaits", "BotNoReplica", "BotVersionsDiffer", "BotClockWrong", "BotKeysDiffer"),
    } <= set(names)


# --- the dashboard ---------------------------------------------------------------------------------------


def test_the_dashboard_can_be_imported_anywhere() -> None:
    """It names no data source of one installation, and no id under which it is stored there."""
    assert DASHBOARD["title"]
    assert DASHBOARD["uid"] == "bot-that-asks"
    assert "id" not in DASHBOARD
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    assert variables["platform"]["datasource"]["uid"] == "${datasource}"
    for panel in CHARTS:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"]


@pytest.mark.parametrize("panel", CHARTS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["targets"]
    assert [target["refId"] for target in panel["targets"]] == list("ABCDEF"[: len(panel["targets"])])
    for target in panel["targets"]:
        used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) - {"instance"}
        text = target["expr"].replace("$__rate_interval", "5m").replace("$__range", "6h")
        assert used <= Query(panel["title"], text).labels() | {"platform"}


def test_panels_have_ids_and_places_of_their_own() -> None:
    ids = [panel["id"] for panel in PANELS]
    assert len(ids) == len(set(ids))
    places = [panel["gridPos"] for panel in PANELS]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below
