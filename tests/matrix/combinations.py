"""What the product runs on: for each release of a server or of Python, the tests to which it matters."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from devstack import brokers, postgres_programs, redis_programs
from devstack.postgres import UNPRIVILEGED_USER
from tests.matrix import pythons
from tests.matrix.pythons import Python

DATABASE_TESTS = (
    "tests/integration/services",
    "tests/integration/status/test_outages.py",
    "tests/integration/test_json_values.py",
    "tests/integration/test_migrations.py",
    "tests/integration/test_organization_deletion.py",
    "tests/integration/test_cached_plans.py",
    "tests/integration/test_row_level_security.py",
    "tests/integration/test_session_defaults.py",
    "tests/integration/test_unit_of_work.py",
    "tests/e2e/test_main_flow.py",
    "tests/e2e/test_parallel_presses.py",
)
REDIS_TESTS = (
    "tests/integration/outbound",
    "tests/integration/sse",
    "tests/integration/status/test_redis_transport.py",
    "tests/integration/test_dead_letters.py",
    "tests/integration/test_doctor.py",
    "tests/integration/test_redis_hangs.py",
    "tests/security/test_limits.py",
    "tests/security/test_redis.py",
    "tests/e2e/test_main_flow.py",
    "tests/e2e/test_live_stream.py",
)
# Where others make the user, its broker is another server.
GUARDED_TESTS = tuple(test for test in REDIS_TESTS if "transport" not in test)
PYTHON_TESTS = (
    "tests/unit",
    "tests/integration/outbound",
    "tests/integration/tasks",
    "tests/integration/status/test_worker.py",
    "tests/e2e/test_main_flow.py",
    "tests/e2e/test_live_stream.py",
)
# What CI runs: a little of all of them, after one start of the servers.
QUICK_TESTS = (
    "tests/unit/domain",
    "tests/unit/outbound",
    "tests/unit/tasks",
    "tests/integration/outbound/test_credential_store.py",
    "tests/integration/test_migrations.py",
    "tests/integration/test_row_level_security.py",
    "tests/e2e/test_main_flow.py",
)
# A Python that sees another /usr finds no server of the machine's in it.
ITS_BROKER = "4.3-classic"
_VERSION = re.compile(r"\d+(\.\d+)+")


@dataclass(frozen=True)
class Combination:
    """Servers that settings choose, a Python, and tests."""

    name: str
    tests: Sequence[str]
    servers: Mapping[str, str] = field(default_factory=dict)
    python: str | None = None

    @property
    def environ(self) -> dict[str, str]:
        """What pytest's environment has besides."""
        if self.python is None:
            return dict(self.servers)
        # In that /usr is none of the programs that some tests try what is published with.
        return {"REQUIRE_SERVICES": "", brokers.SETTING: ITS_BROKER, **self.servers}

    def prepare(self) -> tuple[list[str], str]:
        """Return the command that runs its Python, and what exactly is tried; all of it is unpacked first.

        Raises StartError where something cannot be had.
        """
        python = Python(self.python).command() if self.python else [sys.executable]
        tried = [f"Python {_version([*python, '--version'])}"] if self.python else []
        environ = os.environ | self.environ
        if postgres_programs.SETTING in self.servers:
            user = UNPRIVILEGED_USER if os.geteuid() == 0 else None
            postgres = postgres_programs.select_programs(environ, home=Path(), user=user)
            postgres.prepare()
            tried.append(f"PostgreSQL {_version(postgres.command('postgres', '--version'))}")
        if redis_programs.SETTING in self.servers:
            redis = redis_programs.select_program(environ)
            name = self.servers[redis_programs.SETTING].partition("-")[0].capitalize()
            guarded = " with TLS and ACL" if redis.guarded else ""
            tried.append(f"{name} {_version([*redis.command(), '--version'])}{guarded}")
        if broker := environ.get(brokers.SETTING):
            version, _ = brokers.COMBINATIONS[broker].installation(os.environ).versions()
            if brokers.SETTING in self.servers:
                tried.append(f"RabbitMQ {version}")
        return python, ", ".join(tried)


def _version(command: Sequence[str]) -> str:
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = _VERSION.search(said)
    return found[0] if found else said.strip()


def _all() -> list[Combination]:
    newest = {
        postgres_programs.SETTING: "18",
        redis_programs.SETTING: "redis-8.0-guarded",
        brokers.SETTING: "4.3-quorum",
    }
    return [
        *(Combination(f"python-{release}", PYTHON_TESTS, python=release) for release in pythons.SUITES),
        *(
            Combination(f"postgresql-{release}", DATABASE_TESTS, {postgres_programs.SETTING: release})
            for release in postgres_programs.SUITES
        ),
        *(Combination(name, REDIS_TESTS, {redis_programs.SETTING: name}) for name in redis_programs.SUITES),
        # The oldest and the newest; the one between them is below.
        *(
            Combination(name, GUARDED_TESTS, {redis_programs.SETTING: name})
            for name in ("redis-7.0-guarded", "valkey-9.1-guarded")
        ),
        Combination("newest", (*PYTHON_TESTS, *DATABASE_TESTS), newest, python="3.14"),
    ]


COMBINATIONS = {made.name: made for made in _all()}
