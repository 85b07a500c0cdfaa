"""The releases of `make matrix`: one that there is not is named, and what cannot be had is left out, loudly."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError

from devstack import debian, postgres_programs, redis_programs
from devstack.child import StartError
from devstack.postgres import PostgreSQL
from devstack.redis_programs import RIGHTS
from devstack.valkey import Valkey
from tests.matrix import __main__ as command
from tests.matrix import report
from tests.matrix.combinations import COMBINATIONS, QUICK_TESTS
from tests.matrix.report import Outcome
from tests.project import PROJECT
from tests.runs import Tally


def test_a_release_that_there_is_not_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"TEST_POSTGRESQL=9\.6 is none of 15, 17, 18\."):
        PostgreSQL(tmp_path, environ={"TEST_POSTGRESQL": "9.6"})
    with pytest.raises(StartError, match=r"TEST_REDIS=redis-2 is none of redis-7\.0, "):
        Valkey(tmp_path, environ={"TEST_REDIS": "redis-2"})


@pytest.mark.parametrize("environ", [{}, {"TEST_POSTGRESQL": "", "TEST_REDIS": ""}], ids=["not set", "empty"])
def test_without_one_it_is_the_wheels(tmp_path: Path, environ: Mapping[str, str]) -> None:
    assert isinstance(postgres_programs.select_programs(environ, home=tmp_path, user=None), postgres_programs.Wheel)
    assert redis_programs.select_program(environ).release is None


def test_every_test_that_is_named_is_there() -> None:
    named = {test for made in COMBINATIONS.values() for test in made.tests} | {*QUICK_TESTS}

    assert [test for test in named if not (PROJECT / test).exists()] == []


@pytest.mark.parametrize("ci", ["", "true"])
def test_what_cannot_be_had_is_left_out_and_ci_says_so_in_capitals(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, ci: str
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(debian, "KEYRING", tmp_path / "nowhere")
    monkeypatch.setattr("sys.argv", ["matrix", "--only", "postgresql-15", "--quick"])

    assert command.main() == 0

    (said,) = [line for line in capsys.readouterr().out.splitlines() if line.lower().startswith("postgresql-15")]
    assert "is left out:" in said.lower()
    assert said.isupper() == bool(ci)


def test_a_row_stays_until_its_combination_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\n{report.END}\nafter\n")
    monkeypatch.setattr(report, "PAGE", page)

    def outcome(name: str, passed: int) -> Outcome:
        return Outcome(name, "Python 3.14.8", Tally(passed, failed=0, skipped=3), took=timedelta(minutes=9))

    report.publish([outcome("newest", 300), outcome("python-3.14", 1)])
    report.publish([outcome("python-3.14", 301)])

    rows = [line.split(" | ")[:3] for line in page.read_text().splitlines() if "3.14.8" in line]
    assert rows == [["| python-3.14", "Python 3.14.8", "301"], ["| newest", "Python 3.14.8", "300"]]
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("after\n")


def test_a_guarded_redis_lets_in_who_has_a_password_to_what_is_theirs(tmp_path: Path) -> None:
    environ = {redis_programs.SETTING: "redis-8.0-guarded"}
    try:
        # The wheel's knows no TLS.
        redis_programs.select_program(environ).command()
    except StartError as problem:
        pytest.skip(str(problem))

    with Valkey(tmp_path / "valkey", environ=environ) as guarded:
        with Redis.from_url(guarded.url) as user:
            user.set("rita:mine", "1")
            with pytest.raises(NoPermissionError):
                user.set("other", "1")
            with pytest.raises(NoPermissionError):
                user.flushdb()
        with Redis.from_url(guarded.admin_url) as admin:
            assert admin.dbsize() == 1
        nobody = guarded.url.replace("rita:", "nobody:")
        with Redis.from_url(nobody) as stranger, pytest.raises(AuthenticationError):
            stranger.ping()


def test_the_runbook_grants_what_the_tests_run_with() -> None:
    assert f"ACL SETUSER rita on >PASSWORD {RIGHTS}\n" in (PROJECT / "docs/operations.md").read_text()
