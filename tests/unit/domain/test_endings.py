"""Every way in which an operation ends: what is kept of it, what a person is shown, and what docs/client says of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from app.domain import display, endings, lifecycle, retry
from app.domain.aggregate import ConnectionAggregate, Operation
from app.domain.retry import AttemptFailure
from tests.factories import NOON, a_case, a_connection, a_sync_message, a_verification_message, an_operation
from tests.project import PROJECT
from tests.unit.domain.syncing import LATER, a_case_with, apply

ENABLED = {"enabled": True, "first_enabled_at": NOON}
VERIFIED = {"last_verification_at": NOON, "verified_at": NOON}
Ends = Callable[[ConnectionAggregate, Operation], Any]


def answered(status: str, *, late: bool = False) -> Ends:
    def end(case: ConnectionAggregate, operation: Operation) -> None:
        if late:
            lifecycle.end_by_person(case, operation, ended_by="ada@example.org", now=LATER)
        if operation.kind == "verify":
            message = a_verification_message(case.connection, status=status, operation_id=operation.id)
        else:
            word = "sync_completed" if status == "success" else "sync_failed"
            message = a_sync_message(case.connection, word, operation_id=operation.id)
        apply(case, message, now=LATER + timedelta(seconds=1))

    return end


def gave_up(outcome: retry.AttemptOutcome) -> Ends:
    def end(case: ConnectionAggregate, operation: Operation) -> None:
        lifecycle.record_undeliverable(case, operation, ending=outcome.ending, error=str(outcome.error), now=LATER)

    return end


def expired(case: ConnectionAggregate, operation: Operation) -> None:
    lifecycle.expire_operation(case, operation, now=LATER)


def of_status(code: int) -> retry.AttemptOutcome:
    return retry.outcome_of_status_code(code, duration=timedelta(0))


# How it ends, of which kind, in which state it was, and what is kept of that.
WAYS: list[tuple[str, str, dict[str, Any], Ends]] = [
    *[("succeeded", kind, {"state": "delivered"}, answered("success")) for kind in ("verify", "sync")],
    *[("succeeded_late", kind, {"state": "delivered"}, answered("success", late=True)) for kind in ("verify", "sync")],
    *[("failed", kind, {"state": "delivered"}, answered("failed")) for kind in ("verify", "sync")],
    *[("failed_late", kind, {"state": "delivered"}, answered("failed", late=True)) for kind in ("verify", "sync")],
    *[("service_down", kind, {}, gave_up(of_status(500))) for kind in ("verify", "sync")],
    ("service_down", "verify", {}, gave_up(of_status(429))),
    ("service_down", "verify", {}, gave_up(retry.outcome_of_failure(AttemptFailure.REFUSED))),
    *[("request_refused", kind, {}, gave_up(of_status(400))) for kind in ("verify", "sync")],
    ("request_refused", "sync", {}, gave_up(of_status(302))),
    ("request_refused", "verify", {}, gave_up(retry.outcome_of_failure(AttemptFailure.TLS))),
    ("credentials_lost", "verify", {}, gave_up(retry.outcome_of_failure(AttemptFailure.CREDENTIALS_GONE))),
    ("credentials_unreadable", "verify", {}, gave_up(retry.outcome_of_failure(AttemptFailure.CREDENTIALS_REFUSED))),
    ("credentials_unreadable", "verify", {}, gave_up(retry.outcome_of_failure(AttemptFailure.CREDENTIALS_UNREACHABLE))),
    *[("not_sent", kind, {"attempts": 0}, expired) for kind in ("verify", "sync")],
    *[("not_delivered", kind, {"attempts": 1}, expired) for kind in ("verify", "sync")],
    ("unanswered", "verify", {"state": "delivered"}, expired),
    ("not_started", "sync", {"state": "delivered"}, expired),
    ("silent", "sync", {"state": "running"}, expired),
    *[
        (
            "unreadable",
            kind,
            {"state": "delivered"},
            lambda case, o: lifecycle.end_operation_with_unreadable_answer(case, o.id, now=LATER),
        )
        for kind in ("verify", "sync")
    ],
    *[
        (
            "ended",
            kind,
            {"state": "delivered"},
            lambda case, o: lifecycle.end_by_person(case, o, ended_by="ada", now=LATER),
        )
        for kind in ("verify", "sync")
    ],
    (
        "disabled",
        "sync",
        {"attempts": 0},
        lambda case, _: lifecycle.end_undelivered_sync_of_disabled(case, ended_by="ada", now=LATER),
    ),
]


def ended(kind: str, fields: dict[str, Any], end: Ends) -> ConnectionAggregate:
    of_the_connection = ENABLED | (VERIFIED if kind == "sync" else {})
    connection = a_connection(**of_the_connection)
    operation = an_operation(connection, kind=kind, **({"state": "pending", "attempts": 4} | fields))
    case = a_case(connection, operation)
    case.mark_as_stored()
    end(case, operation)
    return case


def test_every_ending_but_that_of_the_replaced_is_reached() -> None:
    assert {name for name, *_ in WAYS} == endings.ENDINGS.keys() - {"replaced"}


@pytest.mark.parametrize(("name", "kind", "fields", "end"), WAYS, ids=lambda value: value if type(value) is str else "")
def test_an_ending_is_kept_and_shown_with_who_must_act(name: str, kind: str, fields: dict[str, Any], end: Ends) -> None:
    case = ended(kind, fields, end)

    connection, ending = case.connection, endings.ENDINGS[name]
    (operation,) = case.operations.values()
    assert (operation.state, kind in ending.actions) == (ending.state, True)
    assert name == (connection.last_verification_ending if kind == "verify" else connection.last_sync_ending)
    shown = display.display_of_connection(connection, None)
    if ending.state == "succeeded":
        assert shown.actor == (None if kind == "sync" else "user")
        return
    assert shown.state == ("verification_failed" if kind == "verify" else "failed")
    assert (shown.actor, shown.action, shown.ending) == (ending.actor, ending.actions[kind], name)
    assert shown.advice == ending.advice.get(kind)
    assert shown.reason == operation.error


def test_only_of_a_verdict_it_is_said_that_the_credentials_are_wrong() -> None:
    for name, ending in endings.ENDINGS.items():
        said = ending.advice.get("verify", "")
        if endings.was_answered_by_service(name):
            assert "Nobody has checked" not in said
        elif "verify" in ending.actions and name != "replaced":
            assert said.startswith("Nobody has checked the credentials.")


def test_a_sync_that_the_service_could_not_do_may_want_new_credentials() -> None:
    case = ended("sync", {"state": "delivered"}, answered("failed"))

    shown = display.display_of_connection(case.connection, None)

    assert (shown.action, shown.alternative) == ("sync", "verify")
    down = display.display_of_connection(ended("sync", {}, gave_up(of_status(500))).connection, None)
    assert (down.action, down.alternative) == ("sync", None)


def test_the_connection_has_the_count_of_its_last_sync() -> None:
    case, operation = a_case_with(state="running")
    apply(case, a_sync_message(case.connection, "sync_completed", operation_id=operation.id, documents_processed=42))

    assert case.connection.last_sync_documents == 42


def published() -> dict[str, tuple[str, ...]]:
    """Return the rows of docs/client's table by their first cell."""
    text = (PROJECT / "docs/client/README.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", text.split("## How an operation ends")[1], re.MULTILINE)
    return {name: tuple(cell.strip() for cell in cells.split(" | ")) for name, cells in rows}


def test_docs_client_publishes_the_table() -> None:
    def row(ending: endings.Ending) -> tuple[str, ...]:
        steps = [f"`{step}`" if step else "" for step in (ending.actions.get("verify"), ending.actions.get("sync"))]
        actor = f"`{ending.actor}`" if ending.actor else "nobody"
        return f"`{ending.state}`", actor, *(step or "-" for step in steps), ending.about

    assert published() == {name: row(ending) for name, ending in endings.ENDINGS.items()}
