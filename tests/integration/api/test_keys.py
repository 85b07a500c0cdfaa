"""Tokens signed with a private key: a public key in the settings, or the keys that a JWKS URL lists."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Flask
from jwt.algorithms import RSAAlgorithm

from devstack.ports import free_port
from tests.factories import a_token

PATH = "/api/data-sources"

RSA = rsa.generate_private_key(65537, 2048)
KEYS: dict[str, Any] = {
    "RS256": RSA,
    "PS256": RSA,
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
OTHER_KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def pem(key: Any) -> str:
    return str(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def ask(app: Flask, token: str, path: str = PATH) -> Any:
    return app.test_client().get(path, headers={"Authorization": f"Bearer {token}"})


def listing(**keys: Any) -> bytes:
    """Return a JWKS' list of public keys, each under its name."""
    listed = [RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": kid} for kid, key in keys.items()]
    return json.dumps({"keys": [key | {"use": "sig"} for key in listed]}).encode()


def part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def forged(header: dict[str, Any], claims: dict[str, Any], *, secret: bytes) -> str:
    """Return a token signed with HMAC, whatever its header says."""
    content = f"{part(header)}.{part(claims)}"
    signature = hmac.new(secret, content.encode(), hashlib.sha256).digest()
    return f"{content}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


@pytest.fixture
def claims(web: Flask) -> dict[str, Any]:
    return jwt.decode(a_token(web), options={"verify_signature": False})


@dataclass
class KeyServer:
    """A real HTTP server that lists keys, counts how often it is asked, and hangs while its gate is closed."""

    content: bytes = listing(one=RSA)
    status: int = 200
    asked: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    _server: ThreadingHTTPServer = field(init=False)

    def __enter__(self) -> Self:
        outer = self
        self.gate.set()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                outer.gate.wait(60)
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(outer.content)))
                self.end_headers()
                self.wfile.write(outer.content)

            def handle(self) -> None:
                # Whoever stopped waiting is not there any more.
                with suppress(ConnectionError):
                    super().handle()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/keys"
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def key_server() -> Iterator[KeyServer]:
    with KeyServer() as server:
        yield server


@pytest.mark.parametrize("algorithm", list(KEYS))
def test_a_public_key_verifies_what_its_private_key_signed(
    another_app: Callable[..., Flask], claims: dict[str, Any], algorithm: str
) -> None:
    app = another_app(jwt_secret=None, jwt_public_key=pem(KEYS[algorithm]))

    assert ask(app, jwt.encode(claims, KEYS[algorithm], algorithm)).status_code == 200


def test_line_breaks_of_the_key_may_be_written_as_backslash_and_n(
    another_app: Callable[..., Flask], claims: dict[str, Any]
) -> None:
    app = another_app(jwt_secret=None, jwt_public_key=pem(RSA).replace("\n", "\\n"))

    assert ask(app, jwt.encode(claims, RSA, "RS256")).status_code == 200


@pytest.mark.parametrize("algorithm", list(OTHER_KEYS))
def test_another_private_key_signs_nothing(
    another_app: Callable[..., Flask], claims: dict[str, Any], algorithm: str
) -> None:
    app = another_app(jwt_secret=None, jwt_public_key=pem(KEYS[algorithm]))

    answer = ask(app, jwt.encode(claims, OTHER_KEYS[algorithm], algorithm))

    assert (answer.status_code, answer.json["code"]) == (401, "invalid_token")


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512", "none", "RS256", "PS256", "ES256", "EdDSA", "XX256"])
def test_the_public_key_is_never_taken_for_a_secret(
    another_app: Callable[..., Flask], claims: dict[str, Any], algorithm: str
) -> None:
    app = another_app(jwt_secret=None, jwt_public_key=pem(RSA))

    for secret in (pem(RSA), pem(RSA).strip(), ""):
        answer = ask(app, forged({"alg": algorithm, "typ": "JWT"}, claims, secret=secret.encode()))
        assert (answer.status_code, answer.json["code"]) == (401, "invalid_token")


def test_a_shared_secret_is_never_taken_for_a_public_key(web: Flask, claims: dict[str, Any]) -> None:
    assert ask(web, jwt.encode(claims, RSA, "RS256")).json["code"] == "invalid_token"


def test_a_listed_key_verifies_and_is_kept(
    another_app: Callable[..., Flask], key_server: KeyServer, claims: dict[str, Any]
) -> None:
    app = another_app(jwt_secret=None, jwt_jwks_url=key_server.url)
    token = jwt.encode(claims, RSA, "RS256", headers={"kid": "one"})

    answers = [ask(app, token).status_code for _ in range(3)]

    assert answers == [200] * 3
    assert key_server.asked == 1


def test_a_key_that_is_known_verifies_while_the_list_is_away(
    another_app: Callable[..., Flask], key_server: KeyServer, claims: dict[str, Any]
) -> None:
    app = another_app(jwt_secret=None, jwt_jwks_url=key_server.url)
    token = jwt.encode(claims, RSA, "RS256", headers={"kid": "one"})
    assert ask(app, token).status_code == 200

    key_server.status = 503

    assert ask(app, token).status_code == 200


def test_a_key_that_is_listed_no_more_verifies_no_more(
    another_app: Callable[..., Flask],
    key_server: KeyServer,
    claims: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.outbound.token_key_cache.KEYS_LIFETIME", timedelta(microseconds=1))
    app = another_app(jwt_secret=None, jwt_jwks_url=key_server.url)
    # Two tokens of one key, since what was found of a token is remembered for a minute.
    tokens = [jwt.encode(claims | {"number": number}, RSA, "RS256", headers={"kid": "one"}) for number in range(2)]
    assert ask(app, tokens[0]).status_code == 200

    key_server.content = listing(two=OTHER_KEYS["RS256"])

    assert ask(app, tokens[1]).json["code"] == "invalid_token"


@pytest.mark.parametrize("headers", [{"kid": "two"}, {}, {"kid": ""}], ids=str)
def test_a_key_that_is_not_listed_signs_nothing(
    another_app: Callable[..., Flask], key_server: KeyServer, claims: dict[str, Any], headers: dict[str, str]
) -> None:
    app = another_app(jwt_secret=None, jwt_jwks_url=key_server.url)

    answer = ask(app, jwt.encode(claims, OTHER_KEYS["RS256"], "RS256", headers=headers))

    assert (answer.status_code, answer.json["code"]) == (401, "invalid_token")


@pytest.mark.parametrize("algorithm", ["HS256", "none", "RS256", "PS256", "ES256", "ES512", "EdDSA", "XX256"])
def test_a_forged_token_that_names_a_listed_key_is_refused(
    another_app: Callable[..., Flask], key_server: KeyServer, claims: dict[str, Any], algorithm: str
) -> None:
    app = another_app(jwt_secret=None, jwt_jwks_url=key_server.url)

    answer = ask(app, forged({"alg": algorithm, "kid": "one"}, claims, secret=pem(RSA).encode()))

    assert (answer.status_code, answer.json["code"]) == (401, "invalid_token")


def test_without_the_list_of_keys_nobody_is_refused_for_good(
    another_app: Callable[..., Flask], claims: dict[str, Any]
) -> None:
    app = another_app(jwt_secret=None, jwt_jwks_url=f"http://127.0.0.1:{free_port()}/keys")

    answer = ask(app, jwt.encode(claims, RSA, "RS256", headers={"kid": "one"}))

    assert (answer.status_code, answer.json["code"]) == (503, "service_unavailable")


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (500, b"{}"),
        (404, b"{}"),
        (302, b""),
        (200, b"<html>"),
        (200, b""),
        (200, b"\xff"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"keys": []}'),
    ],
)
def test_a_list_that_holds_no_keys_is_our_trouble_and_not_the_callers(
    another_app: Callable[..., Flask], key_server: KeyServer, claims: dict[str, Any], status: int, content: bytes
) -> None:
    key_server.status, key_server.content = status, content
    app = another_app(jwt_secret=None, jwt_jwks_url=key_server.url)

    answer = ask(app, jwt.encode(claims, RSA, "RS256", headers={"kid": "one"}))

    assert (answer.status_code, answer.json["code"]) == (503, "service_unavailable")
