"""What looks like a credential, and what only sounds like one."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from app.domain import credential_detection

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0xxx.c2ln"
# In pieces, so that no scanner takes this file for a leak.
PRIVATE_KEY = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE"
# Of no account: letters and digits in rows, put behind what an issuer's tokens begin with.
LETTERS = "Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9St0UvWxYz" * 3
# Letters of another width, which read the same.
WIDE = "".join(chr(ord(letter) + 0xFEE0) for letter in "password")
HEX = "0a1b2c3d4e5f6789" * 4
# What a configuration may hold, a JSON value a line: titles, addresses, queries, names of files, ids, texts, in many
# languages. None of it is a credential.
HONEST = (Path(__file__).parent / "honest_configurations.jsonl").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    "key",
    [
        "password", "Password", "PASSWORD", "pass_word", "passwd", "pwd", "passphrase",
        "api_token", "apiToken", "API-TOKEN", "api key", "api_key", "apiKey", "api_secret",
        "client_secret", "clientSecret", "access_token", "refresh_token", "id_token", "token", "auth", "authorization",
        "bearer", "credentials", "credential", "secret", "secret_key", "private_key", "privateKey", "pat",
        "personal_access_token", "shared_secret", "signing_secret", "webhook_secret", "session_token",
        "user_password", "jira_api_token", "confluenceApiKey", "db.password", "x-api-key", "my_client_secret",
        "service_account_credentials", "oauth_access_token", "db_pwd", "dbPwd", "pg_pass", "smtp_pass", "ldap_bind_pw",
        "admin_creds", "github_pat", "azureDevOpsPat", "session_jwt", "cookie", "account_key", "encryption_key",
        "subscriptionKey", "token_value", "tokenValue", "password_old", "secret2", "api_token_v2", "API_KEY_PROD",
        "apiTokens", "refresh_tokens", "consumerKey", "pswd", "wifi_psk", "password_confirmation", "secretText",
        "Passwort", "db_passwort", "contraseña", "пароль", "パスワード", WIDE, "pass\u200bword",
    ],
)  # fmt: skip
def test_a_key_that_would_hold_a_credential_is_found(key: str) -> None:
    assert list(credential_detection.find_credentials({key: "x"}, path="config")) == [f"config.{key}"]


@pytest.mark.parametrize(
    "key",
    [
        "spaces", "tables", "sites", "url", "baseUrl", "projectKeys", "folderId", "recursive", "channelIds",
        "includeThreads", "databaseIds", "subdomain", "categories", "tokenizer", "max_tokens", "secretary",
        "author", "authors", "authentication_method", "passenger", "password_policy_url", "key", "keys", "path",
        "patch", "tenant_id", "client_id", "username", "email", "bypass", "compass", "multipass", "project_key",
        "space_key", "sort_key", "primaryKey", "token_url", "passwordPolicy", "cookie_policy", "value", "v2",
    ],
)  # fmt: skip
def test_a_key_that_only_sounds_like_one_is_not(key: str) -> None:
    assert list(credential_detection.find_credentials({key: "x"}, path="config")) == []


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
    assert list(credential_detection.find_credentials(text, path="description")) == ["description"]


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
    assert list(credential_detection.find_credentials(text, path="description")) == []


KINDS = {
    "Atlassian": "ATA" + f"TT3x{LETTERS}",
    "Atlassian, of an organization": "ATC" + f"TT3x{LETTERS}",
    "Bitbucket": "ATB" + f"B{LETTERS}",
    "Notion": "nt" + f"n_{LETTERS}",
    "Notion, earlier": "secre" + f"t_{LETTERS}",
    "Slack": "xap" + f"p-1-{LETTERS}",
    "Slack, a bot's": "xox" + f"b-{LETTERS}",
    "Slack, an address": "https://hooks.slack" + f".com/services/T0000/B0000/{LETTERS}",
    "GitHub": "gh" + f"p_{LETTERS}",
    "GitHub, fine-grained": "github" + f"_pat_{LETTERS}",
    "GitLab": "glp" + f"at-{LETTERS[:20]}",
    "OpenAI": "s" + f"k-{LETTERS}",
    "OpenAI, a project's": "s" + f"k-proj-{LETTERS}",
    "Anthropic": "s" + f"k-ant-api03-{LETTERS}",
    "Tavily": "tvl" + f"y-{LETTERS}",
    "Stripe": "sk_" + f"live_{LETTERS}",
    "Standard Webhooks": "whse" + f"c_{LETTERS}",
    "Amazon": "AKI" + "A" + "ABCD1234" * 2,
    "Google": "AIz" + f"a{LETTERS[:35]}",
    "Google, OAuth": "GOCS" + f"PX-{LETTERS}",
    "Microsoft": "abc8" + f"Q~{LETTERS[:34]}",
    "Microsoft, storage": f"AccountKey={LETTERS}",
    "Okta": f"SSWS {LETTERS}",
    "Vault": "hv" + f"s.{LETTERS}",
    "Grafana": "gls" + f"a_{LETTERS}",
    "npm": "np" + f"m_{LETTERS[:36]}",
    "PyPI": "pyp" + f"i-AgEIcHlwaS5vcmc{LETTERS}",
    "SendGrid": "S" + f"G.{LETTERS[:22]}.{LETTERS[:43]}",
    "Mailchimp": f"{HEX[:32]}-us" + "12",
    "Twilio": "S" + f"K{HEX[:32]}",
    "Telegram": "123456789" + f":AA{LETTERS[:33]}",
    "HubSpot": "pa" + f"t-eu1-{HEX[:36]}",
    "Databricks": "dap" + f"i{HEX[:32]}",
    "Teams, an address": f"https://acme.webhook.office.com/webhookb2/{HEX[:8]}-{HEX[:4]}/IncomingWebhook/{HEX}",
    "Discord, an address": f"https://discord.com/api/webhooks/123456789012345678/{LETTERS}",
    "Zapier, an address": "https://hooks.zapier.com/hooks/catch/123456/abcdef/",
    "Telegram, an address": f"bot123456789:AA{LETTERS[:33]}",
    "Sentry": "sntry" + f"s_{LETTERS}",
    "Supabase": "sb" + f"p_{HEX[:40]}",
    "PlanetScale": "pscale_" + f"tkn_{LETTERS}",
    "Square": "sq0" + f"atp-{LETTERS}",
    "PayPal": "access_token" + f"$production${HEX[:16]}${HEX[:32]}",
    "a password's hash": "$2y" + f"$10${LETTERS}",
    "a password's hash, newer": "$argon2id" + f"$v=19$m=65536,t=3,p=4$c2FsdA${LETTERS}",
    "a JSON Web Token": TOKEN,
    "a private key": PRIVATE_KEY,
    "PuTTY's private key": "PuTTY-User-" + "Key-File-3: ssh-ed25519",
    "PGP's private key": "-----BEGIN PGP " + "PRIVATE KEY BLOCK-----",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("around", ["{}", "the one to use: {}.", '["{}"]', "https://wiki.example.org/{}", "«{}»"])
def test_what_an_issuer_names_for_what_it_is_is_found_in_any_text(kind: str, around: str) -> None:
    assert list(credential_detection.find_credentials({"spaces": around.format(KINDS[kind])}, path="config")) == [
        "config.spaces"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Basic YWRhOmh1bnRlcjI=",
        "basic YWRhOmh1bnRlcjI",
        "Authorization: token abcdefgh1",
        "-H 'X-Api-Key: abc'",
        "https://wiki.example.org/?token=a1b2c3d4e5",
        "https://wiki.example.org/rest?os_password=hunter2&os_username=ada",
        "https://wiki.example.org/?x=1#access_token=a1b2c3d4",
        "https://wiki.example.org/?api%5Ftoken=hunter2",
        "https://files.example.org/a.pdf?sv=2026&sig=abcdefgh12345678%3D",
        "CONFLUENCE_API_TOKEN=hunter2",
        "db_pwd=hunter2",
        '{"api_token": "hunter2"}',
        '{\\"api_token\\": \\"hunter2\\"}',
        "“password”: “hunter2”",
        "{'db': {'pwd': 'hunter2'}}",
        "<password>hunter2</password>",
        "rsync --password hunter2x",
        "curl -u ada:hunter2 https://wiki.example.org",
        "Passwort: hunter2",
        "пароль: hunter2",
        f"{WIDE}: hunter2",
        "pass\u200bword: hunter2",
        "postgresql://ada:hunter2@db/x",
        "https://0a1b2c3d4e5f67890a1b2c3d@wiki.example.org/",
    ],
)
def test_what_is_given_to_a_credentials_name_in_a_text_is_found(text: str) -> None:
    assert list(credential_detection.find_credentials({"a": [{"b": text}]}, path="config")) == ["config.a[0].b"]


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ([{"name": "api_token", "value": "hunter2"}], "config[0].value"),
        ({"env": [{"name": "A", "value": "b"}, {"Name": "DB_PWD", "Value": "hunter2"}]}, "config.env[1].Value"),
        ({"headers": [{"key": "Authorization", "value": "a1b2c3d4"}]}, "config.headers[0].value"),
        ({"headers": {"X-Api-Key": "hunter2"}}, "config.headers.X-Api-Key"),
        ({"a": [[["token", "a1b2c3d4"]]]}, "config.a[0][0][1]"),
        ({"a": {"field": "password", "default": 4711}}, "config.a.default"),
        ({"password: hunter2": True}, "config"),
        ({"a": {f"{LETTERS[0]}b {TOKEN}": {}}}, "config.a"),
    ],
    ids=["name", "upper case", "header", "object of headers", "pair", "number", "key with a text", "key with a token"],
)
def test_a_name_and_its_value_are_found_at_any_depth(config: Any, place: str) -> None:
    assert list(credential_detection.find_credentials(config, path="config")) == [place]


def test_a_key_is_looked_at_to_its_end() -> None:
    assert credential_detection.is_credential_field_name("k" * 60_000 + "_password")


@pytest.mark.parametrize("value", [{"": "a", "value": "b"}, {"": "", "v": 1}, {"name": 1, "value": "b"}], ids=repr)
def test_an_odd_pair_is_no_fault(value: dict[str, Any]) -> None:
    assert list(credential_detection.find_credentials(value, path="config")) == []


def test_a_few_hundred_honest_configurations_are_all_taken() -> None:
    wrong = [line for line in HONEST if any(credential_detection.find_credentials(json.loads(line), path="config"))]

    assert len(HONEST) > 350
    assert wrong == []


def test_credentials_are_found_wherever_they_hide_and_told_by_their_path() -> None:
    config = {
        "spaces": ["ENG", "password: hunter2"],
        "auth": {"anything": "at all"},
        "nested": {"list": [{"api_token": 1}, {"url": "https://a:b@c/"}]},
    }

    found = list(credential_detection.find_credentials(config, path="config"))

    assert found == [
        "config.spaces[1]",
        "config.auth",
        "config.nested.list[0].api_token",
        "config.nested.list[1].url",
    ]


@pytest.mark.parametrize("value", [None, True, 7, 1.5, [], {}, [None, 1], {"spaces": None}])
def test_what_holds_no_text_holds_no_credential(value: Any) -> None:
    assert list(credential_detection.find_credentials(value, path="config")) == []


@pytest.mark.parametrize(
    "piece",
    ["a", "eyJaaaaaaaa-", "password ", "a://b", "bearer a", "-----BEGIN A", "a=", "token=a", "curl -u a ", "<a", " -a"],
)
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
        list(credential_detection.find_credentials(text, path="config"))
        best = min(best, time.process_time() - started)
    return best
