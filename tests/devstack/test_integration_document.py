"""docs/integration.md says what the code does: its tables, numbers and examples are held against it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import standardwebhooks
import yaml

from app.config import Settings
from app.domain import retry, source_types, status_messages
from app.domain.retry import AttemptFailure, RetryVerdict
from app.outbound import webhook
from devstack import schemas
from devstack.conformance.clauses import CLAUSES
from devstack.conformance.trial import Material
from tests.devstack.conftest import RunNode
from tests.integration.outbound.sockets import a_target
from tests.node import needs_node
from tests.project import PROJECT
from tests.receiver import Receiver

DOCUMENT = (PROJECT / "docs" / "integration.md").read_text()

# The document's words for what brought no answer. The other two failures are our own.
WORDS = {
    AttemptFailure.DNS: "host name not resolved",
    AttemptFailure.REFUSED: "connection refused",
    AttemptFailure.TLS: "certificate not verified",
    AttemptFailure.CONNECT_TIMEOUT: "no connection in time",
    AttemptFailure.READ_TIMEOUT: "no answer in time",
    AttemptFailure.TOTAL_TIMEOUT: "answer not finished in time",
    AttemptFailure.DISCONNECTED: "connection cut",
    AttemptFailure.RESPONSE_INVALID: "not HTTP",
}
OUR_OWN = {AttemptFailure.CREDENTIALS_GONE, AttemptFailure.CREDENTIALS_REFUSED, AttemptFailure.CREDENTIALS_UNREACHABLE}
VERDICTS = {"waits": RetryVerdict.DONE, "tries again": RetryVerdict.RETRY, "gives up": RetryVerdict.FINAL}


def section(number: str) -> str:
    """Return a section's text, by its number."""
    (text,) = re.findall(rf"^###? {re.escape(number)}\.? .*\n((?:(?!^##).*\n)*)", DOCUMENT, flags=re.MULTILINE)
    return str(text)


def rows(number: str) -> Iterator[list[str]]:
    """Yield the cells of a section's tables, without their heads."""
    for line in section(number).splitlines():
        if line.startswith("| ") and not line.startswith(("| you answer", "| key", "| kind")):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def answers() -> dict[str, RetryVerdict]:
    """Return the table of answers: each of its words with what Rita does."""
    table = {}
    for cell, does in rows("2.3"):
        (verdict,) = [verdict for words, verdict in VERDICTS.items() if does.startswith(words)]
        table |= dict.fromkeys(cell.split(", "), verdict)
    return table


def test_the_table_of_answers_is_that_of_the_code() -> None:
    written = answers()

    for status, (verdict, _) in retry.VERDICT_AND_TEXT_BY_STATUS_CODE.items():
        assert written.pop(str(status)) is verdict
    for hundred, (verdict, _) in retry.VERDICT_AND_TEXT_BY_STATUS_CLASS.items():
        (words,) = [each for each in (f"{hundred}xx", f"other {hundred}xx") if each in written]
        assert written.pop(words) is verdict
    for failure in set(AttemptFailure) - OUR_OWN:
        assert written.pop(WORDS[failure]) is retry.VERDICT_AND_TEXT_BY_FAILURE[failure][0]
    assert written == {}


def test_the_waits_and_limits_are_those_of_the_code() -> None:
    defaults = Settings.model_fields
    in_time, seconds = section("2.3"), timedelta(seconds=1)

    for waits in (retry.VERIFICATION_RETRY_SCHEDULE, retry.SYNC_RETRY_SCHEDULE):
        assert ", ".join(f"{wait // seconds} s" for wait in waits) in " ".join(in_time.split())
    for name, words in (
        ("connect", "{} s for the connection"),
        ("read", "{} s for each read"),
        ("total", "{} s in all"),
    ):
        assert words.format(defaults[f"webhook_{name}_seconds"].default // seconds) in in_time
    assert f"{webhook.MAX_RESPONSE_BYTES_READ // 1024} KiB" in in_time
    assert f"{status_messages.MAX_BODY_BYTES // 1024} KiB" in section("3.1")
    for name in ("verify_deadline", "sync_start_deadline", "sync_silence_deadline"):
        assert f"{defaults[f'{name}_seconds'].default // seconds} s" in section("3.4")


def test_every_key_of_every_body_has_its_row() -> None:
    published = schemas.schemas()

    def named(number: str) -> set[str]:
        return {key for row in rows(number) for key in re.findall(r"`(\w+)`", row[0])}

    assert named("2.1") == set().union(*(published[path]["properties"] for path in published if "webhooks" in path))
    assert named("3.2") == set(published["messages/verification.json"]["properties"])
    assert named("3.3") == set(published["messages/sync.json"]["properties"])


@pytest.mark.parametrize(("number", "kind"), [("3.2", "verification"), ("3.3", "sync")])
def test_a_key_is_called_required_if_it_is(number: str, kind: str) -> None:
    required = set(schemas.message(kind)["required"])

    written = {key for row in rows(number) if row[1] == "required" for key in re.findall(r"`(\w+)`", row[0])}

    assert written == required


@pytest.mark.parametrize("number", ["3.2", "3.3"])
def test_the_messages_that_are_shown_are_messages(number: str) -> None:
    (shown,) = re.findall(r"```json\n(.*?)```", section(number), flags=re.DOTALL)

    report = status_messages.parse_report(
        shown.replace("…", "0191e7f4-6c1e-7d2a-9f0b-3c5d7e9f1a2b"), queue_name="data_source_status"
    )

    assert report.trigger in ("started", "succeeded")


def test_the_options_names_are_the_registrys() -> None:
    for entry in source_types.SEEDED_TYPES.values():
        if entry.options_key:
            assert f"`{entry.options_key}` for {entry.name}" in section("3.2")


def test_every_clause_is_a_section() -> None:
    for clause, _ in CLAUSES.values():
        assert all(section(number) for number in clause.split(", "))


def test_the_credentials_file_that_is_shown_is_one() -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", section("4"), flags=re.DOTALL)

    assert set(Material.model_validate(yaml.safe_load(shown)).model_dump()) == set(yaml.safe_load(shown))


@pytest.fixture
def vector() -> dict[str, str]:
    (shown,) = re.findall(r"```json\n(.*?)```", section("2.2"), flags=re.DOTALL)
    return dict(json.loads(shown))


def a_signed_webhook(receiver: Receiver, vector: dict[str, str]) -> dict[str, Any]:
    """Return one of Rita's webhooks as it arrives."""
    body = {"user_email": "zoë@acme.example"}
    webhook.post_webhook(
        body,
        webhook_id=vector["webhook-id"],
        request_id=None,
        target=a_target(receiver.url, signing_secrets=(vector["secret"],)),
    )
    (received,) = receiver.received
    return {"body": received.body.decode(), "headers": received.headers, "secret": vector["secret"]}


def test_pythons_published_library_makes_the_signature_that_is_shown(vector: dict[str, str]) -> None:
    then = datetime.fromtimestamp(int(vector["webhook-timestamp"]), tz=UTC)

    signature = standardwebhooks.Webhook(vector["secret"]).sign(vector["webhook-id"], then, vector["body"])

    assert signature == vector["webhook-signature"]


SIGNATURES = """
import { Webhook } from 'standardwebhooks';

const [vector, arrived] = process.argv.slice(2).map((text) => JSON.parse(text));
const then = new Date(Number(vector['webhook-timestamp']) * 1000);
const verified = new Webhook(arrived.secret).verify(arrived.body, arrived.headers);
let refused = false;
try {
  new Webhook(arrived.secret).verify(arrived.body + ' ', arrived.headers);
} catch {
  refused = true;
}
const signature = new Webhook(vector.secret).sign(vector['webhook-id'], then, vector.body);
console.log(JSON.stringify({ signature, email: verified.user_email, refused }));
"""


@needs_node
def test_nodes_published_library_makes_it_too_and_verifies_what_rita_sends(
    run_node: RunNode, receiver: Receiver, vector: dict[str, str]
) -> None:
    arrived = a_signed_webhook(receiver, vector)

    done = run_node(SIGNATURES, json.dumps(vector), json.dumps(arrived))

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == {"signature": vector["webhook-signature"], "email": "zoë@acme.example", "refused": True}
