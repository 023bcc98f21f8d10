"""The documents name every route, parameter, metric, state and chart that there is."""

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from collector.metrics import Metrics
from collector.web import problems
from collector.web.api import PARAMETERS
from collector.web.dashboard import CHARTS, PERIODS, STRIP
from collector.web.metrics import GAUGES, STORE_UP
from collector.web.requestlog import RequestLog
from tests.web.test_states import CASES

DOCS = Path(__file__).parents[2] / "docs"
API = (DOCS / "api.md").read_text(encoding="utf-8")
DASHBOARD = (DOCS / "dashboard.md").read_text(encoding="utf-8")


def _sections() -> dict[str, str]:
    return {part.partition("\n")[0].strip("`"): part for part in re.split(r"^## ", API, flags=re.MULTILINE)}


def test_every_route_has_its_place(world):
    for rule in world.app.url_map.iter_rules():
        assert f"`GET {rule.rule}`" in API, rule.rule


def test_every_parameter_is_in_its_endpoints_section(world):
    sections = _sections()
    rules = {rule.endpoint: rule.rule for rule in world.app.url_map.iter_rules()}
    for endpoint, parameters in PARAMETERS.items():
        section = sections[f"GET {rules[f'api.{endpoint}']}"]
        table = {
            name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
        }
        assert set(parameters) <= table, endpoint
        assert parameters or "No parameters" in section, endpoint


def test_every_field_of_an_answer_is_told(greenhouse):
    client = greenhouse.client
    rows = client.get("/api/v1/summary?every=5m&by=site,device,stream,model,version&histograms=true").json["rows"]
    answers = {
        "devices": client.get("/api/v1/devices").json["devices"],
        "fleet": client.get("/api/v1/fleet").json["devices"],
        "ledger": [client.get("/api/v1/devices/greenhouse/pi-roof/ledger").json],
        "predictions": client.get("/api/v1/predictions?limit=5").json["predictions"],
        "summary": rows,
        "events": client.get("/api/v1/events").json["events"],
        "models": [client.get(f"/api/v1/models/{'ab' * 32}").json],
    }
    for name, found in answers.items():
        assert found, name
        for field in {key for one in found for key in one}:
            assert re.search(rf"\b{field}\b", API), f"{name}: {field}"


@pytest.mark.parametrize("name", [*GAUGES, STORE_UP])
def test_every_gauge_is_told(name):
    assert f"`{name}`" in API


def test_the_collectors_own_metrics_are_told_and_no_others():
    table = dict(re.findall(r"^\| `(vigie_collector_\w+)` \| ([\w, ]*) ?\|", API, re.MULTILINE))
    metrics = Metrics()
    named = {
        family.name + ("_total" if family.type == "counter" else ""): family for family in metrics.registry.collect()
    }
    assert set(table) == set(named)
    for one in vars(metrics).values():
        if isinstance(one, MetricWrapperBase):
            name = one._name + ("_total" if one._type == "counter" else "")
            assert table[name].strip() == ", ".join(one._labelnames), name


def test_times_and_units_are_in_the_collectors_metric_names():
    for family in Metrics().registry.collect():
        assert ("since 1970" in family.documentation) == family.name.endswith("_timestamp_seconds"), family.name


def test_every_http_metric_and_problem_is_told():
    registry = CollectorRegistry()
    RequestLog(registry)
    for family in registry.collect():
        assert f"`{family.name}" in API
    source = Path(problems.__file__).read_text(encoding="utf-8")
    for name in re.findall(r'"((?:[a-z]+-)+[a-z]+)"', source):
        assert f"`{name}`" in API


def test_every_state_figure_chart_and_period_is_told():
    for *_, word, _ in CASES:
        assert f"**{word}**" in DASHBOARD
    for chart in CHARTS:
        assert f"| {chart['title']} |" in DASHBOARD
    for _, label, _ in STRIP:
        assert label.split()[-1] in DASHBOARD
    for period in PERIODS.values():
        assert f"`{period.name}`" in API
