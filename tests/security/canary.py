"""A word that is a credential, and a look into every place where it could have been left."""

from __future__ import annotations

import io
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
import structlog
from flask import Flask
from redis import Redis

from app import logs
from app.outbound.credential_store import REDIS_KEY_PREFIX
from tests.factories import Browser
from tests.integration.tasks.conftest import Sql
from tests.places import holding, of_database, of_redis
from tests.receiver import Receiver

PATH = "/api/data-sources"
DELIVER, EXPIRE = "webhooks.deliver", "housekeeping.expire"
Run = Callable[..., None]


def our_loggers() -> list[Any]:
    """Return the loggers of our modules, which remember the level that they were first used with."""
    modules = [module for name, module in sys.modules.items() if name.split(".")[0] in ("app", "tasks")]
    loggers = [getattr(module, "log", None) for module in modules]
    return [log for log in loggers if type(log) is type(structlog.get_logger())]


def talk(level: str) -> None:
    logs.configure_logging(level)
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
        return list(self.redis.scan_iter(f"{REDIS_KEY_PREFIX}*"))

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
