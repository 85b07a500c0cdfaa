"""Starting without what a start needs: one message that names everything, and no process that limps along."""

from __future__ import annotations

import subprocess
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.e2e.processes import COMMANDS, READY_WITHIN, environment, path_of_programs
from tests.project import PROJECT

SERVERS = {"DATABASE_URL", "RABBITMQ_URL", "REDIS_URL"}
REQUIRED = {
    "web": SERVERS | {"JWT_SECRET", "SEAL_KEYS"},
    "worker": SERVERS,
    "webhook_worker": SERVERS | {"AUTOMATION_WEBHOOK_URL", "AUTOMATION_AUTH", "SEAL_KEYS"},
    "beat": {"RABBITMQ_URL"},
    "flower": {"RABBITMQ_URL"},
    "release": {"DATABASE_URL"},
}
NOTHING = {"PATH": path_of_programs()}
LINES = sorted(COMMANDS)
AS_SUPERUSER = ["web", "worker"]

Ended = subprocess.CompletedProcess[str]


def ended(line: str, environ: dict[str, str]) -> Ended:
    """Run a line until it ends by itself."""
    return subprocess.run(
        ["/bin/sh", "-c", COMMANDS[line]],
        env=environ,
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=READY_WITHIN,
        check=False,
    )


@pytest.fixture(scope="module")
def starts(admin_database_url: str, redis_url: str, rabbitmq_url: str) -> dict[tuple[str, str], Future[Ended]]:
    """What becomes of each start, by line and by what is wrong; side by side, for each takes seconds."""
    superuser = environment(
        database_urls=(admin_database_url, admin_database_url),
        redis_url=redis_url,
        rabbitmq_url=rabbitmq_url,
        webhook_url="https://service.example.org/webhook",
    )
    with ThreadPoolExecutor(4) as threads:
        bare = {(line, "bare"): threads.submit(ended, line, NOTHING | {"FLOWER_BASIC_AUTH": "a:b"}) for line in LINES}
        unsafe = {(line, "superuser"): threads.submit(ended, line, superuser) for line in AS_SUPERUSER}
        return bare | unsafe


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_the_procfile_without_settings_ends_with_one_message_that_names_all_that_is_missing(
    starts: dict[tuple[str, str], Future[Ended]], line: str
) -> None:
    start = starts[line, "bare"].result()

    assert start.returncode != 0
    assert {name for name in set.union(*REQUIRED.values()) if name in start.stdout} == REQUIRED[line]
    assert start.stdout.count("do not allow a start") == 1
    assert "Traceback" not in start.stdout


@pytest.mark.parametrize("line", AS_SUPERUSER)
def test_a_process_that_would_work_as_a_superuser_of_the_database_does_not_start(
    starts: dict[tuple[str, str], Future[Ended]], line: str
) -> None:
    start = starts[line, "superuser"].result()

    assert start.returncode != 0
    assert "is a superuser or has BYPASSRLS" in start.stdout


def test_flower_without_a_password_does_not_start() -> None:
    start = ended("flower", NOTHING)

    assert start.returncode != 0
    assert "FLOWER_BASIC_AUTH" in start.stdout
