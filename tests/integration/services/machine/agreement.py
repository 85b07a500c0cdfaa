"""What must hold after every step: of the rows by themselves, and between the rows and what was expected of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from tests.integration.services.machine.expected import UNAUDITED, Change, Source
from tests.integration.services.machine.house import House, Row, Written
from tests.integration.services.machine.questions import OPEN

# Where an operation may stand at the next look, by where it stood at the last one.
ANSWERED = {"succeeded", "failed"}
FOLLOWS = {
    "pending": OPEN | ANSWERED | {"undelivered", "expired", "replaced"},
    "delivered": {"delivered", "running", "expired", "replaced"} | ANSWERED,
    "running": {"running", "expired", "replaced"} | ANSWERED,
    "expired": {"expired"} | ANSWERED,
    "undelivered": {"undelivered"} | ANSWERED,
    "succeeded": {"succeeded"},
    "failed": {"failed"},
    "replaced": {"replaced"},
}
# An operation that has ended keeps all but these: attempts under way are counted, and a start may be told of later.
COUNTED = {
    "started_at",
    "documents_processed",
    "attempts",
    "attempt_log",
    "last_status_code",
    "last_attempt_error",
    "delivered_at",
}
COLUMNS = (
    "name", "config", "enabled", "status", "last_sync_status", "last_sync_error", "last_sync_at",
    "last_verification_error", "last_verification_at", "latest_options",
)  # fmt: skip
# The columns of an operation, and what `Question` calls them.
FIELDS = {
    "id": "id", "kind": "kind", "origin": "origin", "state": "state", "attempts": "attempts", "next_attempt_at": "due",
    "queued_until": "queued", "claimed_until": "held", "deadline_at": "deadline", "started_at": "started",
    "finished_at": "finished", "documents_processed": "documents", "error": "error", "reported_late": "late",
}  # fmt: skip
TOLD = {
    "sync": ("last_sync_status", "last_sync_at", "last_sync_error"),
    "verify": ("last_verification_at", "last_verification_error", "latest_options"),
    None: ("name", "config", "enabled"),
}


class Agreement:
    """Between one organization's rows, its trail and its events, from one look to the next."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._before = house.look()
        # Each connection's fields as the audit trail, replayed, has them.
        self._trail: dict[str, dict[str, Any]] = defaultdict(dict)

    def holds(self, sources: Iterable[Source], *, by: str) -> Written:
        """Assert it, of changes made by this type of actor; return what was seen."""
        written = self._house.look()
        _rows_agree_with_themselves(written)
        _operations_only_move_forward(self._before, written)
        rows = {row["type"]: row for row in written.connections}
        known = {source.type: source for source in sources if source.exists}
        assert set(rows) == set(known)
        for type_name, source in known.items():
            row = rows[type_name]
            source.id = source.id or row["id"]
            assert source.id == row["id"]
            asked = [operation for operation in written.operations if operation["connection_id"] == source.id]
            _row_is_expected(source, row)
            _operations_are_expected(source, asked)
            _changes_are_told_once(source, row, written, by=by)
            self._replays(row, [entry for entry in written.audited if entry["connection_id"] == source.id])
        self._before = written
        return written

    def _replays(self, row: Row, entries: list[Row]) -> None:
        """The trail alone tells how the connection came to be as it is."""
        trail = self._trail[row["id"]]
        for entry in entries:
            for name, (before, after) in entry["changes"].items():
                assert before == trail.get(name), (entry["action"], name)
                assert after != before, (entry["action"], name)
                trail[name] = after
        assert {name: _as_stored(value, like=row[name]) for name, value in trail.items()} == {
            name: row[name] for name in trail
        }
        assert all(row[name] in (None, False, {}) for name in COLUMNS if name not in trail)


def _rows_agree_with_themselves(written: Written) -> None:
    for row in written.connections:
        running = [o["kind"] for o in written.operations if o["connection_id"] == row["id"] and o["state"] in OPEN]
        assert len(running) == len(set(running)), "two open operations of a kind"
        assert row["status"] == ("syncing" if "sync" in running else "verifying" if running else "idle")
        assert row["deleted_at"] is None or not running
    for operation in written.operations:
        is_open = operation["state"] in OPEN
        assert (operation["finished_at"] is None) == is_open
        waiting = [operation[name] for name in ("deadline_at", "next_attempt_at", "queued_until", "claimed_until")]
        assert is_open or waiting == [None] * 4
        assert operation["connection_id"] in {row["id"] for row in written.connections}


def _operations_only_move_forward(before: Written, written: Written) -> None:
    now = {operation["id"]: operation for operation in written.operations}
    for old in before.operations:
        new = now[old["id"]]
        assert new["state"] in FOLLOWS[old["state"]], f"{old['state']} became {new['state']}"
        if old["state"] in OPEN:
            assert not new["reported_late"]
        elif new["state"] != old["state"]:
            assert new["reported_late"]
        else:
            assert _without(new, COUNTED) == _without(old, COUNTED)


def _row_is_expected(source: Source, row: Row) -> None:
    assert {name: row[name] for name in COLUMNS} == {name: getattr(source, name) for name in COLUMNS}
    assert (row["deleted_at"] is not None) == source.deleted


def _operations_are_expected(source: Source, rows: list[Row]) -> None:
    assert len(rows) == len(source.questions)
    for question, row in zip(source.questions, rows, strict=True):
        # One that the service began has no name before it is seen.
        question.id = question.id or row["id"]
        if question.due is not None:
            assert question.due <= row["next_attempt_at"] <= question.due + question.luck
            question.due = row["next_attempt_at"]
        assert {column: row[column] for column in FIELDS} == {
            column: getattr(question, name) for column, name in FIELDS.items()
        }


def _changes_are_told_once(source: Source, row: Row, written: Written, *, by: str) -> None:
    changes, source.changes = source.changes, []
    pushed = [change for change in changes if change.is_pushed]
    events = [event for event in written.pushed if event["connectionId"] == source.id]
    assert [(event["change"], event.get("operation_id")) for event in events] == [_named(change) for change in pushed]
    audited = [entry for entry in written.audited if entry["connection_id"] == source.id]
    assert [(entry["action"], entry["operation_id"], entry["actor_type"]) for entry in audited] == [
        (*_named(change), by) for change in changes if not change.action.endswith(UNAUDITED)
    ]
    # The last event of each kind says what the row says.
    last = {c.question.kind if c.question else None: event for c, event in zip(pushed, events, strict=True)}
    for kind, event in last.items():
        said = {name: _as_stored(event[name], like=row[name]) for name in TOLD[kind]}
        assert said == {name: row[name] for name in TOLD[kind]}
    if events:
        assert events[-1]["status"] == row["status"]


def _named(change: Change) -> tuple[str, str | None]:
    return change.action, change.question.id if change.question else None


def _as_stored(value: Any, *, like: Any) -> Any:
    return datetime.fromisoformat(value) if isinstance(like, datetime) and isinstance(value, str) else value


def _without(row: Mapping[str, Any], names: set[str]) -> Row:
    return {name: value for name, value in row.items() if name not in names}
