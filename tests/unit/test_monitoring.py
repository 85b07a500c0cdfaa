"""Alerts and dashboard as Prometheus' own tool reads them: each alert fires for its reason, and for want of figures."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.project import PROJECT, program

FOLDER = PROJECT / "docker/monitoring"
RULES: dict[str, Any] = {
    rule["alert"]: rule for rule in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
}
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

MISSING = {
    "rita-web": "RitaWebFiguresMissing",
    "rita-worker": "RitaWorkerFiguresMissing",
    "rita-webhook-worker": "RitaWebhookWorkerFiguresMissing",
}
Series = dict[str, str]
# Half an hour, a value a minute, in promtool's notation; all is well.
CALM: Series = {
    'up{job="rita-web", instance="a"}': "1x30",
    'up{job="rita-worker", instance="a"}': "1x30",
    'up{job="rita-webhook-worker", instance="a"}': "1x30",
    'rita_operations_never_attempted{job="rita-web"}': "0x30",
    'rita_operations_oldest_due_seconds{job="rita-web"}': "0x30",
    'rita_operations_oldest_open_seconds{job="rita-web"}': "7000x30",
    'rita_sse_drops_total{job="rita-web", reason="slow"}': "3x30",
    'rita_sse_events_lost_total{job="rita-web"}': "0x30",
    'rita_sse_events_lost_total{job="rita-worker"}': "7x30",
    'rita_database_pool_in_use{job="rita-web", instance="a"}': "3x30",
    'rita_database_pool_size{job="rita-web", instance="a"}': "12x30",
    'rita_dead_letters_total{job="rita-worker", reason="not_json"}': "9x30",
    'rita_dead_letters_total{job="rita-worker", reason="tenant_mismatch"}': "1x30",
    'rita_redis_values_refused_total{job="rita-web", value="ticket", reason="misplaced"}': "1x30",
    'rita_redis_values_refused_total{job="rita-webhook-worker", value="credentials", reason="misplaced"}': "0x30",
    'rita_status_batches_held_total{job="rita-worker"}': "4x30",
    'rita_status_batch_seconds_bucket{job="rita-worker", le="5"}': "0+60x30",
    'rita_status_batch_seconds_bucket{job="rita-worker", le="10"}': "0+60x30",
    'rita_status_batch_seconds_bucket{job="rita-worker", le="+Inf"}': "0+60x30",
    'rita_webhooks_parked_total{job="rita-webhook-worker"}': "50x30",
    'rita_webhook_attempts_total{job="rita-webhook-worker", outcome="done", answer="2xx"}': "0+9x30",
    'rita_webhook_attempts_total{job="rita-webhook-worker", outcome="final", answer="4xx"}': "2x30",
    'rita_webhook_attempt_seconds_bucket{job="rita-webhook-worker", le="5"}': "0+9x30",
    'rita_webhook_attempt_seconds_bucket{job="rita-webhook-worker", le="7.5"}': "0+9x30",
    'rita_webhook_attempt_seconds_bucket{job="rita-webhook-worker", le="+Inf"}': "0+9x30",
}
# What makes each alert fire.
FIRED_BY: dict[str, Series] = {
    "RitaOperationsOverlooked": {'rita_operations_never_attempted{job="rita-web"}': "2x30"},
    "RitaDeliveriesOverdue": {'rita_operations_oldest_due_seconds{job="rita-web"}': "61x30"},
    "RitaOperationOpenForADay": {'rita_operations_oldest_open_seconds{job="rita-web"}': "90000x30"},
    "RitaExternalServiceDown": {'rita_webhooks_parked_total{job="rita-webhook-worker"}': "50+1x30"},
    "RitaWebhooksRefused": {
        'rita_webhook_attempts_total{job="rita-webhook-worker", outcome="final", answer="4xx"}': "2x20 3x10"
    },
    "RitaWebhooksSlow": {'rita_webhook_attempt_seconds_bucket{job="rita-webhook-worker", le="5"}': "0+8x30"},
    "RitaDeadLetters": {'rita_dead_letters_total{job="rita-worker", reason="not_json"}': "9x20 10x10"},
    "RitaTenantMismatch": {'rita_dead_letters_total{job="rita-worker", reason="tenant_mismatch"}': "1x20 2x10"},
    "RitaRedisValueRefused": {
        'rita_redis_values_refused_total{job="rita-web", value="ticket", reason="misplaced"}': "1x20 2x10"
    },
    "RitaStatusMessagesHeld": {'rita_status_batches_held_total{job="rita-worker"}': "4+1x30"},
    "RitaStatusBatchesSlow": {'rita_status_batch_seconds_bucket{job="rita-worker", le="5"}': "0+50x30"},
    "RitaEventsLost": {'rita_sse_events_lost_total{job="rita-worker"}': "7+1x30"},
    "RitaStreamsDropped": {'rita_sse_drops_total{job="rita-web", reason="slow"}': "3+5x30"},
    "RitaDatabasePoolFull": {'rita_database_pool_in_use{job="rita-web", instance="a"}': "11x30"},
    "RitaProcessDown": {'up{job="rita-web", instance="b"}': "0x30"},
}
# A mismatch is a dead letter as well.
BESIDES = {"RitaTenantMismatch": {"RitaDeadLetters"}}

Promtool = Callable[..., None]


@pytest.fixture
def promtool(tmp_path: Path) -> Promtool:
    """Run Prometheus' tool on a file of this content; without the tool, skip, or fail where services are required."""
    tool = program("promtool", of="Debian's package prometheus")

    def run(*words: str, content: Mapping[str, Any] | None = None) -> None:
        file = tmp_path / "content.yml"
        file.write_text(yaml.safe_dump(content))
        command = [tool, *words, *([str(file)] if content is not None else [])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return run


def assert_that_fire(promtool: Promtool, series: Series, expected: set[str]) -> None:
    """See which alerts fire after half an hour of these series."""
    question = {
        "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
        "eval_time": "29m",
        "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(expected)],
    }
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    test = {"interval": "1m", "input_series": inputs, "promql_expr_test": [question]}
    promtool("test", "rules", content={"rule_files": [str(FOLDER / "alerts.yml")], "tests": [test]})


def test_prometheus_takes_rules_and_configuration(promtool: Promtool) -> None:
    promtool("check", "rules", str(FOLDER / "alerts.yml"))
    promtool("check", "config", "--syntax-only", str(FOLDER / "prometheus.yml"))


def test_prometheus_understands_every_question_of_the_dashboard(promtool: Promtool) -> None:
    questions = [target["expr"] for panel in PANELS for target in panel["targets"]]

    rules = [
        {"record": f"panel:{number}", "expr": question.replace("$__rate_interval", "5m").replace("$__range", "1h")}
        for number, question in enumerate(questions)
    ]

    promtool("check", "rules", content={"groups": [{"name": "dashboard", "rules": rules}]})


def test_nothing_fires_while_all_is_well(promtool: Promtool) -> None:
    assert_that_fire(promtool, CALM, set())


@pytest.mark.parametrize("alert", sorted(RULES.keys() - MISSING.values()))
def test_each_alert_fires_for_its_reason_and_no_other_does(promtool: Promtool, alert: str) -> None:
    assert_that_fire(promtool, CALM | FIRED_BY[alert], {alert} | BESIDES.get(alert, set()))


def test_where_there_is_no_data_at_all_it_is_missed(promtool: Promtool) -> None:
    assert_that_fire(promtool, {}, set(MISSING.values()))


def looked_at() -> set[str]:
    expressions = " ".join(rule["expr"] for name, rule in RULES.items() if name not in MISSING.values())
    return set(re.findall(r"\brita_\w+", expressions))


@pytest.mark.parametrize("figure", sorted(looked_at()))
def test_every_figure_that_an_alert_looks_at_is_missed(promtool: Promtool, figure: str) -> None:
    without = {name: values for name, values in CALM.items() if not name.startswith(f"{figure}{{")}
    assert len(without) < len(CALM)
    jobs = {job for name in CALM.keys() - without.keys() for job in MISSING if f'job="{job}"' in name}

    fired = {MISSING[job] for job in jobs if f"absent({figure}{{job=" in RULES[MISSING[job]]["expr"]}

    assert fired
    assert_that_fire(promtool, without, fired)


def anchors(document: str) -> set[str]:
    """Return the anchors of a document's headings, as its renderers make them."""
    headings = re.findall(r"^#+ (.+)$", (PROJECT / document).read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("alert", sorted(RULES))
def test_every_alert_leads_to_a_heading_of_the_runbook(alert: str) -> None:
    rule = RULES[alert]
    document, _, anchor = rule["annotations"]["runbook"].partition("#")

    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    assert anchor in anchors(document)


def test_the_dashboard_shows_every_panel_in_a_place_of_its_own() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(set(ids)) == len(ids)
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
    assert all(panel["title"] and panel["description"] for panel in PANELS)
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
