"""What a request says of where it came from counts if a proxy says it that the settings name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, jsonify, request
from structlog.testing import CapturingLogger

from app.api import request_handling

PROXY, OTHER = "10.1.2.3", "203.0.113.9"
TOLD = {
    "X-Forwarded-For": "198.51.100.7, 192.0.2.44",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Prefix": "/rita",
}


@pytest.fixture
def behind(another_app: Callable[..., Flask]) -> Flask:
    """An application behind proxies of one network, which says what it takes a request for."""
    app = another_app(trusted_proxies=("10.0.0.0/8", "2001:db8::1"))
    app.add_url_rule("/seen", view_func=lambda: jsonify([request.remote_addr, request.scheme, request.script_root]))
    return app


def seen(app: Flask, peer: str) -> Any:
    return app.test_client().get("/seen", headers=TOLD, environ_base={"REMOTE_ADDR": peer}).json


@pytest.mark.parametrize("proxy", [PROXY, "2001:db8::1"])
def test_a_proxy_that_is_named_tells_client_scheme_and_prefix(behind: Flask, proxy: str) -> None:
    # The last address is what the proxy itself saw; what stands before it anybody may have written.
    assert seen(behind, proxy) == ["192.0.2.44", "https", "/rita"]


@pytest.mark.parametrize("peer", [OTHER, "127.0.0.1", "::1", "2001:db8::2", ""])
def test_nobody_else_does(behind: Flask, peer: str) -> None:
    assert seen(behind, peer) == [peer, "http", ""]


def test_without_the_setting_nobody_is_believed(another_app: Callable[..., Flask]) -> None:
    app = another_app()
    app.add_url_rule("/seen", view_func=lambda: jsonify([request.remote_addr, request.scheme, request.script_root]))

    assert seen(app, PROXY) == [PROXY, "http", ""]
    assert seen(app, "127.0.0.1") == ["127.0.0.1", "http", ""]


def test_the_log_names_the_client(behind: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    log = CapturingLogger()
    monkeypatch.setattr(request_handling, "log", log)
    for peer in (PROXY, OTHER):
        behind.test_client().get("/api/data-sources", headers=TOLD, environ_base={"REMOTE_ADDR": peer})

    said = [(call.kwargs["client"], call.kwargs["status"]) for call in log.calls]
    assert said == [("192.0.2.44", 401), (OTHER, 401)]


def test_of_a_path_the_log_keeps_no_more_than_ours_have(web: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    log = CapturingLogger()
    monkeypatch.setattr(request_handling, "log", log)

    web.test_client().get("/" + "%ff" * 2_000)

    (said,) = log.calls
    assert len(said.kwargs["path"]) == request_handling.MAX_LOGGED_PATH_LENGTH
