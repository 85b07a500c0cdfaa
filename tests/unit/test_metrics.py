"""The figures' labels: every value that one can take is there from the start; no increase is seen of what was not."""

from __future__ import annotations

import ast
import re

import pytest

from app import metrics
from app.domain import retry
from app.domain.status_messages import REFUSAL_REASONS
from tests.project import PROJECT

SOURCES = sorted([*PROJECT.glob("app/**/*.py"), *PROJECT.glob("tasks/**/*.py")])


def samples() -> dict[tuple[str, ...], float]:
    found = [sample for family in metrics.process_metrics().registry.collect() for sample in family.samples]
    return {(sample.name, *sorted(sample.labels.values())): sample.value for sample in found}


@pytest.mark.parametrize("kind", ["verify", "sync"])
def test_however_an_attempt_ends_its_counter_was_there_before(kind: str) -> None:
    took = retry.timedelta(seconds=1)
    outcomes = [retry.outcome_of_failure(failure, duration=took) for failure in retry.AttemptFailure]
    outcomes += [retry.outcome_of_status_code(code, duration=took) for code in range(200, 600)]
    before = samples()

    for outcome in outcomes:
        metrics.count_webhook_attempt(kind, outcome)

    after = samples()
    assert set(after) == set(before)
    grown = [after[key] - before[key] for key in after if key[0] == "rita_webhook_attempts_total"]
    assert sum(grown) == len(outcomes)
    assert after["rita_webhook_attempt_seconds_count", kind] - before["rita_webhook_attempt_seconds_count", kind] == (
        len(outcomes)
    )


def test_an_attempt_without_a_post_has_no_latency() -> None:
    before = samples()

    metrics.count_webhook_attempt("verify", retry.outcome_of_failure(retry.AttemptFailure.CREDENTIALS_GONE))

    after = samples()
    grown = {key for key in after if after[key] != before[key]}
    assert grown == {("rita_webhook_attempts_total", "final", "none", "verify")}


def reasons_in_use() -> set[str]:
    calls = [node for path in SOURCES for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    refusals = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "MessageRefused"]
    return {argument.value for call in refusals for argument in call.args[:1] if isinstance(argument, ast.Constant)}


def test_every_reason_for_a_dead_letter_is_counted_and_explained() -> None:
    _, _, runbook = (PROJECT / "docs/operations.md").read_text().partition("\n## Dead letters grow\n")
    runbook, _, _ = runbook.partition("\n## ")
    explained = re.findall(r"^\| (`.*?) \|", runbook, flags=re.MULTILINE)

    assert reasons_in_use() == set(REFUSAL_REASONS)
    assert set(re.findall(r"`(\w+)`", " ".join(explained))) == set(REFUSAL_REASONS)
