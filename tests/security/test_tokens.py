"""Tokens that nobody may come in with, tried on every call that needs a sign-in; test_auth and test_keys say why."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from flask import Flask

from tests.factories import Browser, a_token
from tests.integration.api.test_keys import OTHER_KEYS, RSA, KeyServer, forged, part, pem
from tests.places import of_database
from tests.receiver import Receiver
from tests.security.rules import calls, needs_sign_in

NOW = datetime.now(UTC)
KID = "one"


def claims_of(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


def with_header(app: Flask, **header: Any) -> str:
    """Return a token whose header says more than it should, signed by somebody else's key."""
    claims = claims_of(a_token(app))
    return jwt.encode(claims, OTHER_KEYS["RS256"], "RS256", headers=header)


# What each kind of token is, made for the application that is asked.
UNSIGNED: dict[str, Callable[[Flask], str]] = {
    "no token": lambda _: "",
    "garbage": lambda _: "garbage",
    "three empty parts": lambda _: "..",
    "not base64": lambda _: "ä.ö.ü",
    "unicode": lambda _: "☃" * 50,
    "huge": lambda _: "x" * 500_000,
    "huge parts": lambda _: ".".join(["e30" * 100_000] * 3),
    "nul": lambda _: "a\x00b",
    "alg none": lambda app: f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims_of(a_token(app)))}.",
    "alg none, signed by nobody": lambda app: f"{part({'alg': 'None'})}.{part(claims_of(a_token(app)))}.e30",
    "no alg": lambda app: forged({"typ": "JWT"}, claims_of(a_token(app)), secret=b""),
    "an empty secret": lambda app: forged({"alg": "HS256"}, claims_of(a_token(app)), secret=b""),
    "another secret": lambda app: jwt.encode(claims_of(a_token(app)), "another-secret" * 4),
    "its own key in the header": lambda app: with_header(
        app, jwk=json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(OTHER_KEYS["RS256"].public_key()))
    ),
    "what must be understood": lambda app: forged(
        {"alg": "HS256", "crit": ["x"], "x": 1},
        claims_of(a_token(app)),
        secret=app.extensions["settings"].jwt_secret.encode(),
    ),
}
CLAIMS: dict[str, dict[str, Any]] = {
    "expired": {"exp": NOW - timedelta(hours=1)},
    "not yet valid": {"nbf": NOW + timedelta(hours=1)},
    "issued in the future": {"iat": NOW + timedelta(hours=1)},
    "never expires": {"exp": None},
    "nobody": {"sub": None},
    "no address": {"email": None},
    "no organization": {"organization_id": None},
    "no role": {"role": None},
    "unknown role": {"role": "superuser"},
    "two roles": {"role": ["member", "owner"]},
    "two organizations": {"organization_id": ["00000000-0000-0000-0000-000000000000"] * 2},
    "an organization that is a pattern": {"organization_id": "%"},
    "an organization that is SQL": {"organization_id": "' OR 1=1 --"},
    "an address that is a header": {"email": "a@b.c\r\nX-Injected: 1"},
    "an address of two": {"email": "a@example.org b@example.org"},
}


def tried(app: Flask, authorization: str) -> list[tuple[str, Any]]:
    """Try a token on every call that needs a sign-in."""
    client = app.test_client()
    wsgi = {"HTTP_AUTHORIZATION": authorization.encode().decode("latin-1")}
    asked = [call for call in calls(app) if needs_sign_in(call)]
    assert len(asked) >= 11
    return [
        (str(call), client.open(call.path(), method=call.method, json={}, environ_overrides=wsgi)) for call in asked
    ]


def check(answers: list[tuple[str, Any]], *, token: str) -> None:
    for call, answer in answers:
        assert answer.status_code == 401, call
        assert {"error", "message", "code", "request_id"} <= set(answer.json), call
        assert answer.json["code"] in ("unauthorized", "invalid_token", "token_expired")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert len(token) < 20 or token not in answer.text
        assert len(answer.data) < 1_000


@pytest.fixture
def unchanged(web: Flask, superuser: str) -> Callable[[], bool]:
    """Tell whether the rows of an organization, which others want to change, are as they were."""
    Browser(web).seeded()

    def rows() -> dict[str, list[str]]:
        return {table: found for table, found in of_database(superuser).items() if table != "pg_stat_activity"}

    before = rows()
    return lambda: rows() == before


@pytest.mark.parametrize("kind", UNSIGNED)
def test_no_call_takes_a_token_that_our_key_did_not_sign(web: Flask, unchanged: Callable[[], bool], kind: str) -> None:
    token = UNSIGNED[kind](web)

    check(tried(web, f"Bearer {token}"), token=token)

    assert unchanged()


@pytest.mark.parametrize("kind", CLAIMS)
def test_no_call_takes_a_signed_token_with_claims_that_will_not_do(
    web: Flask, unchanged: Callable[[], bool], kind: str
) -> None:
    token = a_token(web, **CLAIMS[kind])

    check(tried(web, f"Bearer {token}"), token=token)

    assert unchanged()


@pytest.mark.parametrize(
    "claims", [{"aud": "another"}, {"iss": "https://evil.example.org"}, {"aud": None}, {"iss": None}], ids=str
)
def test_no_call_takes_a_token_that_is_for_or_from_somebody_else(
    another_app: Callable[..., Flask], claims: dict[str, Any]
) -> None:
    app = another_app(jwt_audience="rita", jwt_issuer="https://id.example.org")
    good = {"aud": "rita", "iss": "https://id.example.org"}

    check(tried(app, f"Bearer {a_token(app, **good | claims)}"), token="")

    assert Browser(app).get("/api/data-sources").status_code == 401
    headers = {"Authorization": f"Bearer {a_token(app, **good)}"}
    assert app.test_client().get("/api/data-sources", headers=headers).status_code == 200


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_no_call_takes_the_public_key_for_a_secret(
    web: Flask, another_app: Callable[..., Flask], algorithm: str
) -> None:
    app = another_app(jwt_secret=None, jwt_public_key=pem(RSA))
    claims = claims_of(a_token(web))

    for secret in (pem(RSA), pem(RSA).strip(), pem(RSA).replace("\n", "\r\n")):
        token = forged({"alg": algorithm, "typ": "JWT"}, claims, secret=secret.encode())
        check(tried(app, f"Bearer {token}"), token=token)


def test_no_call_takes_another_key_that_bears_a_listed_name(web: Flask, another_app: Callable[..., Flask]) -> None:
    claims = claims_of(a_token(web))
    with KeyServer() as server:
        app = another_app(jwt_secret=None, jwt_jwks_url=server.url)
        ours = jwt.encode(claims, RSA, "RS256", headers={"kid": KID})
        theirs = jwt.encode(claims, OTHER_KEYS["RS256"], "RS256", headers={"kid": KID})

        check(tried(app, f"Bearer {theirs}"), token=theirs)

        headers = {"Authorization": f"Bearer {ours}"}
        assert app.test_client().get("/api/data-sources", headers=headers).status_code == 200


@pytest.mark.parametrize("header", ["jku", "x5u"])
def test_a_token_does_not_say_where_its_key_is_to_be_fetched(
    web: Flask, another_app: Callable[..., Flask], header: str
) -> None:
    with KeyServer() as ours, KeyServer() as theirs:
        app = another_app(jwt_secret=None, jwt_jwks_url=ours.url)
        token = with_header(web, kid=KID, **{header: theirs.url})

        check(tried(app, f"Bearer {token}"), token=token)

        assert (ours.asked, theirs.asked) == (1, 0)


@pytest.mark.parametrize("place", ["query", "cookie", "form"])
def test_a_good_token_anywhere_but_in_its_header_signs_nobody_in(web: Flask, place: str) -> None:
    token = a_token(web)
    client = web.test_client()
    if place == "cookie":
        client.set_cookie("access_token", token)
        client.set_cookie("Authorization", f"Bearer {token}")
    options: dict[str, Any] = {
        "query": {"query_string": {"access_token": token, "token": token, "ticket": token}},
        "cookie": {},
        "form": {"data": {"access_token": token}},
    }[place]

    answers = [client.open(call.path(), method=call.method, **options) for call in calls(web) if needs_sign_in(call)]

    assert {answer.status_code for answer in answers} == {401}


def test_the_webhooks_and_the_sources_secrets_are_no_tokens(web: Flask, receiver: Receiver) -> None:
    settings = web.extensions["settings"]
    secrets = [settings.automation_auth.removeprefix("Bearer "), *settings.webhook_signing_secret, *settings.seal_keys]

    for secret in [*secrets, base64.b64encode(b"rita:rita").decode()]:
        check(tried(web, f"Bearer {secret}"), token=str(secret))
    assert receiver.received == []
