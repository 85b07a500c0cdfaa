"""A message that the database refuses is found by halving its batch; a database that refuses all is nobody's fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy.exc import SQLAlchemyError

from app.outbound.dead_letters import DeadLetter
from tests.factories import a_sync_message
from tests.integration.status.conftest import Apply, Database, completions

COUNT = 37

# No message gets past `parse` that a table refuses, so that the refusal is made: as a constraint would.
TRIGGER = """
CREATE FUNCTION refuse_one() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.id = ANY ('{%s}'::uuid[]) THEN
    RAISE EXCEPTION 'not this one' USING ERRCODE = '%s';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER refuse_one BEFORE UPDATE ON data_source_connections FOR EACH ROW EXECUTE FUNCTION refuse_one();
"""


@pytest.fixture
def refuse(database_rows: Database) -> Iterator[Callable[..., None]]:
    def make(*ids: str, errcode: str) -> None:
        database_rows(TRIGGER % (",".join(ids), errcode))

    yield make
    database_rows("DROP FUNCTION IF EXISTS refuse_one CASCADE")


@pytest.mark.parametrize("errcode", ["check_violation", "numeric_value_out_of_range"])
def test_the_messages_that_the_database_refuses_are_isolated_and_all_others_apply(
    apply: Apply, database_rows: Database, refuse: Callable[..., None], errcode: str
) -> None:
    connections = database_rows.connections(COUNT)
    refused = {connections[position]["id"] for position in (0, 17, COUNT - 1)}
    refuse(*refused, errcode=errcode)

    letters = apply(*completions(connections))

    assert {letter.reason for letter in letters} == {"apply_failed"}
    assert len(letters) == len(refused)
    assert database_rows.completed() == COUNT - len(refused)
    assert [database_rows.row(id_)["last_sync_status"] for id_ in refused] == [None] * 3
    assert all(database_rows.operations(id_) == [] for id_ in refused)


def test_an_order_within_a_connection_survives_the_halving(
    apply: Apply, database_rows: Database, refuse: Callable[..., None]
) -> None:
    good, bad = database_rows.connections(2)
    refuse(bad["id"], errcode="check_violation")

    apply(
        a_sync_message(good, "sync_started", timestamp="2026-11-22T12:00:00Z"),
        a_sync_message(bad, "sync_completed"),
        a_sync_message(good, "sync_completed", timestamp="2026-11-22T12:00:00Z"),
    )

    assert [operation["state"] for operation in database_rows.operations(good["id"])] == ["succeeded"]


def test_a_fault_that_is_no_messages_own_buries_none_and_leaves_all_to_come_again(
    apply: Apply,
    database_rows: Database,
    refuse: Callable[..., None],
    letters: Callable[[], list[DeadLetter]],
) -> None:
    connections = database_rows.connections(3)
    refuse(connections[1]["id"], errcode="disk_full")

    with pytest.raises(SQLAlchemyError):
        apply(*completions(connections))

    assert letters() == []
    assert database_rows.completed() == 0
