"""The conformance command tells a service that keeps to the contract from one that does not, and where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from app.outbound.webhook import WebhookTarget
from devstack.conformance.__main__ import as_json, main
from devstack.conformance.clauses import CLAUSES, Result, Row
from devstack.conformance.judge import judge
from devstack.conformance.listener import Listener, Unusable
from devstack.conformance.trial import Material, Patience, Trial
from tests.devstack import standin
from tests.devstack.standin import AUTHORIZATION, SECRET, Address, Wrong, running
from tests.e2e.service import Service

pytestmark = pytest.mark.rabbitmq

IMPATIENT = Patience(verification=timedelta(seconds=1.5), sync=timedelta(seconds=1.5), quiet=timedelta(seconds=0.4))


def tried(
    rabbitmq_url: str, address: Address, *, secret: str | None = SECRET, material: Material | None = None
) -> list[Row]:
    target = WebhookTarget(
        url=address.url,
        authorization=AUTHORIZATION,
        signing_secrets=(secret,) if secret else (),
        ca_file=None,
        connect_timeout=timedelta(seconds=3),
        read_timeout=timedelta(seconds=3),
        total_timeout=timedelta(seconds=3),
    )
    with Listener(rabbitmq_url, queue=address.queue) as listener:
        trial = Trial(target, listener=listener, material=material or Material(), patience=IMPATIENT)
        trial.run()
        return judge(trial)


def rows_that(result: Result, rows: list[Row]) -> dict[str, str]:
    return {row.id: row.detail for row in rows if row.result is result}


def test_the_stand_in_passes_every_row(rabbitmq_url: str, tmp_path: Path) -> None:
    with running(rabbitmq_url, folder=tmp_path) as address:
        rows = tried(rabbitmq_url, address)

    assert [row.id for row in rows] == list(CLAUSES)
    assert {row.id: row.detail for row in rows if row.result is not Result.PASS} == {}


# Each way to be wrong, and the rows that must name it.
VARIANTS: dict[str, tuple[Wrong, set[str]]] = {
    "open to anybody": (Wrong(door=standin.open_to_anybody), {"authorization"}),
    "signatures unchecked": (Wrong(settings={"signing_secret": None}), {"signature", "old_timestamp"}),
    "their age unchecked": (Wrong(door=standin.timeless), {"old_timestamp"}),
    "acts on what it refuses": (Wrong(door=standin.two_faced), {"refused_silently"}),
    "refuses unknown keys": (Wrong(door=standin.strict), {"unknown_keys"}),
    "takes no sync": (Wrong(service=standin.Busy), {"accepted"}),
    "answers after the work": (Wrong(sync="quick,sluggish"), {"accepted"}),
    "refuses a repetition": (Wrong(service=standin.Offended), {"repeated_answer"}),
    "acts on a repetition": (Wrong(service=standin.Forgetful), {"acted_once"}),
    "anybody's credentials": (Wrong(service=standin.Confused), {"own_credentials"}),
    "no credentials kept": (Wrong(service=standin.Careless), {"sync_completes"}),
    "queue with an argument": (Wrong(queue=standin.Ageing), {"queue"}),
    "queue not durable": (Wrong(queue=standin.Fleeting), {"queue"}),
    "messages not persistent": (Wrong(queue=standin.Transient), {"persistent"}),
    "options as a list": (Wrong(verification="quick,listed"), {"shape"}),
    "no type": (Wrong(sync="quick,untyped"), {"shape"}),
    "nonsense": (Wrong(verification="quick,nonsense"), {"shape"}),
    "another tenant": (Wrong(verification="quick,other_tenant"), {"address"}),
    "another connection": (Wrong(sync="quick,misaddressed"), {"address"}),
    "repeats a credential": (Wrong(verification="quick,leaking"), {"no_credentials"}),
    "good fails": (Wrong(verification="quick,accused"), {"good_credentials", "sync_completes"}),
    "bad succeeds": (Wrong(service=standin.Credulous), {"bad_credentials"}),
    "no reason": (Wrong(verification="quick,wordless"), {"bad_credentials", "unreachable"}),
    "silent when unreachable": (Wrong(service=standin.Speechless), {"verification_in_time"}),
    "never ends a sync": (Wrong(sync="quick,stall"), {"sync_in_time"}),
    "no echo": (Wrong(verification="quick,no_operation_id", sync="quick,no_operation_id"), {"echo"}),
    "end before start": (Wrong(sync="quick,out_of_order"), {"order"}),
    "a clock that stands": (Wrong(sync="quick,timeless"), {"order"}),
}


@pytest.fixture(scope="module")
def trials(rabbitmq_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[list[Row]]]]:
    """All variants, tried side by side: a trial is mostly waiting."""

    def try_variant(name: str) -> list[Row]:
        with running(rabbitmq_url, folder=tmp_path_factory.mktemp("variant"), wrong=VARIANTS[name][0]) as address:
            return tried(rabbitmq_url, address)

    with ThreadPoolExecutor(max_workers=6) as pool:
        yield {name: pool.submit(try_variant, name) for name in VARIANTS}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_service_that_is_wrong_fails_in_the_right_row(trials: dict[str, Future[list[Row]]], name: str) -> None:
    failed = rows_that(Result.FAIL, trials[name].result())

    assert set(failed) == VARIANTS[name][1], failed
    assert all(failed.values())


def test_every_row_is_failed_by_some_variant() -> None:
    assert set().union(*(rows for _, rows in VARIANTS.values())) == set(CLAUSES)


def test_copies_of_messages_are_no_fault(rabbitmq_url: str, tmp_path: Path) -> None:
    with running(rabbitmq_url, folder=tmp_path, wrong=Wrong(sync="quick,duplicate")) as address:
        rows = tried(rabbitmq_url, address)

    assert rows_that(Result.FAIL, rows) == {}


def test_a_clock_that_was_never_set_is_called_that(rabbitmq_url: str, tmp_path: Path) -> None:
    with running(rabbitmq_url, folder=tmp_path, wrong=Wrong(sync="quick,unset")) as address:
        failed = rows_that(Result.FAIL, tried(rabbitmq_url, address))

    assert set(failed) == {"order"}
    assert "before the year 2000" in failed["order"]


def test_the_older_dialect_is_called_by_its_name(rabbitmq_url: str, tmp_path: Path) -> None:
    with running(rabbitmq_url, folder=tmp_path, wrong=Wrong(verification="quick,untyped")) as address:
        failed = rows_that(Result.FAIL, tried(rabbitmq_url, address))

    assert "the older dialect of 3.6" in failed["shape"]


def test_without_a_secret_signatures_are_not_judged(rabbitmq_url: str, tmp_path: Path) -> None:
    unsigned = Wrong(settings={"signing_secret": None})

    with running(rabbitmq_url, folder=tmp_path, wrong=unsigned) as address:
        rows = tried(rabbitmq_url, address, secret=None)

    assert set(rows_that(Result.NOT_JUDGED, rows)) == {"signature", "old_timestamp"}
    assert rows_that(Result.FAIL, rows) == {}


def test_a_type_without_credentials_is_not_judged_by_them(rabbitmq_url: str, tmp_path: Path) -> None:
    material = Material(connection_type="websearch", needs_credentials=False)

    with running(rabbitmq_url, folder=tmp_path) as address:
        rows = tried(rabbitmq_url, address, material=material)

    assert set(rows_that(Result.NOT_JUDGED, rows)) == {"own_credentials"}


def test_of_a_service_that_is_not_there_only_the_door_is_judged(rabbitmq_url: str) -> None:
    rows = tried(rabbitmq_url, Address("http://127.0.0.1:9/webhook", "conformance.none"))

    failed = rows_that(Result.FAIL, rows)
    assert set(failed) == {"authorization", "signature", "old_timestamp", "accepted"}
    assert "could not be reached" in failed["accepted"]
    assert rows_that(Result.PASS, rows) == {}


def test_a_queue_that_somebody_else_uses_is_left_alone(rabbitmq_url: str, tmp_path: Path) -> None:
    with running(rabbitmq_url, folder=tmp_path) as address:
        service = Service(rabbitmq_url, queue=address.queue)
        service.declare()
        service.send({"type": "sync"})

        with pytest.raises(Unusable, match="holds 1 messages"):
            tried(rabbitmq_url, address)

        assert service.waiting() == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--webhook-url", "http://example.org/webhook"], "--webhook-url: must be https"),
        (["--rabbitmq-url", "redis://127.0.0.1"], "--rabbitmq-url: must start with amqp://"),
        (["--signing-secret", "secret"], "--signing-secret: must be whsec_"),
        (["--authorization", ""], "--authorization: must be printable"),
        (["--credentials", "none.yaml"], "none.yaml: cannot be read"),
        ([], "The broker cannot be used"),
    ],
)
def test_what_makes_a_trial_impossible_is_named(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--webhook-url", "http://127.0.0.1:9/webhook", "--rabbitmq-url", "amqp://127.0.0.1:9//"]

    code = main([*where, "--authorization", AUTHORIZATION, *arguments])

    assert code == 2
    assert complaint in capsys.readouterr().err


def test_the_brokers_password_need_not_be_an_argument(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RABBITMQ_URL", "redis://127.0.0.1")

    code = main(["--webhook-url", "http://127.0.0.1:9/webhook", "--authorization", AUTHORIZATION])

    assert code == 2
    assert "must start with amqp://" in capsys.readouterr().err


def test_a_report_for_programs_moves_no_cursor() -> None:
    told = as_json([Row("shape", Result.FAIL, "the service said \x9b2J and \u202e")])

    assert told.isascii()
