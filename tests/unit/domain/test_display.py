"""What a person sees of a connection: the states written down a second time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app.domain import display
from app.domain.aggregate import Connection
from tests.factories import NOON, a_connection, an_operation

EARLIER, LATER = NOON - timedelta(hours=1), NOON + timedelta(hours=1)
VERIFIED = {"last_verification_at": NOON, "verified_at": NOON}
ENABLED = VERIFIED | {"enabled": True, "first_enabled_at": NOON}
SYNCED = ENABLED | {"last_sync_status": "completed", "last_sync_at": NOON}


@pytest.mark.parametrize(
    ("fields", "state", "actor", "action"),
    [
        ({}, "unconfigured", "user", "verify"),
        ({"type": "websearch"}, "unconfigured", "user", "enable"),
        (VERIFIED, "unconfigured", "user", "enable"),
        (ENABLED, "pending", "user", "sync"),
        ({"type": "websearch", "enabled": True}, "pending", "user", "sync"),
        (SYNCED, "completed", None, "sync"),
        (SYNCED | {"last_sync_status": "failed", "last_sync_error": "Gone"}, "failed", "user", "sync"),
        (SYNCED | {"enabled": False}, "disabled", "user", "enable"),
        ({"last_verification_at": NOON, "last_verification_error": "No"}, "verification_failed", "user", "verify"),
        (SYNCED | {"last_verification_error": "No", "last_sync_at": EARLIER}, "completed", None, "sync"),
        ({"type": "websearch", "enabled": True, "last_verification_error": "No"}, "pending", "user", "sync"),
        ({"type": "websearch", "last_verification_error": "No"}, "verification_failed", "user", "verify"),
        (SYNCED | {"last_verification_error": "No", "last_sync_at": LATER}, "completed", None, "sync"),
    ],
)
def test_an_idle_connection_shows_one_state_and_what_to_do_next(
    fields: dict[str, Any], state: str, actor: str | None, action: str
) -> None:
    shown = display.display_of_connection(a_connection(**fields), None)

    assert (shown.state, shown.actor, shown.action) == (state, actor, action)
    assert shown.state in display.STATES


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("last_sync_error", SYNCED | {"last_sync_status": "failed", "last_sync_error": "The site is gone"}),
        ("last_verification_error", {"last_verification_at": NOON, "last_verification_error": "401 from the site"}),
    ],
)
def test_a_failure_gives_its_own_words_as_the_reason(field: str, fields: dict[str, Any]) -> None:
    assert display.display_of_connection(a_connection(**fields), None).reason == fields[field]


REFUSED = SYNCED | {"last_verification_error": "401 from the site", "last_sync_at": EARLIER}


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        (SYNCED, None),
        (REFUSED, "The new credentials were refused: 401 from the site. Those in use before still are."),
        # The sync since then is the newer word on the source.
        (REFUSED | {"last_sync_at": LATER}, None),
        (
            REFUSED | {"last_verification_ending": "service_down", "last_sync_at": LATER},
            "The new credentials were not checked: 401 from the site. Those in use before still are.",
        ),
        (
            REFUSED | {"type": "websearch", "verified_at": None},
            "The new credentials were refused: 401 from the site. The source works without.",
        ),
        (
            SYNCED | {"last_sync_ending": "succeeded_late"},
            "The answer to the last sync came after Rita had stopped waiting for it, and was taken all the same.",
        ),
    ],
)
def test_a_source_that_works_stays_so_with_a_note_of_what_was_odd(fields: dict[str, Any], note: str | None) -> None:
    shown = display.display_of_connection(a_connection(**fields), None)

    assert (shown.state, shown.action, shown.note) == ("completed", "sync", note)


@pytest.mark.parametrize(
    ("options", "reason"), [({"spaces": "ENG"}, "Choose what to sync and save"), (None, "Switch it on and save")]
)
def test_a_person_is_asked_to_choose_only_where_there_is_a_choice(options: Any, reason: str) -> None:
    assert display.display_of_connection(a_connection(**VERIFIED, latest_options=options), None).reason == reason


def seen(connection: Connection, kind: str, **fields: Any) -> display.ConnectionDisplay:
    return display.display_of_connection(connection, an_operation(connection, kind=kind, **fields))


@pytest.mark.parametrize(("kind", "state"), [("verify", "verifying"), ("sync", "syncing")])
@pytest.mark.parametrize("fields", [{}, SYNCED, {"last_verification_error": "No"}, SYNCED | {"enabled": False}])
def test_what_runs_goes_before_all_that_was(kind: str, state: str, fields: dict[str, Any]) -> None:
    shown = seen(a_connection(**fields), kind)

    assert (shown.state, shown.actor, shown.action) == (state, "service", "wait")


def test_each_phase_of_a_running_operation_is_told_in_words_of_its_own() -> None:
    connection = a_connection(**ENABLED)
    phases = [
        seen(connection, "sync", state="pending"),
        seen(connection, "sync", state="pending", last_attempt_error="The external service has an error (HTTP 503)"),
        seen(connection, "sync", state="delivered"),
        seen(connection, "sync", state="running"),
        seen(connection, "sync", state="running", documents_processed=7),
        seen(connection, "verify", state="delivered"),
    ]

    reasons = [phase.reason or "" for phase in phases]
    assert len(set(reasons)) == len(reasons)
    assert "HTTP 503" in reasons[1]
    assert "7 documents" in reasons[4]


def test_what_runs_is_shown_with_how_far_it_is_and_without_its_inside() -> None:
    connection = a_connection()
    running = an_operation(connection, state="running", documents_processed=7, attempt_log=[{"attempt": 1}])

    shown = display.shown_operation_fields(running)

    assert shown is not None
    assert (shown["state"], shown["documents_processed"], shown["deadline_at"]) == ("running", 7, running.deadline_at)
    assert "attempt_log" not in shown
    assert display.shown_operation_fields(None) is None
