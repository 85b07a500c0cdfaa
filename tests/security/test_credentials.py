"""A credential through every path that a verification can take: it is in the POST, and nowhere else."""

from __future__ import annotations

import io
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import structlog
from flask import Flask
from redis import Redis
from sqlalchemy.exc import SQLAlchemyError

from app import logs
from app.api.schemas import VerifyBody
from app.config import Settings
from app.outbound import webhook
from app.outbound.broker import DeadLetter
from app.outbound.sealing import PREFIX
from devstack.child import free_port
from tests.factories import Browser, a_sync_message, a_verification_message
from tests.integration.tasks.conftest import Job, Sql
from tests.places import holding, of_database, of_redis
from tests.receiver import Receiver, answer
from tests.waiting import eventually

PATH = "/api/data-sources"
DELIVER, EXPIRE = "webhooks.deliver", "housekeeping.expire"
Run = Callable[..., None]


def our_loggers() -> list[Any]:
    """Return the loggers of our modules, which remember the level that they were first used with."""
    modules = [module for name, module in sys.modules.items() if name.split(".")[0] in ("app", "tasks")]
    loggers = [getattr(module, "log", None) for module in modules]
    return [log for log in loggers if type(log) is type(structlog.get_logger())]


def talk(level: str) -> None:
    logs.configure(level)
    for log in our_loggers():
        vars(log).pop("bind", None)


@pytest.fixture
def logged(web: Flask, tasks_app: Flask) -> Iterator[io.StringIO]:
    """Everything that is logged at DEBUG, by us and by every library, as the product writes it, tracebacks and all."""
    assert web
    assert tasks_app
    written = io.StringIO()
    talk("DEBUG")
    root = logging.getLogger()
    handler = logging.StreamHandler(written)
    handler.setFormatter(root.handlers[0].formatter)
    root.addHandler(handler)
    quiet = [name for name, one in logging.root.manager.loggerDict.items() if isinstance(one, logging.Logger)]
    levels = {name: logging.getLogger(name).level for name in quiet}
    for name in quiet:
        logging.getLogger(name).setLevel(logging.DEBUG)
    yield written
    root.removeHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    talk("WARNING")


class Canary:
    """A word that is a credential, and everybody who may have kept it."""

    def __init__(self, web: Flask, *, logged: io.StringIO, superuser: str, redis: Redis) -> None:
        self.word = f"canary{uuid4().hex}"
        self.browser = Browser(web)
        self.heard: list[str] = []
        self._logged, self._superuser, self.redis = logged, superuser, redis
        self.connection = self.browser.seeded()
        self.body = {
            "credentials": {"api_token": self.word, "email": f"{self.word}@example.org", "url": f"https://{self.word}"},
            "settings": {"note": self.word, self.word: [self.word]},
        }

    def press(self, browser: Browser | None = None, body: Any = None, **options: Any) -> Any:
        """Press verify; what is answered is remembered."""
        path = f"{PATH}/{options.pop('connection', self.connection)}/verify"
        given = (browser or self.browser).post(path, body or (None if options else self.body), **options)
        self.heard.append(f"{given.status} {given.headers} {given.text}")
        return given

    def sealed(self) -> list[bytes]:
        return list(self.redis.scan_iter(f"{PREFIX}*"))

    def found(self, **places: Any) -> list[tuple[str, str]]:
        """Return where the word is, of all the places where it could be."""
        kept = dict(of_database(self._superuser))
        logged = self._logged.getvalue()
        assert "http_request" in logged, "the log is not looked into"
        everywhere = kept | {"redis": of_redis(self.redis).values(), "answers": self.heard, "log": logged.splitlines()}
        return holding(self.word, everywhere | places)


@pytest.fixture
def canary(
    web: Flask, logged: io.StringIO, superuser: str, redis: Redis, take_jobs: object, receiver: Receiver
) -> Iterator[Canary]:
    assert take_jobs
    assert receiver.received == []
    made = Canary(web, logged=logged, superuser=superuser, redis=redis)
    for key in made.sealed():
        redis.delete(key)
    yield made
    for key in made.sealed():
        redis.delete(key)


def crash_of(act: Callable[[], object], kind: type[BaseException]) -> str:
    """Do what must crash, log it as Celery would, and return its traceback."""
    with pytest.raises(kind) as crashed:
        act()
    logging.getLogger("celery.app.trace").error("crashed", exc_info=crashed.value)
    return "".join(traceback.format_exception(crashed.value))


def breaking(sql: Sql, table: str, check: str) -> Any:
    """Let every later write to a table that fails a check crash, until it is left."""

    class Broken:
        def __enter__(self) -> None:
            sql(f"ALTER TABLE {table} ADD CONSTRAINT broken CHECK ({check}) NOT VALID")

        def __exit__(self, *_: object) -> None:
            sql(f"ALTER TABLE {table} DROP CONSTRAINT broken")

    return Broken()


def test_a_verification_that_goes_well_leaves_it_with_the_external_service_alone(
    canary: Canary, run: Run, take_jobs: Callable[[], list[Job]], receiver: Receiver, apply: Callable[..., Any]
) -> None:
    pressed = canary.press()
    assert pressed.status_code == 200
    assert len(canary.sealed()) == 1
    assert canary.found() == []
    jobs = take_jobs()

    run(DELIVER, pressed.json["operation_id"])
    apply(a_verification_message(canary.browser.connection(), options={"spaces": "ENG"}))

    assert receiver.received[0].json["credentials"] == canary.body["credentials"]
    assert receiver.received[0].json["settings"] == canary.body["settings"]
    assert len(jobs) == 1
    assert canary.found(jobs=[repr(jobs)], headers=[repr(receiver.received[0].headers)]) == []
    assert canary.sealed() == []


def test_the_places_of_these_tests_would_show_it(canary: Canary, redis: Redis) -> None:
    logging.getLogger("requests").debug("sent %s", canary.word)
    canary.browser.patch(f"{PATH}/{canary.connection}", {"description": canary.word})
    redis.set("security.test", canary.word, px=5_000)
    canary.heard.append(canary.word)

    places = {place for place, _ in canary.found()}

    assert places >= {"log", "redis", "answers", "data_source_connections", "audit_logs"}


REFUSED: dict[str, tuple[int, Callable[[Canary], Any]]] = {
    "no JSON": (
        400,
        lambda c: c.press(data=f'{{"credentials": {{"api_token": "{c.word}"', content_type="application/json"),
    ),
    "not declared": (415, lambda c: c.press(data=f'{{"credentials": "{c.word}"}}', content_type="text/plain")),
    "too large": (413, lambda c: c.press(data=f'"{c.word * 10_000}"', content_type="application/json")),
    "unknown key": (422, lambda c: c.press(body=c.body | {"bogus": c.word})),
    "no object": (422, lambda c: c.press(body=[c.word])),
    "credentials of no shape": (422, lambda c: c.press(body={"credentials": {"word": c.word}})),
    "credentials that nest": (422, lambda c: c.press(body={"credentials": {"api_token": {"x": c.word}}})),
    "credentials that are a text": (422, lambda c: c.press(body={"credentials": c.word})),
    "settings that are a text": (422, lambda c: c.press(body=c.body | {"settings": c.word})),
    "settings with a NUL": (422, lambda c: c.press(body=c.body | {"settings": {"x": f"{c.word}\x00"}})),
    "settings too deep": (422, lambda c: c.press(body=c.body | {"settings": {"x": nested_deep(c.word)}})),
    "no such connection": (404, lambda c: c.press(connection=str(uuid4()))),
    "no id": (404, lambda c: c.press(connection="confluence")),
    "another path": (404, lambda c: c.browser.post(f"{PATH}/{c.connection}/verify/now", c.body)),
    "another method": (405, lambda c: c.browser.put(f"{PATH}/{c.connection}/verify", c.body)),
    "sent to configure": (422, lambda c: c.browser.patch(f"{PATH}/{c.connection}", {"config": c.body["credentials"]})),
    "sent to create": (422, lambda c: c.browser.put(f"{PATH}/jira", {"config": c.body["credentials"]})),
    "sent to sync": (422, lambda c: c.browser.post(f"{PATH}/{c.connection}/sync", c.body)),
    "without a token": (401, lambda c: c.press(headers={"Authorization": ""}, json=c.body)),
    "as a token": (401, lambda c: c.press(headers={"Authorization": f"Bearer {c.word}"}, json=c.body)),
}


def nested_deep(word: str) -> Any:
    nested: Any = word
    for _ in range(30):
        nested = [nested]
    return nested


@pytest.mark.parametrize("way", REFUSED)
def test_a_request_that_is_refused_leaves_it_nowhere(canary: Canary, way: str) -> None:
    status, send = REFUSED[way]

    refused = send(canary)

    canary.heard.append(refused.text)
    assert refused.status_code == status
    assert canary.sealed() == []
    assert canary.found() == []


def test_a_second_press_leaves_only_the_seal_of_the_first(canary: Canary) -> None:
    canary.press()

    refused = canary.press()

    assert refused.status_code == 409
    assert len(canary.sealed()) == 1
    assert canary.found() == []


def test_a_transaction_that_crashes_leaves_no_seal(canary: Canary, sql: Sql) -> None:
    with breaking(sql, "operations", "kind <> 'verify'"):
        crashed = canary.press()

    assert crashed.status_code == 500
    assert canary.sealed() == []
    assert canary.found() == []


def test_a_database_that_is_away_leaves_no_seal(
    canary: Canary, another_app: Callable[..., Flask], redis: Redis
) -> None:
    away = another_app(database_url=f"postgresql://rita:x@127.0.0.1:{free_port()}/rita", log_level="DEBUG")

    crashed = canary.press(Browser(away, organization_id=canary.browser.organization_id))

    assert crashed.status_code == 503
    assert list(redis.scan_iter(f"{PREFIX}*")) == []
    assert canary.found() == []


def test_a_redis_that_is_away_is_given_nothing(canary: Canary, another_app: Callable[..., Flask]) -> None:
    away = another_app(redis_url=f"redis://127.0.0.1:{free_port()}/0", log_level="DEBUG")

    refused = canary.press(Browser(away, organization_id=canary.browser.organization_id))

    assert refused.status_code == 503
    assert canary.found() == []


def test_a_broker_that_is_away_delays_it_sealed(canary: Canary, another_app: Callable[..., Flask]) -> None:
    away = another_app(rabbitmq_url=f"amqp://rita:x@127.0.0.1:{free_port()}//", log_level="DEBUG")

    taken = canary.press(Browser(away, organization_id=canary.browser.organization_id))

    assert taken.status_code == 200
    assert len(canary.sealed()) == 1
    assert canary.found() == []


def test_a_post_that_crashes_tells_nothing_and_the_seal_ends_by_itself(
    canary: Canary, run: Run, tasks_app: Flask, redis: Redis, settings: Settings
) -> None:
    operation_id = canary.press().json["operation_id"]
    broken = webhook.Target.from_settings(settings.model_copy(update={
        "automation_webhook_url": "https://127.0.0.1:9/", "webhook_ca_file": "/nowhere.pem",
    }))  # fmt: skip

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tasks_app.extensions, "webhook_target", broken)
        told = crash_of(lambda: run(DELIVER, operation_id), OSError)

    assert "nowhere.pem" in told
    assert 0 < redis.pttl(f"{PREFIX}{operation_id}") <= 120_000
    assert canary.found(traceback=[told]) == []


def test_a_record_that_crashes_tells_nothing_and_the_seal_ends_by_itself(
    canary: Canary, run: Run, sql: Sql, redis: Redis, receiver: Receiver
) -> None:
    operation_id = canary.press().json["operation_id"]

    with breaking(sql, "operations", "attempt_log = '[]'"):
        told = crash_of(lambda: run(DELIVER, operation_id), SQLAlchemyError)

    assert len(receiver.received) == 1
    assert 0 < redis.pttl(f"{PREFIX}{operation_id}") <= 120_000
    assert canary.found(traceback=[told]) == []


def test_attempts_that_fail_leave_it_sealed_until_the_last(
    canary: Canary, run: Run, sql: Sql, receiver: Receiver
) -> None:
    # What the receiver says is not kept either, and it may say back what it was sent.
    receiver.otherwise = answer(500, body=canary.word.encode(), headers={"X": canary.word})
    operation_id = canary.press().json["operation_id"]

    for attempt in range(3):
        assert len(canary.sealed()) == 1, attempt
        sql("UPDATE operations SET next_attempt_at = now() WHERE id = %(id)s", id=operation_id)
        run(DELIVER, operation_id)
        assert canary.found() == []

    assert len(receiver.received) == 3
    assert canary.browser.connection()["status"] == "idle"
    assert canary.sealed() == []


@pytest.mark.parametrize(
    "ending",
    [
        answer(302, headers={"Location": "http://127.0.0.1:9/"}),
        answer(401),
        lambda handler: handler.wfile.write(b"no HTTP at all\r\n\r\n"),
        lambda handler: handler.connection.close(),
    ],
    ids=["redirected", "refused", "not HTTP", "cut off"],
)
def test_however_an_attempt_ends_it_is_told_nowhere(canary: Canary, run: Run, receiver: Receiver, ending: Any) -> None:
    receiver.otherwise = ending

    run(DELIVER, canary.press().json["operation_id"])

    assert len(receiver.received) == 1
    assert canary.found() == []


def test_what_expires_leaves_no_seal(canary: Canary, run: Run, sql: Sql) -> None:
    operation_id = canary.press().json["operation_id"]
    sql("UPDATE operations SET deadline_at = %(at)s", at=datetime.now(UTC) - timedelta(seconds=1))

    run(EXPIRE)

    (row,) = sql("SELECT state FROM operations WHERE id = %(id)s", id=operation_id)
    assert row["state"] == "expired"
    assert canary.sealed() == []
    assert canary.found() == []


def test_a_sync_by_force_destroys_the_seal_of_what_it_replaces(canary: Canary, apply: Callable[..., Any]) -> None:
    connection = canary.browser.connection()
    canary.browser.patch(f"{PATH}/{canary.connection}", {"enabled": True})
    canary.press()
    apply(a_verification_message(connection))
    canary.press()
    assert len(canary.sealed()) == 1

    forced = canary.browser.post(f"{PATH}/{canary.connection}/sync", {"force": True})

    assert forced.status_code == 200
    assert canary.sealed() == []
    assert canary.found() == []


def test_a_connection_that_is_deleted_takes_its_seal_along(canary: Canary) -> None:
    jira = canary.browser.put(f"{PATH}/jira", {}).json["data"]["id"]
    canary.press(connection=jira)
    assert len(canary.sealed()) == 1

    assert canary.browser.delete(f"{PATH}/{jira}").status_code == 200

    assert canary.sealed() == []
    assert canary.found() == []


def test_a_seal_nobody_comes_for_is_gone_after_its_time(canary: Canary, another_app: Callable[..., Flask]) -> None:
    brief = another_app(verify_deadline_seconds="0.5", log_level="DEBUG")

    canary.press(Browser(brief, organization_id=canary.browser.organization_id))

    assert len(canary.sealed()) == 1
    eventually(lambda: canary.sealed() == [])
    assert canary.found() == []


def test_a_message_that_repeats_it_is_kept_as_it_was_sent_and_logged_nowhere(
    canary: Canary, apply: Callable[..., list[DeadLetter]]
) -> None:
    connection, word = canary.browser.connection(), canary.word
    sent = [
        f"{word} is no JSON",
        f'{{"type": "{word}"}}',
        f'["{word}"]',
        a_sync_message(connection, word),
        a_sync_message(connection, connection_id=word),
        a_sync_message(connection, operation_id=str(uuid4()), error_message=word),
        a_verification_message(connection, options={"spaces": [word]}),
        a_sync_message(connection, connection_id=str(uuid4()), error_message=word),
    ]

    letters = apply(*sent)

    assert len(letters) == len(sent)
    assert all(word in letter.body.decode() for letter in letters)
    assert [letter for letter in letters if word in f"{letter.reason} {letter.detail} {letter.queue}"] == []
    assert canary.found() == []


def test_what_carries_it_does_not_show_it() -> None:
    word = f"canary{uuid4().hex}"
    sent = VerifyBody.model_validate({"credentials": {"api_token": word}, "settings": {"note": word}})

    assert [text for text in (repr(sent), str(sent), f"{[sent]}") if word in text] == []


def test_neither_the_settings_nor_the_target_show_their_secrets(settings: Settings) -> None:
    secrets = [settings.automation_auth, settings.webhook_signing_secret, settings.jwt_secret, *settings.seal_keys]
    urls = [settings.database_url, settings.owner_database_url, settings.rabbitmq_url, settings.redis_url]
    target = webhook.Target.from_settings(settings)

    shown = f"{settings!r} {settings} {target!r} {target}"

    assert [secret for secret in [*secrets, *urls] if secret and secret in shown] == []
    assert "Settings" in shown
    assert settings.automation_webhook_url in shown
