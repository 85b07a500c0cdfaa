"""`make audit` with the real pip-audit and a service in the place of the vulnerability database's."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from devstack import audit
from devstack.ports import free_port

FLASK = {
    "id": "PYSEC-2099-1",
    "summary": "made up",
    "affected": [
        {
            "package": {"name": "flask", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}],
        }
    ],
}


@pytest.fixture
def known() -> dict[str, Any]:
    """What the service knows, by package."""
    return {}


@pytest.fixture
def service(known: dict[str, Any]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            content = json.dumps(known.get(asked["package"]["name"], {})).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def constraints(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Two pins instead of a hundred."""
    pins = tmp_path / "constraints.txt"
    pins.write_text("Flask==3.1.3\nredis==8.1.0\n")
    monkeypatch.setattr(audit, "CONSTRAINTS", pins)
    return pins


@pytest.mark.usefixtures("constraints")
def test_a_known_vulnerability_fails_and_is_named_with_its_mending(
    service: str, known: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known["flask"] = {"vulns": [FLASK]}

    status = audit.main(["-s", "osv", "--osv-url", service, "--cache-dir", str(tmp_path / "cache")])

    printed = capsys.readouterr().out
    assert status == 1
    assert "flask 3.1.3: PYSEC-2099-1, fixed in 99.0" in printed
    assert "2 packages looked up, 1 known" in printed


@pytest.mark.usefixtures("constraints")
def test_packages_without_known_vulnerabilities_pass(
    service: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = audit.main(["-s", "osv", "--osv-url", service, "--cache-dir", str(tmp_path / "cache")])

    printed = capsys.readouterr().out
    assert status == 0
    assert printed == "2 packages looked up, 0 known vulnerabilities\n"


@pytest.mark.usefixtures("constraints")
def test_a_service_that_is_away_fails_nothing_and_is_said_loudly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    away = f"http://127.0.0.1:{free_port()}"

    status = audit.main(["-s", "osv", "--osv-url", away, "--cache-dir", str(tmp_path / "cache")])

    assert status == 0
    assert f"{audit.BANNER}\nNOT AUDITED: the vulnerability service does not answer." in capsys.readouterr().out


def test_pins_that_cannot_be_read_are_no_fault_of_the_service(
    constraints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    constraints.write_text("flask >< 3\n")

    status = audit.main([])

    assert status != 0
    assert "constraints.txt" in capsys.readouterr().out


def test_packages_that_the_service_does_not_know_are_named() -> None:
    report = {"dependencies": [{"name": "flask", "version": "1", "vulns": []}, {"name": "x", "skip_reason": "unknown"}]}

    assert audit.judge(report) == ([], ["x"])
