"""The RabbitMQ releases of `make brokers`: a combination that there is not is named, and nothing stays mounted."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from devstack import brokers, debian
from devstack.brokers import COMBINATIONS, Combination
from devstack.child import StartError
from devstack.rabbitmq import RabbitMQ
from tests.brokers import __main__ as command
from tests.brokers import report
from tests.brokers.runs import Outcome
from tests.runs import Tally


def mounts() -> str:
    return Path("/proc/self/mounts").read_text()


def test_each_release_is_combined_with_each_type_of_queue() -> None:
    assert list(COMBINATIONS) == [
        "3.10-classic",
        "3.10-quorum",
        "4.0-classic",
        "4.0-quorum",
        "4.3-classic",
        "4.3-quorum",
    ]


def test_a_combination_that_there_is_not_is_named_with_those_that_there_are() -> None:
    with pytest.raises(StartError, match=r"TEST_RABBITMQ=3\.9-quorum is none of 3\.10-classic, "):
        brokers.select_combination({"TEST_RABBITMQ": "3.9-quorum"})


def test_without_one_it_is_the_machines_rabbitmq_with_classic_queues(tmp_path: Path) -> None:
    assert brokers.select_combination({"TEST_RABBITMQ": ""}) == Combination(None, "classic")
    assert RabbitMQ(tmp_path, environ={}).virtual_host == "/"


def test_another_release_on_the_machine_is_not_taken_for_the_one_that_is_named(tmp_path: Path) -> None:
    for program in ("rabbitmq-server", "erl"):
        (tmp_path / program).touch(mode=0o755)
    # As beside a RabbitMQ that came in no package, whose release no folder tells.
    (tmp_path / "rabbitmq-env").touch()

    with pytest.raises(StartError, match=r"3\.10 is not tried"):
        COMBINATIONS["3.10-classic"].installation({"PATH": str(tmp_path)})


def test_where_apt_has_no_debian_it_says_so_in_a_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian, "KEYRING", tmp_path / "nowhere")
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}

    with pytest.raises(StartError, match=r"This is no Debian|may not mount"):
        COMBINATIONS["4.3-quorum"].installation(cache)

    assert [path.name for path in (tmp_path / "cache" / "rita-data-sources").glob("[!.]*") if path.is_dir()] == []


@pytest.mark.parametrize("ci", ["", "true"])
def test_a_combination_that_cannot_be_had_is_left_out_and_ci_says_so_in_capitals(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, ci: str
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(debian, "KEYRING", tmp_path / "nowhere")
    monkeypatch.setattr("sys.argv", ["brokers", "--only", "4.3-quorum", "--quick"])

    assert command.main() == 0

    (said,) = [line for line in capsys.readouterr().out.splitlines() if line.lower().startswith("4.3-quorum")]
    assert "is left out:" in said.lower()
    assert said.isupper() == bool(ci)


def test_a_program_that_sees_another_usr_leaves_the_machines_as_it_was() -> None:
    before = mounts()
    words = debian.command(Path("/usr"), "/usr/bin/cat", "/proc/self/mounts")
    seen = subprocess.run(words, check=False, capture_output=True, text=True)
    if seen.returncode:
        pytest.skip("this user may not mount anything, not even for one process alone")

    assert len(seen.stdout.splitlines()) == len(before.splitlines()) + 1
    assert mounts() == before


def test_a_row_stays_until_its_combination_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\n{report.END}\nafter\n")
    monkeypatch.setattr(report, "PAGE", page)

    def outcome(name: str, passed: int) -> Outcome:
        tests = Tally(passed, failed=0, skipped=3)
        return Outcome(name, "4.3.6", "29.0", tests=tests, faults=Tally(8, 1), took=timedelta(minutes=9))

    report.publish([outcome("4.3-quorum", 300), outcome("3.10-classic", 1)])
    report.publish([outcome("3.10-classic", 301)])

    rows = [line.split(" | ")[:4] + line.split(" | ")[6:7] for line in page.read_text().splitlines() if "4.3.6" in line]
    assert rows == [
        ["| 3.10-classic", "4.3.6", "29.0", "301", "8 of 9"],
        ["| 4.3-quorum", "4.3.6", "29.0", "300", "8 of 9"],
    ]
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("after\n")
