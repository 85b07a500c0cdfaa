"""Figures for Prometheus: of all organizations together, for whoever shows the operators' token."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from redis import Redis
from sqlalchemy import text

from app.outbound import sweep_times
from app.unit_of_work import unit_of_work
from tests.factories import Browser

TOKEN = "a-token-of-the-operators"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


Figures = dict[str, float]


@pytest.fixture
def measured(web: Flask, another_app: Callable[..., Flask]) -> Callable[[], Figures]:
    """Return every figure by its name and labels."""
    assert web
    served = another_app(metrics_token=TOKEN)

    def read() -> Figures:
        answer = served.test_client().get("/metrics", headers=AUTHORIZED)
        assert answer.status_code == 200
        samples = [sample for family in parse(answer.text) for sample in family.samples]
        return {f"{sample.name}{sorted(sample.labels.values())}": sample.value for sample in samples}

    return read


def press(web: Flask) -> None:
    person = Browser(web)
    path = f"/api/data-sources/{person.seeded('confluence')}/verify"
    assert person.post(path, {"credentials": {"api_token": "hunter2"}}).status_code == 200


def change(web: Flask, statement: str) -> None:
    with web.app_context(), unit_of_work(all_tenants=True) as work:
        work.session.execute(text(statement))


def test_what_was_accepted_and_never_attempted_is_counted_after_a_while(
    web: Flask, measured: Callable[[], Figures]
) -> None:
    press(web)
    press(web)
    at_first = measured()

    change(web, "UPDATE operations SET created_at = now() - interval '60 s', next_attempt_at = now() - interval '50 s'")

    later = measured()
    assert at_first["rita_operations_never_attempted[]"] == 0
    assert later["rita_operations_never_attempted[]"] == 2
    assert later["rita_operations_open['pending', 'verify']"] == 2
    assert later["rita_operations_oldest_due_seconds[]"] == pytest.approx(50, abs=9)
    assert later["rita_operations_oldest_open_seconds[]"] == pytest.approx(60, abs=9)


def test_what_waits_for_a_receiver_that_is_down_was_not_overlooked(web: Flask, measured: Callable[[], Figures]) -> None:
    press(web)
    change(
        web, "UPDATE operations SET created_at = now() - interval '60 s', last_attempt_error = 'the service is down'"
    )

    assert measured()["rita_operations_never_attempted[]"] == 0


def test_what_waits_for_an_answer_is_not_overlooked(web: Flask, measured: Callable[[], Figures]) -> None:
    press(web)

    change(web, "UPDATE operations SET created_at = now() - interval '60 s', state = 'delivered', attempts = 1")

    figures = measured()
    assert figures["rita_operations_open['delivered', 'verify']"] == 1
    assert figures["rita_operations_oldest_open_seconds[]"] == pytest.approx(60, abs=9)
    assert figures["rita_operations_never_attempted[]"] == 0
    assert figures["rita_operations_oldest_due_seconds[]"] == 0


def test_what_has_ended_is_not_counted(web: Flask, measured: Callable[[], Figures]) -> None:
    press(web)

    change(web, "UPDATE operations SET state = 'succeeded', finished_at = now(), created_at = now() - interval '1 h'")

    assert {value for name, value in measured().items() if name.startswith("rita_operations")} == {0.0}


@pytest.mark.parametrize("given", [None, "Bearer wrong", TOKEN, "Basic " + TOKEN])
def test_without_the_operators_token_nothing_is_told(
    web: Flask, another_app: Callable[..., Flask], given: str | None
) -> None:
    assert web
    headers = {"Authorization": given} if given else {}

    answer = another_app(metrics_token=TOKEN).test_client().get("/metrics", headers=headers)

    assert answer.status_code == 401
    assert "rita_" not in answer.text


def test_a_scrape_that_fails_is_answered_like_any_other_request(web: Flask, another_app: Callable[..., Flask]) -> None:
    assert web
    away = another_app(metrics_token=TOKEN, database_url="postgresql://nobody@127.0.0.1:9/none")

    answer = away.test_client().get("/metrics", headers=AUTHORIZED)

    assert (answer.status_code, answer.json["code"]) == (503, "service_unavailable")
    assert set(answer.json) == {"error", "message", "code", "request_id"}


def test_where_no_token_is_set_there_is_no_such_page(web: Flask) -> None:
    answer = web.test_client().get("/metrics", headers=AUTHORIZED)

    assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_a_reader_of_openmetrics_gets_openmetrics(web: Flask, another_app: Callable[..., Flask]) -> None:
    assert web
    headers = AUTHORIZED | {"Accept": "application/openmetrics-text; version=1.0.0"}

    answer = another_app(metrics_token=TOKEN).test_client().get("/metrics", headers=headers)

    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert {family.name for family in parse_openmetrics(answer.text)} >= {"rita_operations_never_attempted"}


def test_the_age_of_the_sweeps_is_told_and_of_one_that_was_never_made_nothing(
    redis: Redis, measured: Callable[[], Figures]
) -> None:
    redis.set(
        f"{sweep_times.REDIS_KEY_PREFIX}{sweep_times.DISPATCH_SWEEP}",
        "1",
        px=sweep_times.TIME_TO_LIVE - timedelta(minutes=3),
    )

    figures = measured()

    assert 180 <= figures["rita_sweep_age_seconds['dispatch']"] < 190
    assert "rita_sweep_age_seconds['expire']" not in figures


@pytest.mark.parametrize(
    "accept",
    [
        "text/plain; version=x",
        "text/plain; version=",
        "application/openmetrics-text; version=99.0.0; escaping=none",
        "application/openmetrics-text; version=1.0.0; escaping=unheard-of",
        "application/openmetrics-text; version=1.0.0.dev1+x",
        "text/plain;;;=, ,;q",
        "*/*",
        "é",
    ],
)
def test_whatever_is_accepted_there_are_figures(web: Flask, another_app: Callable[..., Flask], accept: str) -> None:
    assert web
    answer = another_app(metrics_token=TOKEN).test_client().get("/metrics", headers=AUTHORIZED | {"Accept": accept})

    assert answer.status_code == 200
    assert "rita_operations_never_attempted" in answer.text
