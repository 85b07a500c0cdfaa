"""Structured logs: one JSON object a line on standard output, with the ids of what it is about bound once.

Celery's and gunicorn's own lines take the same form. Never logged: a credential, a signature, a body, a query string.
So a traceback tells lines of code and the kind of each exception, and its text only where none of these can be in it: a
library that was given a body, a header or a URL likes to repeat it (`app/tracebacks.py`).
"""

from __future__ import annotations

import json
import logging.config
import os
import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from app import tracebacks

STANDARD_OUTPUT = 1
_PASSWORD_IN_URL = re.compile(r"(\w+://[^:/@\s]*:)[^@\s]+@")


def _hide_passwords_in_urls(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Cut the password out of any URL that a library logs with its error."""
    for key in ("event", "exception"):
        if isinstance(event.get(key), str):
            event[key] = _PASSWORD_IN_URL.sub(r"\1***@", event[key])
    return event


class _ExceptionKindOnlyFilter(logging.Filter):
    """Leaves of the exception in Celery's line about a failed task its kind, as its traceback does."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        if isinstance(record.args, Mapping) and "exc" in record.args:
            kind = str(record.args["exc"]).partition("(")[0]
            record.args = dict(record.args) | {"exc": kind}
        return True


_SHARED_PROCESSORS: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
_FINAL_PROCESSORS: list[Any] = [
    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
    structlog.processors.ExceptionRenderer(tracebacks.format_traceback),
    _hide_passwords_in_urls,
    structlog.processors.JSONRenderer(),
]


def logging_config(level: str) -> dict[str, Any]:
    """Return the `logging.config` dictionary that sends every logger through structlog."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": _FINAL_PROCESSORS,
                "foreign_pre_chain": [*_SHARED_PROCESSORS, structlog.stdlib.PositionalArgumentsFormatter()],
            }
        },
        "filters": {"kind_alone": {"()": _ExceptionKindOnlyFilter}},
        "handlers": {"stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "json"}},
        "root": {"handlers": ["stdout"], "level": level},
        "loggers": {
            "gunicorn.error": {"handlers": [], "propagate": True},
            # A line for each task and each beat says nothing that our own events do not.
            "celery.beat": {"level": "WARNING"},
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING", "filters": ["kind_alone"]},
            # At DEBUG it would repeat the arguments of every task, which are whole status messages.
            "celery.pool": {"level": "INFO"},
            "kombu": {"level": "WARNING"},
            "alembic": {"level": "INFO"},
            # What it imports, line by line.
            "alembic.runtime.plugins": {"level": "WARNING"},
            # It hands nothing on to the root.
            "multiprocessing": {"handlers": ["stdout"], "level": "INFO"},
            "amqp": {"level": "WARNING"},
            "urllib3": {"level": "WARNING"},
            "requests": {"level": "WARNING"},
        },
    }


def write_from_signal_handler(message: str, _stream: object = None) -> None:
    """Write a line from inside a signal's handler, past the log, whose lock may be held by what was interrupted.

    In the place of Celery's `safe_say`, which writes bare text.
    """
    line = {"event": message.strip(), "level": "info", "logger": "celery.apps.worker"}
    line["timestamp"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    os.write(STANDARD_OUTPUT, json.dumps(line).encode() + b"\n")


def _log_thread_failure(failure: threading.ExceptHookArgs) -> None:
    """Log what ends a thread, which Python would print as bare text."""
    if failure.exc_value is not None and not isinstance(failure.exc_value, SystemExit):
        fault = (failure.exc_type, failure.exc_value, failure.exc_traceback)
        logging.getLogger(__name__).error("thread_failed", exc_info=fault)


def configure_logging(level: str) -> None:
    """Set the process's logging up."""
    logging.config.dictConfig(logging_config(level))
    logging.captureWarnings(capture=True)
    threading.excepthook = _log_thread_failure
    structlog.configure(
        processors=[*_SHARED_PROCESSORS, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        cache_logger_on_first_use=True,
    )
