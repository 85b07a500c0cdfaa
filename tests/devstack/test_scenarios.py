"""What the stand-in does by word, by script and by file; the words are a table that is written down here once more."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from app.domain.status_messages import parse_report
from devstack import reports
from devstack.external_service import ExternalService
from devstack.reports import Kind, SyncRequested, VerifyCredentials
from devstack.scenarios import NOT_KNOWN, ScenarioBook, ScenarioError, load
from devstack.status_queue import StatusQueue
from tests.factories import NOON
from tests.project import PROJECT

ID = "0191e7f4-6c1e-7d2a-9f0b-3c5d7e9f1a2b"
COMMON = {
    "operation_id": ID,
    "user_email": "ada@example.org",
    "user_id": ID,
    "tenant_id": ID,
    "timestamp": NOON,
    "connection_id": ID,
    "connection_type": "confluence",
}
BUILT_IN = load()


def chance() -> Random:
    return Random(1)  # noqa: S311 - the same every time


def a_verification(**fields: Any) -> VerifyCredentials:
    own = {"source": "rita-chat", "action": "verify_credentials", "settings": {}, "credentials": {"api_token": "x"}}
    return VerifyCredentials.model_validate(COMMON | own | fields)


def a_sync(**fields: Any) -> SyncRequested:
    own = {"source": "rita-data-sources", "action": "data_source_sync_requested", "connection_name": "x", "config": {}}
    return SyncRequested.model_validate(COMMON | own | fields)


def told(*words: str, kind: Kind = "sync", book: ScenarioBook = BUILT_IN) -> list[dict[str, Any]]:
    """Return the messages in the order in which they are sent, each with `sent`: how much later."""
    rehearsal = book.rehearsal(set(words))
    error = rehearsal.error(kind)
    if kind == "sync":
        how = rehearsal.sync
        honest = reports.sync(
            a_sync(), credentials_held=True, error=error, chance=chance(), documents=how.documents, pace=how.pace
        )
    else:
        found = rehearsal.verification
        honest = reports.verification(
            a_verification(), error=error, chance=chance(), options=found.options, after=found.after
        )
    sent = sorted(rehearsal.retell(honest), key=lambda report: report.sent)
    return [report.message(accepted_at=NOON) | {"sent": report.sent} for report in sent]


def statuses(*words: str, kind: Kind = "sync") -> list[str]:
    return [message["status"] for message in told(*words, kind=kind)]


def a_file(folder: Path, text: str) -> Path:
    file = folder / "own.yaml"
    file.write_text(text)
    return file


def a_service(book: ScenarioBook = BUILT_IN) -> ExternalService:
    # Never started: what is answered at the door needs no broker.
    return ExternalService(StatusQueue("amqp://127.0.0.1:9//", name="none"), book=book, chance=chance())


def answers(service: ExternalService, *webhook_ids: str, webhook: Any = None) -> list[int]:
    return [service.receive(webhook or a_sync(), webhook_id=webhook_id).status for webhook_id in webhook_ids]


def test_without_a_word_it_is_honest() -> None:
    messages = told()

    assert [message["status"] for message in messages] == ["sync_started"] * (len(messages) - 1) + ["sync_completed"]
    counts = [message["documents_processed"] for message in messages]
    assert counts == sorted(counts)
    assert all(parse_report(as_json(message), queue_name="q").operation_id for message in messages)


def as_json(message: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in message.items() if key != "sent"})


@pytest.mark.parametrize(
    ("word", "answered"),
    [
        ("400", [400, 400, 400, 400]),
        ("500", [500, 500, 500, 500]),
        ("429", [429, 202, 200, 200]),
        ("flaky", [500, 503, 202, 200]),
        ("hang", [202, 200, 200, 200]),
    ],
)
def test_a_word_decides_what_each_attempt_is_answered(word: str, answered: list[int]) -> None:
    webhook = a_sync(config={"simulate": word})

    assert answers(a_service(), *["id-1"] * 4, webhook=webhook) == answered


def test_a_429_says_for_how_long_and_a_hang_outlasts_ritas_patience() -> None:
    asked = a_service().receive(a_sync(config={"simulate": 429}), webhook_id="1")
    held = a_service().receive(a_sync(config={"simulate": "hang"}), webhook_id="1")

    assert asked.headers == {"Retry-After": "3"}
    assert held.after > timedelta(seconds=12)


@pytest.mark.parametrize(("word", "kinds"), [("fail", ["verification", "sync"]), ("fail_sync", ["sync"])])
def test_a_word_makes_work_fail(word: str, kinds: list[Kind]) -> None:
    failing = [kind for kind in ("verification", "sync") if BUILT_IN.rehearsal({word}).error(kind)]

    assert failing == kinds
    assert statuses(word)[-1] == "sync_failed"


def test_words_change_what_is_found() -> None:
    assert told("no_options", kind="verification")[0]["options"] == {}
    assert told("empty")[-1]["documents_processed"] == 0
    assert told("huge")[-1]["documents_processed"] > 1_000_000
    assert timedelta(seconds=45) < told("long")[-1]["sent"] < timedelta(seconds=90)


def test_words_change_how_it_is_told() -> None:
    honest = told()

    assert [message["sent"] - timedelta(seconds=20) for message in told("slow")] == [m["sent"] for m in honest]
    assert min(message["sent"] for message in told("late", kind="verification")) > timedelta(minutes=2)
    assert told("stall") == honest[:1]
    assert told("silence") == []
    assert told("duplicate") == [copy for message in honest for copy in (message, message)]
    assert [m["timestamp"] for m in told("out_of_order")] == [m["timestamp"] for m in honest][::-1]
    assert all("operation_id" not in message for message in told("no_operation_id"))
    assert {message["tenant_id"] for message in told("other_tenant")}.isdisjoint({ID})
    assert [message.get("type") for message in told("nonsense", kind="verification")] == ["gossip", "verification"]


def test_the_older_dialect_is_told_without_type_and_starts() -> None:
    (synced,), (verified,), (failed,) = told("legacy"), told("legacy", kind="verification"), told("legacy", "fail")

    assert (synced["status"], verified["status"], failed["status"]) == ("completed", "success", "failed")
    assert failed["error"] == "The sync failed, as it was asked to"
    assert all("type" not in message and "operation_id" not in message for message in (synced, verified, failed))


def test_several_words_act_together_in_the_order_of_the_book() -> None:
    assert [m["sent"] for m in told("slow", "stall", "duplicate")] == [told("slow")[0]["sent"]]
    assert statuses("fail", "duplicate", kind="verification") == ["failed", "failed"]


@pytest.mark.parametrize(
    ("settings", "credentials", "words"),
    [
        ({"simulate": "slow"}, {}, ("slow",)),
        ({"simulate": " Flaky, duplicate "}, {}, ("flaky", "duplicate")),
        ({"simulate": 500}, {}, ("500",)),
        ({"simulate": ["slow", "500"]}, {}, ("500", "slow")),
        ({}, {"nested": [{"api_token": "xx simulate:silence,500"}]}, ("500", "silence")),
        ({"simulate": "sIow"}, {}, (NOT_KNOWN,)),
        ({"simulate": "slow,sIow"}, {}, ("slow", NOT_KNOWN)),
    ],
)
def test_words_are_said_in_the_settings_or_inside_a_credential(
    settings: dict[str, Any], credentials: dict[str, Any], words: tuple[str, ...]
) -> None:
    asked = BUILT_IN.asked_for(settings, credentials=credentials)

    assert asked is not None
    assert asked.words == words


def test_an_unknown_word_fails_the_work_and_is_not_repeated() -> None:
    error = BUILT_IN.rehearsal({"hunter2"}).error("sync")

    assert error is not None
    assert "hunter2" not in error
    assert "flaky" in error


def test_a_file_adds_scenarios_and_replaces_built_in_ones(tmp_path: Path) -> None:
    own = """
    scenarios:
      crowded:
        about: three spaces
        verification: {options: {spaces: "A,B,C"}, after: 0}
        sync: {documents: [5, 9], pace: 0.5}
      slow: {about: only a little slower, messages: {delay: 1}}
    """

    book = load(a_file(tmp_path, own))

    assert told("crowded", kind="verification", book=book)[0]["options"] == {"spaces": "A,B,C"}
    assert [message["documents_processed"] for message in told("crowded", book=book)] == [0, 5, 9, 9]
    assert told("crowded", book=book)[-1]["sent"] == timedelta(seconds=2)
    assert told("slow", book=book)[0]["sent"] < timedelta(seconds=3)
    assert set(book.scenarios) == {*BUILT_IN.scenarios, "crowded"}


def test_a_script_gives_each_operation_of_a_connection_its_turn_and_the_last_one_stays(tmp_path: Path) -> None:
    script = 'script: {confluence: {sync: [400, "", "500,slow"]}, any: {sync: ["429"], verification: [400]}}'
    service = a_service(load(a_file(tmp_path, script)))
    another = a_sync(connection_type="sharepoint")

    assert answers(service, "first", "first", "second", "third", "fourth") == [400, 400, 202, 500, 500]
    assert answers(service, "other", "other", webhook=another) == [429, 202]
    assert answers(service, "verify", webhook=a_verification(connection_type="slack")) == [400]


def test_a_word_goes_before_the_script(tmp_path: Path) -> None:
    service = a_service(load(a_file(tmp_path, "script: {any: {sync: [400]}}")))

    assert answers(service, "1", webhook=a_sync(config={"simulate": "duplicate"})) == [202]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("scenarios: {x: {about: a, sync: {documents: [1, -2]}}}", r"scenarios\.x\.sync\.documents\.1: .*greater"),
        ("scenarios: {x: {about: a, sync: {pase: 3}}}", r"scenarios\.x\.sync\.pase: there is no such key"),
        ("scenarios: {x: {sync: {pace: 3}}}", r"scenarios\.x\.about: Field required"),
        ("scenarios: {Oh no: {about: a}}", r"scenarios\.Oh no"),
        ("scenarios: {x: {about: a, webhook: {answers: [200]}}}", r"answers\.0\.status: .*300"),
        ("scenarios: {x: {about: a, messages: {send: some}}}", r"messages\.send: .*'all', 'first' or 'none'"),
        ("scenarios: {x: {about: a, messages: {delay: soon}}}", r"messages\.delay: .*number"),
        ("scenarios: {x: {about: a, messages: {delay: .inf}}}", r"messages\.delay: .*finite"),
        ("script: {conflunce: {sync: [fail]}}", r"script\.conflunce.*confluence"),
        ("script: {any: {sync: [fail, flakey]}}", r"script\.any\.sync\.1: no scenario is called 'flakey'"),
        ("a: 1\nscenario: {}", r"scenario: there is no such key"),
        ("scenarios:\n  x: {about: a}\n  x: {about: b}", r"line 3: 'x' is said twice"),
        ("scenarios: [\n {", r"line 2: "),
        ("- 1", r"the file: .*dictionary"),
        ("scenarios: !!python/object:os.system {}", r"line 1: "),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_place(tmp_path: Path, text: str, complaint: str) -> None:
    file = a_file(tmp_path, text)

    with pytest.raises(ScenarioError, match=rf"{re.escape(str(file))}: .*{complaint}|\n.*{complaint}"):
        load(file)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"\xff\xfe\xfd")

    with pytest.raises(ScenarioError, match=r"none\.yaml: cannot be read"):
        load(tmp_path / "none.yaml")
    with pytest.raises(ScenarioError, match=r"latin\.yaml: is not UTF-8"):
        load(tmp_path / "latin.yaml")


def test_the_command_lists_the_scenarios_and_stops_with_a_bad_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "devstack.external_service", "--list", "--scenarios"]

    listed = subprocess.run(
        [*command, str(a_file(tmp_path, "scenarios: {mine: {about: of my own}}"))],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    refused = subprocess.run(
        [*command, str(a_file(tmp_path, "scenarios: 7"))], cwd=PROJECT, capture_output=True, text=True, check=False
    )

    assert [line.split()[0] for line in listed.stdout.splitlines()] == [*BUILT_IN.scenarios, "mine"]
    assert refused.returncode == 1
    assert "own.yaml: scenarios: " in refused.stderr


def test_the_readme_explains_every_built_in_word_and_no_other() -> None:
    text = (PROJECT / "devstack" / "README.md").read_text().split("## Rehearse", 1)[1]

    explained = re.findall(r"^\| `(\w+)` \| (.+) \|$", text, flags=re.MULTILINE)

    assert explained == [(word, scenario.about) for word, scenario in BUILT_IN.scenarios.items()]


def test_the_file_in_the_readme_is_one(tmp_path: Path) -> None:
    (own,) = re.findall(r"```yaml\n(.*?)```", (PROJECT / "devstack" / "README.md").read_text(), flags=re.DOTALL)

    book = load(a_file(tmp_path, own))

    assert {"type": "gossip"}.items() <= told("crowded", kind="verification", book=book)[-1].items()
    assert book.script["confluence"].sync[1] == ("slow", "duplicate")
