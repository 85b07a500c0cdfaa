"""Log lines as a process writes them: a process of its own, for logging is set up once and for all."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from typing import Any

import pytest

SCRIPT = """
import logging
import sys
import structlog
from app import logs
from redis.exceptions import ConnectionError as RedisConnectionError

logs.configure_logging(sys.argv[1])
log = structlog.get_logger()
structlog.contextvars.bind_contextvars(request_id="r-1")
log.debug("below_the_level")
log.info("webhook_attempted", attempt=2)
logging.getLogger("some.library").warning("cannot reach %s", "amqp://rita:hunter2@broker:5672//")
logging.getLogger("some.library").warning("cannot reach redis://:hunter2@redis/0 nor https://example.org/a:b@c")
try:
    try:
        raise ValueError(f"{sys.argv[2]} is no number")
    except ValueError:
        raise RedisConnectionError(f"redis://app:{sys.argv[2]}@db/0 is away")
except RedisConnectionError:
    log.exception("database_away")
logging.getLogger("kombu.connection").info("quiet libraries stay quiet")
logging.getLogger("some.library").info("two\\nlines and %s", "an argument")
"""


@cache
def lines(level: str) -> list[dict[str, Any]]:
    done = subprocess.run([sys.executable, "-c", SCRIPT, level, "hunter2"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def at_info() -> dict[str, dict[str, Any]]:
    """The lines of the script above, by the first word of their event."""
    return {line["event"].split()[0]: line for line in lines("INFO")}


def test_every_line_is_one_json_object_with_level_logger_and_time() -> None:
    for line in lines("INFO"):
        assert {"event", "level", "logger", "timestamp", "request_id"} <= set(line)
        assert line["timestamp"].endswith("Z")
        assert line["request_id"] == "r-1"


def test_values_are_fields(at_info: dict[str, dict[str, Any]]) -> None:
    line = at_info["webhook_attempted"]

    assert (line["event"], line["attempt"], line["level"]) == ("webhook_attempted", 2, "info")


def test_a_librarys_line_takes_the_same_form(at_info: dict[str, dict[str, Any]]) -> None:
    line = at_info["two"]

    assert (line["event"], line["logger"]) == ("two\nlines and an argument", "some.library")


def test_a_password_in_a_url_is_hidden_wherever_a_library_puts_it() -> None:
    written = json.dumps(lines("INFO"))

    assert "hunter2" not in written
    assert "amqp://rita:***@broker:5672//" in written
    assert "redis://:***@redis/0" in written


def test_an_url_without_a_password_stays_as_it_is(at_info: dict[str, dict[str, Any]]) -> None:
    assert at_info["cannot"]["event"].endswith("https://example.org/a:b@c")


def test_an_exception_brings_its_traceback_without_the_password(at_info: dict[str, dict[str, Any]]) -> None:
    told = at_info["database_away"]["exception"]

    assert "Traceback" in told
    assert "redis.exceptions.ConnectionError: redis://app:***@db/0 is away" in told


def test_of_an_exception_that_may_hold_what_was_sent_the_kind_is_told(at_info: dict[str, dict[str, Any]]) -> None:
    first, _, second = at_info["database_away"]["exception"].partition("\n\nDuring handling of the above exception")

    assert first.endswith("ValueError")
    assert "line 17, in <module>" in first
    assert second.endswith("is away")


def test_what_is_below_the_level_is_not_written() -> None:
    assert "below_the_level" not in {line["event"] for line in lines("INFO")}
    assert "webhook_attempted" not in {line["event"] for line in lines("WARNING")}


def test_libraries_that_talk_too_much_are_heard_from_warning_on(at_info: dict[str, dict[str, Any]]) -> None:
    assert "quiet" not in at_info


def test_what_ends_a_thread_is_a_line_of_its_own() -> None:
    script = "import threading; from app import logs; logs.configure_logging('INFO'); "
    script += "threading.Thread(target=int, args=('hunter2',)).start()"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    line = json.loads(done.stdout)
    assert (line["event"], line["level"], done.stderr) == ("thread_failed", "error", "")
    assert line["exception"].endswith("ValueError")
