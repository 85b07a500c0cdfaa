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
from tests.waiting import eventually

PATH = "/api/data-sources"
NESTED = base64.urlsafe_b64encode(b'{"alg": "HS256", "x": ' + b"[" * 5_000 + b"]" * 5_000 + b"}").decode().rstrip("=")


def ask(app: Flask, authorization: str | None) -> Any:
    headers = {} if authorization is None else {"Authorization": authorization}
    return app.test_client().get(PATH, headers=headers)


def with_token(app: Flask, **claims: Any) -> Any:
    return ask(app, f"Bearer {a_token(app, **claims)}")


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Basic YWRhOmFkYQ==", "Token x", "Bearer\tx"])
def test_who_does_not_say_who_it_is_is_told_how(web: Flask, authorization: str | None) -> None:
    answer = ask(web, authorization)

    assert (answer.status_code, answer.json["code"]) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_read_in_any_case(web: Flask, scheme: str) -> None:
    assert ask(web, f"{scheme} {a_token(web)}").status_code == 200


@pytest.mark.parametrize("token", ["x", "a.b.c", "....", "x" * 8_000, "äöü", "null", f"{NESTED}.e30.x", "a.b.c d"])
def test_garbage_is_no_token(web: Flask, token: str) -> None:
    answer = ask(web, f"Bearer {token}")

    assert (answer.status_code, answer.json["code"]) == (401, "invalid_token")


def test_an_expired_token_is_told_from_a_wrong_one(web: Flask) -> None:
    answer = with_token(web, exp=datetime.now(UTC) - timedelta(minutes=1))

    assert (answer.status_code, answer.json["code"]) == (401, "token_expired")


def test_clocks_may_differ_by_a_moment(web: Flask) -> None:
    assert with_token(web, exp=datetime.now(UTC) - timedelta(seconds=2)).status_code == 200


def test_a_token_that_is_remembered_expires_all_the_same(web: Flask) -> None:
    # Within what clocks may differ by, and not for long.
    bearer = f"Bearer {a_token(web, exp=datetime.now(UTC) - timedelta(seconds=3))}"
    assert ask(web, bearer).status_code == 200

    refused = eventually(lambda: answer if (answer := ask(web, bearer)).status_code != 200 else None)

    assert (refused.status_code, refused.json["code"]) == (401, "token_expired")


def test_what_was_never_signed_is_no_remembered_token(web: Flask) -> None:
    token = a_token(web)
    assert ask(web, f"Bearer {token}").status_code == 200

    unsigned, _, _ = token.rpartition(".")

    assert ask(web, f"Bearer {unsigned}.").json["code"] == "invalid_token"
    assert ask(web, f"Bearer {unsigned}.{'A' * 43}").json["code"] == "invalid_token"


def test_a_token_that_is_not_valid_yet_is_refused(web: Flask) -> None:
    assert with_token(web, nbf=datetime.now(UTC) + timedelta(minutes=1)).json["code"] == "invalid_token"


def test_another_secret_signs_nothing(web: Flask) -> None:
    token = jwt.encode(jwt.decode(a_token(web), options={"verify_signature": False}), "another-secret" * 4)

    assert ask(web, f"Bearer {token}").json["code"] == "invalid_token"


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_token_that_was_touched_is_refused(web: Flask, position: int) -> None:
    parts = a_token(web).split(".")
    parts[position] = parts[position][:10] + ("A" if parts[position][10] != "A" else "B") + parts[position][11:]

    assert ask(web, "Bearer " + ".".join(parts)).status_code == 401


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE"])
@pytest.mark.parametrize("signature", ["", "x"])
def test_a_token_without_a_signature_is_refused(web: Flask, algorithm: str, signature: str) -> None:
    def part(content: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

    claims = jwt.decode(a_token(web), options={"verify_signature": False})

    answer = ask(web, f"Bearer {part({'alg': algorithm, 'typ': 'JWT'})}.{part(claims)}.{signature}")

    assert (answer.status_code, answer.json["code"]) == (401, "invalid_token")


@pytest.mark.parametrize("claim", ["sub", "email", "organization_id", "role", "exp"])
def test_a_token_that_lacks_a_claim_is_refused_by_its_name(web: Flask, claim: str) -> None:
    answer = with_token(web, **{claim: None})

    assert (answer.status_code, answer.json["code"]) == (401, "invalid_token")
    assert claim in answer.json["message"]


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("sub", "ada"),
        ("sub", 7),
        ("sub", ["x"]),
        ("email", ""),
        ("email", "a\x00b@example.org"),
        ("email", "a b@example.org"),
        ("email", 7),
        ("email", "x" * 321),
        ("organization_id", "acme"),
        ("organization_id", []),
        ("organization_id", "*"),
        ("organization_id", True),
        ("role", "root"),
        ("role", "Admin"),
        ("role", ""),
        ("role", ["admin"]),
        ("exp", "soon"),
        ("exp", []),
        ("exp", {}),
        ("exp", True),
        ("exp", float("inf")),
        ("exp", 1e30),
        ("exp", 10**400),
        ("nbf", []),
        ("iat", "x"),
    ],
    ids=str,
)
def test_a_token_with_a_malformed_claim_is_refused(web: Flask, claim: str, value: Any) -> None:
    answer = with_token(web, **{claim: value})

    assert answer.status_code == 401
    assert answer.json["code"] in ("invalid_token", "token_expired")


def test_an_address_in_the_token_need_not_be_one_of_our_country(web: Flask) -> None:
    assert with_token(web, email="jörg@bücher.example").status_code == 200


def test_claims_that_are_not_ours_are_ignored(web: Flask) -> None:
    assert with_token(web, permissions=["everything"], iss="https://somewhere.example.org").status_code == 200


@pytest.mark.parametrize("audience", ["somebody-else", ["a", "b"], None, "", 7])
def test_a_token_for_another_audience_is_refused(another_app: Callable[..., Flask], audience: Any) -> None:
    app = another_app(jwt_audience="rita")

    assert with_token(app, aud="rita").status_code == 200
    assert with_token(app, aud=["x", "rita"]).status_code == 200
    assert with_token(app, aud=audience).json["code"] == "invalid_token"


@pytest.mark.parametrize("issuer", ["https://evil.example.org", None, "", "https://id.example.org/"])
def test_a_token_of_another_issuer_is_refused(another_app: Callable[..., Flask], issuer: Any) -> None:
    app = another_app(jwt_issuer="https://id.example.org")

    assert with_token(app, iss="https://id.example.org").status_code == 200
    assert with_token(app, iss=issuer).json["code"] == "invalid_token"


def test_the_token_alone_decides_whose_rows_are_shown(web: Flask) -> None:
    ada, eve = Browser(web), Browser(web)
    ada.seeded()
    headers = {"X-Organization-ID": str(ada.organization_id), "X-Tenant-ID": str(ada.organization_id)}

    assert eve.get(f"{PATH}?organization_id={ada.organization_id}", headers=headers).json == {"data": []}


def test_no_refusal_repeats_the_token(web: Flask) -> None:
    token = a_token(web, role="root")

    answer = ask(web, f"Bearer {token}")

    assert not any(part in answer.text for part in token.split("."))
