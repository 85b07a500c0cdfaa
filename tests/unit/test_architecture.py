"""What the import contracts in pyproject.toml cannot say: which names are used where, and that two lists agree."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import inspect

from app import errors, jobs, models
from app.domain import aggregate
from tasks import beat_schedule
from tests.project import PROJECT

SOURCES = sorted([*PROJECT.glob("app/**/*.py"), *PROJECT.glob("tasks/**/*.py"), PROJECT / "gunicorn.conf.py"])


def uses(*names: str) -> dict[str, set[str]]:
    """Return, for each source file that does, which of these dotted endings of names it uses."""
    found = {}
    for path in SOURCES:
        used = {name for name in _dotted_names(path) for wanted in names if f".{name}".endswith(f".{wanted}")}
        if used:
            found[str(path.relative_to(PROJECT))] = used
    return found


def _dotted_names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute | ast.Name):
            yield ast.unparse(node)


def test_only_the_settings_read_the_environment() -> None:
    readers = uses("os.environ", "os.environb", "os.getenv", "os.putenv", "BaseSettings", "dotenv_values")

    # The Prometheus client is told its directory in no other way.
    assert set(readers) == {"app/config.py", "app/metrics_sharing.py"}


def test_only_the_unit_of_work_ends_a_transaction() -> None:
    of_a_session = uses("session.commit", "session.begin", "session.rollback", "session.remove", "connection.commit")
    enders = of_a_session | uses("engine.begin", "engine().begin")

    assert set(enders) == {"app/unit_of_work.py"}


def test_nobody_takes_a_session_of_the_orm() -> None:
    assert uses("db.session", "orm.Session", "sessionmaker", "scoped_session") == {}


def test_nothing_sleeps_or_reads_the_clock_where_it_decides() -> None:
    deciding = {"app/domain", "app/services"}

    clocks = uses("datetime.now", "datetime.utcnow", "time.time", "time.monotonic", "time.sleep", "date.today")

    assert not [path for path in clocks if str(Path(path).parent) in deciding]


def test_every_error_has_a_code_of_its_own_that_says_what_it_is() -> None:
    classes = [errors.AppError, *_descendants(errors.AppError)]

    codes = [error.code for error in classes]

    assert len(set(codes)) == len(codes)
    assert all(code.replace("_", "").isalpha() and code == code.lower() for code in codes)
    # 422 is for the shape of a body only.
    assert {error.__name__ for error in classes if error.status == 422} == {"Invalid", "SecretRefused"}
    assert all(400 <= error.status <= 599 and error.title for error in classes)


def _descendants(error: type[errors.AppError]) -> Iterator[type[errors.AppError]]:
    for child in error.__subclasses__():
        yield child
        yield from _descendants(child)


@pytest.mark.parametrize(
    ("domain", "model"),
    [(aggregate.Connection, models.DataSourceConnection), (aggregate.Operation, models.Operation)],
    ids=lambda cls: cls.__name__,
)
def test_what_the_domain_works_on_is_the_row(domain: Any, model: Any) -> None:
    columns = {column.name for column in inspect(model).columns}

    assert {field.name for field in fields(domain)} == columns


def test_every_audited_field_is_a_connections() -> None:
    assert set(aggregate.AUDITED_FIELDS) <= {field.name for field in fields(aggregate.Connection)}
    # Whatever a person can set or see change is told.
    untold = {field.name for field in fields(aggregate.Connection)} - set(aggregate.AUDITED_FIELDS)
    assert untold == {
        "id", "organization_id", "type", "created_by", "updated_by", "created_at", "updated_at", "first_enabled_at",
        "verified_at", "sync_reported_at", "sync_reported_rank", "last_verification_ending", "last_sync_ending",
        "last_sync_documents",
    }  # fmt: skip


def run_with_settings(script: str) -> Any:
    """Run a script in a process of its own, for the environment is read on import; return what it calls `found`."""
    environment = {
        "PATH": os.defpath,
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none",
        "REDIS_URL": "redis://127.0.0.1:9/0",
        "RABBITMQ_URL": "amqp://127.0.0.1:9//",
        "AUTOMATION_WEBHOOK_URL": "https://automation.example.org/webhook",
        "AUTOMATION_AUTH": "Bearer of-the-tests",
        "JWT_SECRET": "a-secret-of-the-tests-that-is-long-enough",
        "SEAL_KEYS": Fernet.generate_key().decode(),
        "STATUS_QUEUES": "data_source_status,data_source.sync_status",
    }
    done = subprocess.run(
        [sys.executable, "-c", f"{script}\nimport json; print('@' + json.dumps(found))"],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("@")]
    return json.loads(line[1:])


@pytest.fixture(scope="module")
def celery_applications() -> dict[str, Any]:
    """What the Celery applications hold."""
    return dict(
        run_with_settings(
            "import tasks.celery as c, tasks.worker_setup as w\n"
            "w.set_up_worker(c.app), w.set_up_worker(c.status_app)\n"
            "own = lambda app: sorted(name for name in app.tasks if not name.startswith('celery.'))\n"
            "queues = lambda app: sorted(queue.name for queue in app.conf.task_queues)\n"
            "beat = [[entry['task'], entry['options']['queue']] for entry in c.app.conf.beat_schedule.values()]\n"
            "found = {'tasks': own(c.app), 'status_tasks': own(c.status_app), 'queues': queues(c.app),"
            " 'status_queues': queues(c.status_app), 'beat': beat}"
        )
    )


@pytest.mark.parametrize(
    ("start", "unused"),
    [
        (
            "import tasks.celery",
            {"flask", "sqlalchemy", "psycopg2", "requests", "cryptography.x509", "celery.bin.celery"},
        ),
        (
            "import tasks.celery as c, tasks.worker_setup as w; w.set_up_worker(c.status_app)",
            {"app.api.request_handling", "requests", "jwt", "alembic", "tasks.webhooks", "app.outbound.webhook"},
        ),
        (
            "import tasks.celery as c, tasks.worker_setup as w; w.set_up_worker(c.app)",
            {"app.api.request_handling", "jwt", "alembic", "tasks.status", "flask_migrate"},
        ),
        (
            "import app; app.create_app()",
            {"requests", "urllib3", "alembic", "openapi_pydantic", "tasks"},
        ),
    ],
    ids=["beat and flower", "status worker", "webhook worker", "web"],
)
def test_a_process_loads_what_it_uses(start: str, unused: set[str]) -> None:
    loaded = set(run_with_settings(f"{start}\nimport sys; found = sorted(sys.modules)"))

    assert loaded & unused == set()


def test_every_job_and_every_beat_names_a_task_that_is_there(celery_applications: dict[str, Any]) -> None:
    beat = {task for task, _ in celery_applications["beat"]}

    assert beat == {beat_schedule.DISPATCH_TASK, beat_schedule.EXPIRE_TASK, beat_schedule.PURGE_TASK}
    assert set(celery_applications["tasks"]) == beat | {jobs.DELIVER_WEBHOOK_TASK}


def test_whatever_is_sent_goes_to_a_queue_that_is_consumed(celery_applications: dict[str, Any]) -> None:
    assert celery_applications["queues"] == sorted([jobs.WEBHOOKS, jobs.VERIFICATIONS, jobs.HOUSEKEEPING])
    assert {queue for _, queue in celery_applications["beat"]} == {jobs.HOUSEKEEPING}
    # Whoever consumes webhooks consumes verifications: see `tasks/worker_setup.py`.
    procfile = (PROJECT / "Procfile").read_text()
    assert f"-Q {jobs.WEBHOOKS},{jobs.HOUSEKEEPING} " in procfile


def test_nobody_goes_by_a_hosts_clock_but_for_what_is_judged_by_the_same_host() -> None:
    own = {
        # A token's and a stream's end, which its issuer sets by its own clock.
        "app/api/auth.py", "app/api/stream.py", "app/outbound/stream_connections.py", "app/cli/keys.py",
        # The header that a receiver compares with its own clock, and what it asks for by its own.
        "app/outbound/webhook.py",
        # What is told to people, and compared with nothing.
        "app/outbound/dead_letters.py", "app/outbound/events.py",
        # Which look at this very clock, or write it into a line of the log.
        "app/cli/findings.py", "app/outbound/clock_offsets.py", "tasks/beat_schedule.py", "app/logs.py",
    }  # fmt: skip

    assert set(uses("datetime.now", "datetime.utcnow", "time.time", "date.today")) == own
    # An id begins with a moment, too.
    assert uses("uuid7", "uuid6", "uuid1") == {}


def test_the_worker_bound_to_the_services_queues_knows_one_task_only(celery_applications: dict[str, Any]) -> None:
    assert celery_applications["status_tasks"] == ["status.apply_messages"]
    assert celery_applications["status_queues"] == ["data_source.sync_status", "data_source_status"]
