"""`doctor --front`: what it says of the proxies of docs/deploy.md, and of ones that are wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app import create_app
from app.config import Settings
from app.extensions import db
from devstack.certificates import Certificate
from devstack.child import LOOPBACK
from devstack.ports import free_port
from tests.e2e.processes import Processes
from tests.project import PROJECT
from tests.proxies.conftest import HEARTBEAT, TIMES
from tests.proxies.fronts import HAPROXY, NGINX, Front, Kind, Times
from tests.proxies.variants import PLAIN, changed, under_path

Findings = dict[str, dict[str, Any]]
Doctor = Callable[[str], Findings]


@pytest.fixture
def doctor(rita: Processes, certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> Iterator[Doctor]:
    """Return what asks an operator's doctor about an address; its findings of that, by what they are about.

    It runs in this process, for to start another one takes longer than to ask.
    """
    for name, value in rita.environ.items():
        if name.lower() in Settings.model_fields:
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))
    app = create_app()

    def ask(address: str) -> Findings:
        done = app.test_cli_runner().invoke(args=["doctor", "--json", "--front", address])
        assert done.exit_code == 1, done.output
        return _of_the_front(done.stdout)

    yield ask
    with app.app_context():
        db.engine.dispose()
    app.extensions["redis"].close()


def _of_the_front(printed: str) -> Findings:
    rows = map(json.loads, printed.splitlines())
    return {row["what"]: row for row in rows if row["what"].startswith("front")}


def test_it_finds_nothing_wrong_with_those_that_are_recommended(
    rita: Processes, front: Front, certificate: Certificate
) -> None:
    command = [sys.executable, "-m", "flask", "--app", "app", "doctor", "--json", "--front", front.url]
    environ = rita.environ | {"SSL_CERT_FILE": str(certificate.authority)}
    done = subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == 1, done.stderr
    found = _of_the_front(done.stdout)
    assert [row["what"] for row in found.values() if row["ok"]] == ["front", "front events", "front streams"], found
    assert found["front"]["found"] == "answers over HTTP/2, and tells browsers to stay with TLS"
    assert found["front streams"]["found"] == f"a stream lasts through {HEARTBEAT:g} s of silence"


def test_nor_under_a_path(rita: Processes, doctor: Doctor, certificate: Certificate, tmp_path: Path) -> None:
    kind = replace(NGINX, changes=under_path(NGINX.changes, "/rita/"))
    kind.demand()
    with _started(kind, rita, certificate, tmp_path) as front:
        found = doctor(f"{front.url}/rita/")

    assert all(row["ok"] for row in found.values()), found


def test_what_holds_events_back_is_found(
    rita: Processes, doctor: Doctor, certificate: Certificate, tmp_path: Path
) -> None:
    kind = replace(PLAIN, changes=changed(PLAIN.changes, "option http-no-delay", ""))
    kind.demand()
    with _started(kind, rita, certificate, tmp_path) as front:
        found = doctor(f"http://{LOOPBACK}:{front.plain_port}")

    assert not found["front events"]["ok"]
    assert "docs/deploy.md" in found["front events"]["mend"]
    assert found["front"]["found"].startswith("answers over HTTP/1.1")


def test_what_ends_silent_streams_is_found(
    rita: Processes, doctor: Doctor, certificate: Certificate, tmp_path: Path
) -> None:
    NGINX.demand()
    with _started(NGINX, rita, certificate, tmp_path, times=Times(idle=HEARTBEAT / 2, grace=1)) as front:
        found = doctor(front.url)

    assert not found["front streams"]["ok"]
    assert "wait longer" in found["front streams"]["mend"]


def test_where_nothing_answers_or_somebody_else_does_that_is_said(
    rita: Processes, doctor: Doctor, fronts: dict[Kind, Front]
) -> None:
    assert rita
    HAPROXY.demand()

    nothing = doctor(f"http://{LOOPBACK}:{free_port()}")
    redirecting = doctor(f"http://{LOOPBACK}:{fronts[HAPROXY].plain_port}")

    assert list(nothing) == list(redirecting) == ["front"]
    assert nothing["front"]["found"].startswith("ConnectionRefusedError")
    assert redirecting["front"]["found"].startswith("answers 301")
    assert "leads to https://" in redirecting["front"]["found"]


def _started(kind: Kind, rita: Processes, certificate: Certificate, directory: Path, *, times: Times = TIMES) -> Front:
    upstream = int(rita.environ["PORT"])
    return Front(kind, upstream=upstream, certificate=certificate, directory=directory, times=times)
