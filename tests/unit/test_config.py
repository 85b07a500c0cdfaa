"""The settings as a process meets them: an environment that allows a start, or one message that says why not."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x448, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from standardwebhooks import Webhook

from app.config import Settings, SettingsError
from app.setting_types import SigningSecrets

GOOD = {
    "DATABASE_URL": "postgresql://app:hidden-word@db/rita",
    "RABBITMQ_URL": "amqp://app:hidden-word@broker:5672//",
    "REDIS_URL": "redis://:hidden-word@redis:6379/0",
    "AUTOMATION_WEBHOOK_URL": "https://automation.example.org/hook",
    "AUTOMATION_AUTH": "Bearer hidden-word",
    "JWT_SECRET": "hidden-word-that-is-long-enough-for-it",
    "SEAL_KEYS": base64.urlsafe_b64encode(b"0123456789abcdef" * 2).decode(),
}
MISSING = ["DATABASE_URL", "RABBITMQ_URL", "REDIS_URL", "AUTOMATION_WEBHOOK_URL", "AUTOMATION_AUTH", "SEAL_KEYS"]
PUBLIC_KEY = (
    ec.generate_private_key(ec.SECP256R1())
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    .decode()
)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that allows a start, for tests to change."""
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def refusal() -> str:
    with pytest.raises(SettingsError) as ended:
        Settings.from_environment()
    return str(ended.value)


@pytest.mark.usefixtures("environment")
def test_a_good_environment_is_enough() -> None:
    settings = Settings.from_environment()

    assert settings.environment == "production"
    assert settings.automation_webhook_url == GOOD["AUTOMATION_WEBHOOK_URL"]
    assert settings.owner_database_url == settings.database_url
    assert settings.status_queues == ("data_source_status",)
    assert settings.enabled_data_source_types == ()


def test_an_empty_environment_is_told_all_that_is_missing_at_once() -> None:
    message = refusal()

    assert [name for name in MISSING if f"{name}: is missing" not in message] == []


def test_the_lack_of_a_jwt_key_is_told(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("JWT_SECRET")

    assert "set exactly one of JWT_SECRET, JWT_PUBLIC_KEY and JWT_JWKS_URL" in refusal()


def test_an_empty_value_is_a_missing_one(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("REDIS_URL", "")

    assert "REDIS_URL: is missing" in refusal()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTOMATION_WEBHOOK_URL", "http://hidden-word.example.org/hook"),
        ("AUTOMATION_WEBHOOK_URL", "http://127.0.0.1.hidden-word.org/hook"),
        ("AUTOMATION_WEBHOOK_URL", "http://10.0.0.1/hidden-word"),
        ("AUTOMATION_WEBHOOK_URL", "https://ada:hidden-word@automation.example.org/"),
        ("AUTOMATION_WEBHOOK_URL", "https://hidden-word@automation.example.org/"),
        ("AUTOMATION_WEBHOOK_URL", "ftp://hidden-word.example.org/"),
        ("AUTOMATION_WEBHOOK_URL", "https:///hidden-word"),
        ("AUTOMATION_WEBHOOK_URL", "hidden-word"),
        ("JWT_SECRET", "hidden-word"),
        ("JWT_SECRET", "hidden-word" + "x" * 20),
        ("JWT_JWKS_URL", "http://hidden-word.example.org/jwks"),
        ("JWT_PUBLIC_KEY", "hidden-word"),
        ("JWT_CLAIM_USER", "hidden word"),
        ("JWT_CLAIM_ROLE", "hidden-word" * 20),
        ("JWT_CLAIM_USER", "user_metadata.hidden-word"),
        ("JWT_CLAIM_ORGANIZATION", "unsafe_metadata.hidden-word"),
        ("JWT_CLAIM_ROLE", "user_metadata"),
        ("JWT_ROLE_MAP", "hidden-word"),
        ("JWT_ROLE_MAP", "hidden-word:root"),
        ("JWT_ROLE_MAP", "hidden-word:Admin"),
        ("JWT_ROLE_MAP", ":admin"),
        ("JWT_ROLE_MAP", "a:admin,hidden-word"),
        ("JWT_JWKS_STALE_SECONDS", "0"),
        ("JWT_JWKS_STALE_SECONDS", "hidden-word"),
        ("SEAL_KEYS", "hidden-word"),
        ("SEAL_KEYS", f"{GOOD['SEAL_KEYS']},hidden-word"),
        ("SEAL_KEYS", " , "),
        ("WEBHOOK_SIGNING_SECRET", "whsec_hidden-word"),
        ("WEBHOOK_SIGNING_SECRET", "whsec_" + base64.b64encode(b"x" * 23).decode()),
        ("WEBHOOK_SIGNING_SECRET", "whsec_" + base64.b64encode(b"x" * 65).decode()),
        ("DATABASE_URL", "mysql://app:hidden-word@db/rita"),
        ("MIGRATION_DATABASE_URL", "hidden-word"),
        ("RABBITMQ_URL", "sqs://hidden-word"),
        ("REDIS_URL", "http://hidden-word"),
        ("AUTOMATION_AUTH", "Bearer hidden-word\n"),
        ("AUTOMATION_AUTH", "Bearer hidden-word \u20ac"),
        ("WEBHOOK_CA_FILE", "/nowhere/hidden-word.pem"),
        ("ENVIRONMENT", "hidden-word"),
        ("LOG_LEVEL", "hidden-word"),
        ("PORT", "hidden-word"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("WEB_PROCESSES", "0"),
        ("OPERATION_RETENTION_DAYS", "0"),
        ("STATUS_QUEUES", ","),
        ("VERIFY_RETRY_SECONDS", ","),
        ("VERIFY_RETRY_SECONDS", "1,0"),
        ("SYNC_RETRY_SECONDS", "5,-1"),
        ("SYNC_RETRY_SECONDS", "5,hidden-word"),
        ("WEBHOOK_READ_SECONDS", "0"),
        ("WEBHOOK_TOTAL_SECONDS", "-1"),
        ("VERIFY_DEADLINE_SECONDS", "nan"),
        ("VERIFY_DEADLINE_SECONDS", "inf"),
        ("SYNC_SILENCE_DEADLINE_SECONDS", "1e20"),
        ("DISPATCH_INTERVAL_SECONDS", "hidden-word"),
        ("VERIFY_RATE_LIMIT", "hidden-word"),
        ("SYNC_RATE_LIMIT", "30"),
        ("SYNC_RATE_LIMIT", "0/minute"),
        ("SYNC_RATE_LIMIT", "-1/minute"),
        ("SYNC_RATE_LIMIT", "10001/minute"),
        ("SYNC_RATE_LIMIT", "1/2days"),
        ("TICKET_RATE_LIMIT", "1/minute;1/hour"),
        ("TICKET_RATE_LIMIT", "5/fortnight"),
        ("METRICS_TOKEN", "hidden-word"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "hidden-word:4317"),
        ("WORKER_METRICS_PORT", "hidden-word"),
        ("WEBHOOK_WORKER_METRICS_PORT", "65536"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "https://*.hidden-word.org"),
        ("CORS_ORIGINS", "http://hidden-word.example.org"),
        ("CORS_ORIGINS", "https://hidden-word.example.org/"),
        ("CORS_ORIGINS", "https://hidden-word.example.org/path"),
        ("CORS_ORIGINS", "https://hidden-word.example.org?x"),
        ("CORS_ORIGINS", "https://hidden-word.example.org#x"),
        ("CORS_ORIGINS", "https://ada:hidden-word@example.org"),
        ("CORS_ORIGINS", "https://hidden-word.example.org:443"),
        ("CORS_ORIGINS", "https://example.org,hidden-word"),
        ("CORS_ORIGINS", "https://hidden-word$.example.org"),
        ("CORS_ORIGINS", "null"),
        ("SIGN_IN_URL", "http://hidden-word.example.org"),
        ("SIGN_IN_URL", "hidden-word.example.org/rita"),
    ],
)
def test_an_unsafe_setting_stops_the_start_and_is_named_without_its_value(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(name, value)

    message = refusal()

    assert name in message
    assert "hidden-word" not in message


def test_two_jwt_keys_are_one_too_many(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("JWT_PUBLIC_KEY", PUBLIC_KEY)

    assert "set exactly one of JWT_SECRET, JWT_PUBLIC_KEY and JWT_JWKS_URL" in refusal()


def test_an_unknown_type_is_named_with_those_that_are_known(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ENABLED_DATA_SOURCE_TYPES", "jira,fax")

    assert "ENABLED_DATA_SOURCE_TYPES: names fax; known are jira, gdrive, slack, notion, zendesk" in refusal()


def test_a_seeded_type_cannot_be_turned_on_a_second_time(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ENABLED_DATA_SOURCE_TYPES", "confluence")

    assert "ENABLED_DATA_SOURCE_TYPES" in refusal()


def test_everything_unsafe_is_told_at_once(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("DATABASE_URL")
    environment.setenv("AUTOMATION_WEBHOOK_URL", "http://example.org")
    environment.setenv("SEAL_KEYS", "no key")
    environment.setenv("VERIFY_DEADLINE_SECONDS", "0")

    message = refusal()

    told = ["DATABASE_URL", "AUTOMATION_WEBHOOK_URL", "SEAL_KEYS", "VERIFY_DEADLINE_SECONDS"]
    assert [name for name in told if name not in message] == []


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8080/hook",
        "http://127.0.0.1:8080/hook",
        "http://[::1]:8080/hook",
        "https://automation.example.org:8443/hook?tenant=1",
    ],
)
def test_https_is_taken_anywhere_and_plain_http_on_loopback(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv("AUTOMATION_WEBHOOK_URL", url)

    assert Settings.from_environment().automation_webhook_url == url


def test_lists_are_separated_by_commas_and_blanks_do_not_count(environment: pytest.MonkeyPatch) -> None:
    keys = [Fernet.generate_key().decode() for _ in range(2)]
    environment.setenv("SEAL_KEYS", f"{keys[0]} , {keys[1]},")
    environment.setenv("STATUS_QUEUES", "data_source.sync_status, data_source.verification_status")
    environment.setenv("ENABLED_DATA_SOURCE_TYPES", "jira,,slack")
    environment.setenv("VERIFY_RETRY_SECONDS", "1, 2.5")

    settings = Settings.from_environment()

    assert settings.seal_keys == tuple(keys)
    assert settings.status_queues == ("data_source.sync_status", "data_source.verification_status")
    assert list(settings.source_types.creatable_types) == ["jira", "slack"]
    assert settings.webhook_retry_schedule("verify") == (timedelta(seconds=1), timedelta(seconds=2.5))


@pytest.mark.parametrize("escaped", [PUBLIC_KEY, PUBLIC_KEY.replace("\n", "\\n")], ids=["as it is", "escaped"])
def test_a_public_key_may_have_its_line_breaks_escaped(environment: pytest.MonkeyPatch, escaped: str) -> None:
    environment.delenv("JWT_SECRET")
    environment.setenv("JWT_PUBLIC_KEY", escaped)

    assert Settings.from_environment().jwt_public_key == PUBLIC_KEY


def pem(key: Any) -> str:
    return str(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


@pytest.mark.parametrize(
    "make",
    [
        x25519.X25519PrivateKey.generate,
        x448.X448PrivateKey.generate,
        lambda: dsa.generate_private_key(2048),
        lambda: ec.generate_private_key(ec.SECP256K1()),
        lambda: ec.generate_private_key(ec.BrainpoolP256R1()),
        lambda: rsa.generate_private_key(65537, 1024),  # noqa: S505 - to be refused
    ],
    ids=["x25519", "x448", "dsa", "secp256k1", "brainpool", "short rsa"],
)
def test_a_public_key_that_verifies_nothing_is_refused_with_the_kinds_that_are_taken(
    environment: pytest.MonkeyPatch, make: Callable[[], Any]
) -> None:
    environment.delenv("JWT_SECRET")
    environment.setenv("JWT_PUBLIC_KEY", pem(make()))

    message = refusal()

    assert "JWT_PUBLIC_KEY: is a key that verifies no token" in message
    assert "RSA of 2048 bits or more, EC on P-256, P-384 or P-521, Ed25519 or Ed448" in message


@pytest.mark.parametrize(
    "curve",
    [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1(), "ed25519", "ed448", "rsa"],
    ids=lambda curve: getattr(curve, "name", curve),
)
def test_a_public_key_of_the_other_kinds_is_taken(environment: pytest.MonkeyPatch, curve: Any) -> None:
    named = {
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "ed448": ed448.Ed448PrivateKey.generate,
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
    }
    key = named[curve]() if isinstance(curve, str) else ec.generate_private_key(curve)
    environment.delenv("JWT_SECRET")
    environment.setenv("JWT_PUBLIC_KEY", pem(key))

    assert Settings.from_environment().jwt_public_key == pem(key)


def test_claims_and_roles_are_read_as_they_are_written(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("JWT_CLAIM_ORGANIZATION", "https://acme.example/org")
    environment.setenv("JWT_CLAIM_EMAIL", "user_metadata.email")
    environment.setenv("JWT_ROLE_MAP", "Rita.Admin:admin, urn:acme:owner:owner ,*:member")
    environment.setenv("JWT_ISSUER", "https://acme.example/")

    rules = Settings.from_environment().claim_rules

    assert (rules.user, rules.organization, rules.role) == ("sub", "https://acme.example/org", "role")
    assert rules.email == "user_metadata.email"
    assert rules.role_map == (("Rita.Admin", "admin"), ("urn:acme:owner", "owner"), ("*", "member"))
    assert rules.issuer == "https://acme.example/"


def a_signing_secret(length: int = 32) -> str:
    return "whsec_" + base64.b64encode(b"\xfb\xff" * (length // 2) + b"x" * (length % 2)).decode()


@pytest.mark.parametrize("length", [24, 31, 32, 64])
def test_every_signing_secret_that_is_taken_can_sign(environment: pytest.MonkeyPatch, length: int) -> None:
    environment.setenv("WEBHOOK_SIGNING_SECRET", f" {a_signing_secret(length)}\n")

    (taken,) = Settings.from_environment().webhook_signing_secret

    assert taken == a_signing_secret(length)
    assert Webhook(taken)


def test_several_signing_secrets_are_taken_for_their_rotation(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("WEBHOOK_SIGNING_SECRET", f"{a_signing_secret(32)}, {a_signing_secret(24)},")

    assert Settings.from_environment().webhook_signing_secret == (a_signing_secret(32), a_signing_secret(24))


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        (f'"{a_signing_secret()}"', "it stands in quotes"),
        (f"'{a_signing_secret()}'", "it stands in quotes"),
        (f"{a_signing_secret()}'", "it stands in quotes"),
        (a_signing_secret().replace("+", "-").replace("/", "_"), "it is base64url"),
        (a_signing_secret().replace("whsec_", "WHSEC_"), "it does not begin with whsec_"),
        (a_signing_secret().replace("whsec_", ""), "it does not begin with whsec_"),
        (a_signing_secret().replace("whsec_", "whpk_"), "it is a key of the scheme v1a"),
        (a_signing_secret().replace("whsec_", "whsk_"), "it is a key of the scheme v1a"),
        ("Xq3-kd8_Zt0uVYb1m2n3o4p5q6r7s8t9u0v1w2x3y4z", "it does not begin with whsec_"),
        (a_signing_secret().rstrip("="), "what follows whsec_ is no whole base64"),
        (a_signing_secret() + "=", "what follows whsec_ is no whole base64"),
        (a_signing_secret()[:12] + " " + a_signing_secret()[12:], "there is a space in it"),
        *[
            (between.join([a_signing_secret(32), a_signing_secret(24)]), "several secrets are separated by commas")
            for between in (" ", "\n", ";", "|", " ; ", "")
        ],
        (f'"{a_signing_secret(32)}" "{a_signing_secret(24)}"', "several secrets are separated by commas"),
        (a_signing_secret()[:12] + "é" + a_signing_secret()[13:], "what follows whsec_ is no whole base64"),
        (a_signing_secret(22), "it has 22 bytes"),
        (a_signing_secret(66), "it has 66 bytes"),
        (f"{a_signing_secret()},{a_signing_secret()[:-4]}é", "what follows whsec_ is no whole base64"),
        (",", "must be whsec_"),
    ],
)
def test_a_secret_that_a_receiver_would_read_otherwise_stops_the_start_with_the_recipe(
    environment: pytest.MonkeyPatch, secret: str, words: str
) -> None:
    environment.setenv("WEBHOOK_SIGNING_SECRET", secret)

    message = refusal()

    assert "WEBHOOK_SIGNING_SECRET: " in message
    assert words in message
    assert secret == "," or secret.strip("\"'") not in message
    assert "openssl rand -base64 32" in message


@given(st.integers(24, 64).flatmap(lambda length: st.binary(min_size=length, max_size=length)))
def test_what_token_urlsafe_makes_is_never_taken_and_what_the_recipe_makes_always(key: bytes) -> None:
    rule: TypeAdapter[Any] = TypeAdapter(SigningSecrets)
    urlsafe = base64.urlsafe_b64encode(key).rstrip(b"=").decode()

    (taken,) = rule.validate_python(f"whsec_{base64.b64encode(key).decode()}")

    assert base64.b64decode(taken.removeprefix("whsec_")) == key
    with pytest.raises(ValidationError):
        rule.validate_python(urlsafe)


def test_the_owner_is_a_role_of_its_own_where_one_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MIGRATION_DATABASE_URL", "postgresql://owner@db/rita")

    assert Settings.from_environment().owner_database_url == "postgresql://owner@db/rita"


@pytest.mark.usefixtures("environment")
def test_a_syncs_delivery_has_time_for_every_attempt_at_its_slowest() -> None:
    settings = Settings.from_environment()

    waits = sum(settings.sync_retry_seconds, timedelta(0)) * 1.1
    posts = settings.webhook_total_seconds * (len(settings.sync_retry_seconds) + 1)
    assert settings.deadlines.sync_delivery > waits + posts


@pytest.mark.usefixtures("environment")
def test_a_verifications_attempts_fit_into_its_deadline() -> None:
    settings = Settings.from_environment()

    waits = sum(settings.verify_retry_seconds, timedelta(0)) * 1.1
    posts = settings.webhook_total_seconds * (len(settings.verify_retry_seconds) + 1)
    assert settings.deadlines.verification > waits + posts


@pytest.mark.parametrize("value", ["30/minute", "5 per 10 seconds", "5/10seconds", "1/day", "10000/second"])
def test_a_rate_limit_is_one_number_in_one_time(environment: pytest.MonkeyPatch, value: str) -> None:
    environment.setenv("VERIFY_RATE_LIMIT", value)

    assert Settings.from_environment().verify_rate_limit == value


@pytest.mark.parametrize("value", ["off", "OFF", " off "])
def test_a_rate_limit_may_be_off(environment: pytest.MonkeyPatch, value: str) -> None:
    environment.setenv("SYNC_RATE_LIMIT", value)

    assert Settings.from_environment().sync_rate_limit == "off"


@pytest.mark.usefixtures("environment")
def test_unless_told_otherwise_requests_are_limited_and_no_other_origin_may_call() -> None:
    settings = Settings.from_environment()

    assert "off" not in (settings.verify_rate_limit, settings.sync_rate_limit, settings.ticket_rate_limit)
    assert settings.change_rate_limit == "120/minute"
    assert settings.cors_origins == ()


def test_origins_are_kept_as_a_browser_writes_them(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CORS_ORIGINS", "https://App.Example.org, http://localhost:3000,http://[::1]:3000")

    expected = ("https://app.example.org", "http://localhost:3000", "http://[::1]:3000")
    assert Settings.from_environment().cors_origins == expected


@pytest.mark.parametrize("name", ["WORKER_METRICS_PORT", "WEBHOOK_WORKER_METRICS_PORT"])
def test_a_workers_page_needs_the_token_that_it_is_shown_for(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv(name, "9101")

    assert f"{name}: needs METRICS_TOKEN" in refusal()

    environment.setenv("METRICS_TOKEN", "a-token-of-the-operators")
    assert getattr(Settings.from_environment(), name.lower()) == 9101


@pytest.mark.parametrize(("kind", "address"), [("development", "127.0.0.1"), ("production", "0.0.0.0")])  # noqa: S104
def test_in_development_nobody_else_on_the_network_is_let_in(
    environment: pytest.MonkeyPatch, kind: str, address: str
) -> None:
    environment.setenv("ENVIRONMENT", kind)

    assert Settings.from_environment().listen_address == address
