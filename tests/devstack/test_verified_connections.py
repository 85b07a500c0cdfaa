"""What the stand-in remembers from one run to the next: which connections were verified, and no credential."""

from __future__ import annotations

from pathlib import Path

from devstack.external_service import ExternalService
from devstack.status_queue import StatusQueue
from devstack.verified_connections import VerifiedConnections
from tests.devstack.test_scenarios import BUILT_IN, a_sync, a_verification, chance


def a_run(file: Path) -> ExternalService:
    # Never started: what is planned needs no broker.
    queue = StatusQueue("amqp://127.0.0.1:9//", name="none")
    return ExternalService(queue, book=BUILT_IN, chance=chance(), verified=VerifiedConnections(file))


def test_a_second_run_syncs_what_an_earlier_one_verified(tmp_path: Path) -> None:
    file = tmp_path / "verified.json"
    verification, sync = a_verification(credentials={"api_token": "a-made-up-token"}), a_sync()
    a_run(file).receive(verification, webhook_id="1")

    second = VerifiedConnections(file)

    assert verification.key == sync.key
    assert sync.key in second
    assert (*sync.key[:2], "servicenow") not in second
    assert "a-made-up-token" not in file.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["verified.json"]


def test_without_a_file_nothing_is_kept(tmp_path: Path) -> None:
    known = VerifiedConnections()
    known.add(a_sync().key)

    assert a_sync().key in known
    assert list(tmp_path.iterdir()) == []
