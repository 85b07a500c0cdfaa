"""What looks like a credential, and what only sounds like one."""

from __future__ import annotations

import time
from typing import Any

import pytest

from app.domain import secrets

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0xxx.c2ln"
# In pieces, so that no scanner takes this file for a leak.
PRIVATE_KEY = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE"


@pytest.mark.parametrize(
    "key",
    [
        "password", "Password", "PASSWORD", "pass_word", "passwd", "pwd", "passphrase",
        "api_token", "apiToken", "API-TOKEN", "api key", "api_key", "apiKey", "api_secret",
        "client_secret", "clientSecret", "access_token", "refresh_token", "id_token", "token", "auth", "authorization",
        "bearer", "credentials", "credential", "secret", "secret_key", "private_key", "privateKey", "pat",
        "personal_access_token", "shared_secret", "signing_secret", "webhook_secret", "session_token",
        "user_password", "jira_api_token", "confluenceApiKey", "db.password", "x-api-key", "my_client_secret",
        "service_account_credentials", "oauth_access_token",
    ],
)  # fmt: skip
def test_a_key_that_would_hold_a_credential_is_found(key: str) -> None:
    assert list(secrets.find({key: "x"}, path="config")) == [f"config.{key}"]


@pytest.mark.parametrize(
    "key",
    [
        "spaces", "tables", "sites", "url", "baseUrl", "projectKeys", "folderId", "recursive", "channelIds",
        "includeThreads", "databaseIds", "subdomain", "categories", "tokenizer", "max_tokens", "secretary",
        "author", "authors", "authentication_method", "passenger", "password_policy_url", "key", "keys", "path",
        "patch", "tenant_id", "client_id", "username", "email",
    ],
)  # fmt: skip
def test_a_key_that_only_sounds_like_one_is_not(key: str) -> None:
    assert list(secrets.find({key: "x"}, path="config")) == []


@pytest.mark.parametrize(
    "text",
    [
        "password: hunter2",
        "Password = hunter2",
        "use password=hunter2 here",
        "api_key=abc",
        "api key: abc",
        "api-token: abc",
        "API_SECRET=abc",
        "client secret: abc",
        "Authorization: Bearer abcdefghijklmnop1234",
        "bearer ABCDEFGHIJKLMNOP",
        f"token {TOKEN} pasted",
        PRIVATE_KEY,
        "https://ada:hunter2@wiki.example.org/",
        "see postgresql://ada:hunter2@db/x",
    ],
)
def test_a_text_with_a_credential_in_it_is_found(text: str) -> None:
    assert list(secrets.find(text, path="description")) == ["description"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Basic documentation of tokenizers",
        "Bearer of good news",
        "Forgot your password? Ask IT",
        "How the secretary keeps secrets",
        "Spaces of the password team",
        "Uses the API token of the service account",
        "https://wiki.example.org/spaces/ENG?token=",
        "https://wiki.example.org:8443/path@home",
        "mailto:ada@example.org",
        "Time: 12:30@noon",
        "eyJ is how a JWT begins",
        "-----BEGIN CERTIFICATE-----",
    ],
)
def test_a_text_that_only_speaks_of_credentials_is_not(text: str) -> None:
    assert list(secrets.find(text, path="description")) == []


def test_credentials_are_found_wherever_they_hide_and_told_by_their_path() -> None:
    config = {
        "spaces": ["ENG", "password: hunter2"],
        "auth": {"anything": "at all"},
        "nested": {"list": [{"api_token": 1}, {"url": "https://a:b@c/"}]},
    }

    found = list(secrets.find(config, path="config"))

    assert found == [
        "config.spaces[1]",
        "config.auth",
        "config.nested.list[0].api_token",
        "config.nested.list[1].url",
    ]


@pytest.mark.parametrize("value", [None, True, 7, 1.5, [], {}, [None, 1], {"spaces": None}])
def test_what_holds_no_text_holds_no_credential(value: Any) -> None:
    assert list(secrets.find(value, path="config")) == []


@pytest.mark.parametrize("piece", ["a", "eyJaaaaaaaa-", "password ", "a://b", "bearer a", "-----BEGIN A"])
def test_the_largest_configuration_is_searched_in_a_moment(piece: str) -> None:
    text = piece * (2_000 // len(piece))
    larger = piece * (8_000 // len(piece))

    took, took_larger = _seconds(text), _seconds(larger)

    # Four times the text: linear is 4 times the time, quadratic 16.
    assert took_larger < 0.05 or took_larger < 8 * took


def _seconds(text: str) -> float:
    best = float("inf")
    for _ in range(2):
        started = time.process_time()
        list(secrets.find(text, path="config"))
        best = min(best, time.process_time() - started)
    return best
