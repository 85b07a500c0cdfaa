"""What an error reporter is told when a request or a task crashes with credentials in its hands.

In a process of its own, for Sentry's SDK changes whatever it finds there.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.config import Settings
from tests.e2e.processes import environment
from tests.integration.outbound.sockets import a_certificate
from tests.integration.tasks.conftest import Sql
from tests.project import PROJECT
from tests.security.canary import PATH, Canary, breaking

RUNBOOK = (PROJECT / "docs" / "operations.md").read_text()
# Takes up what another process has sealed, or presses: both as a process does that reports what crashes in it.
SCRIPT = """
import json
import os
import sys

import sentry_sdk


class Written(sentry_sdk.Transport):
    def capture_envelope(self, envelope):
        sys.stderr.buffer.write(envelope.serialize() + b"\\n")


given = json.load(sys.stdin)
sentry_sdk.init(
    dsn="http://public@127.0.0.1:9/1",
    transport=Written(),
    traces_sample_rate=1.0,
    **given["options"],
)

from app import create_app
from tasks import worker_setup
from tasks.celery import app

worker_setup.set_up_worker(app)
flask_app = create_app()
answer = flask_app.handle_user_exception


def report_and_answer(error):
    sentry_sdk.capture_exception(error)
    return answer(error)


# What crashes in a request is answered by a handler of ours, so that the SDK would by itself be told a log line alone.
flask_app.handle_user_exception = report_and_answer
os.unlink(os.environ["WEBHOOK_CA_FILE"])
if "operation_id" in given:
    app.tasks["webhooks.deliver"].apply([given["operation_id"]])
else:
    flask_app.test_client().post(given["path"], json=given["body"], headers=given["headers"])
sentry_sdk.flush()
"""
Report = Callable[..., tuple[str, str]]


def runbooks_options() -> dict[str, Any]:
    """Return what the runbook has given to Sentry's SDK, apart from the address."""
    (call,) = re.findall(r"^sentry_sdk\.init\(.*?^\)", RUNBOOK, re.MULTILINE | re.DOTALL)
    (statement,) = ast.parse(call).body
    keywords: list[ast.keyword] = statement.value.keywords  # type: ignore[attr-defined]
    return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in keywords if keyword.arg != "dsn"}


@pytest.fixture
def report(settings: Settings, tmp_path: Path) -> Report:
    """Let something crash in a process that reports it; return what the reporter sends, and what the process logs."""
    environ = environment(
        database_urls=(settings.owner_database_url, settings.database_url),
        redis_url=settings.redis_url,
        rabbitmq_url=settings.rabbitmq_url,
        webhook_url="https://127.0.0.1:9/",
        JWT_SECRET=settings.jwt_secret or "",
        SEAL_KEYS=",".join(settings.seal_keys),
        # Is gone when it is needed: the POST crashes.
        WEBHOOK_CA_FILE=a_certificate(tmp_path).ca_file,
    )

    def run(**given: Any) -> tuple[str, str]:
        command, words = [sys.executable, "-c", SCRIPT], json.dumps(given)
        done = subprocess.run(
            command, input=words, cwd=PROJECT, env=environ, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stderr, done.stdout

    return run


def crash_in_a_request(report: Report, canary: Canary, sql: Sql, options: dict[str, Any]) -> tuple[str, str]:
    headers = {"Authorization": f"Bearer {canary.browser.token}"}
    path = f"{PATH}/{canary.connection}/verify"
    with breaking(sql, "operations", "kind <> 'verify'"):
        return report(options=options, path=path, body=canary.body, headers=headers)


def crash_in_a_task(report: Report, canary: Canary, _: Sql, options: dict[str, Any]) -> tuple[str, str]:
    return report(options=options, operation_id=canary.press().json["operation_id"])


@pytest.mark.parametrize("crash", [crash_in_a_request, crash_in_a_task])
def test_with_the_runbooks_options_a_reporter_is_told_no_credential(
    crash: Callable[..., tuple[str, str]], report: Report, canary: Canary, sql: Sql
) -> None:
    sent, logged = crash(report, canary, sql, runbooks_options())

    assert '"stacktrace"' in sent
    assert "Traceback" in logged
    assert [word for word in (canary.word, canary.browser.token) if word in sent + logged] == []


def test_without_them_it_is_and_our_own_log_is_not(report: Report, canary: Canary, sql: Sql) -> None:
    sent, logged = crash_in_a_task(report, canary, sql, {})

    assert canary.word in sent
    assert canary.word not in logged
