"""The settings, typed, read from the environment once; nothing else reads `os.environ`.

Every name is listed in CONTRACT's settings and in the README's table. A durations' unit is the second.
"""

from __future__ import annotations

import base64
import binascii
import re
import ssl
from collections.abc import Iterable
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from limits import parse_many
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.domain import retry, sources
from app.domain.lifecycle import Patience

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
# HS256 needs a key as long as its digest (RFC 7518, section 3.2).
SHORTEST_JWT_SECRET = 32
# Far beyond any use, and far from what a timedelta or a timer overflows at.
LONGEST_DURATION = timedelta(days=30)
# The moving window keeps a moment for every request that it allows.
MOST_REQUESTS, LONGEST_WINDOW = 10_000, timedelta(days=1)
OFF = "off"
# What one attempt may wait in the queue on top of its POST.
DELIVERY_SLACK = timedelta(seconds=30)


class SettingsError(SystemExit):
    """The environment does not describe a service that may start; the message names all that is wrong."""


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _seconds(value: object) -> object:
    if isinstance(value, str):
        try:
            return timedelta(seconds=float(value))
        except (ValueError, OverflowError):
            raise ValueError("must be a number of seconds") from None
    return value


def _sane(value: timedelta) -> timedelta:
    if not timedelta(0) < value <= LONGEST_DURATION:
        raise ValueError(f"must be more than 0 seconds and at most {LONGEST_DURATION.days} days")
    return value


def _header_value(value: str) -> str:
    # RFC 9110, section 5.5, without the obsolete half of it.
    if not re.fullmatch(r"[\x21-\x7e]+(?: [\x21-\x7e]+)*", value):
        raise ValueError("must be printable ASCII without line breaks, as a header's value")
    return value


def _ca_file(value: str) -> str:
    try:
        ssl.create_default_context(cafile=value)
    except OSError:
        raise ValueError("must be a readable file of PEM certificates") from None
    return value


def _fernet_key(value: str) -> str:
    try:
        Fernet(value)
    except (ValueError, binascii.Error):
        raise ValueError("must be Fernet keys (32 url-safe base64 bytes each)") from None
    return value


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http(s) URL")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK_HOSTS:
        raise ValueError("must be https; plain http is allowed for loopback only")
    if parts.username or parts.password:
        raise ValueError("must not carry a user name or password")
    return value


def _origin(value: str) -> str:
    """Check an origin as a browser writes it (RFC 6454, section 6.1): it is compared letter by letter."""
    origin = _http_url(value).lower()
    parts = urlsplit(origin)
    if origin != f"{parts.scheme}://{parts.netloc}" or "*" in origin:
        raise ValueError("must be origins such as https://app.example.org: no path, no *")
    if not re.fullmatch(r"[a-z0-9.-]+(:[0-9]{1,5})?|\[::1\](:[0-9]{1,5})?", parts.netloc):
        raise ValueError("must be origins of plain host names")
    if parts.netloc.endswith({"https": ":443", "http": ":80"}[parts.scheme]):
        raise ValueError("must leave out the port that is the scheme's own, as browsers do")
    return origin


def _rate_limit(value: str) -> str:
    if value.strip().lower() == OFF:
        return OFF
    try:
        (limit,) = parse_many(value)
    except ValueError:
        raise ValueError("must be one limit such as 30/minute or 5/10seconds, or off") from None
    if not (0 < limit.amount <= MOST_REQUESTS and 0 < limit.get_expiry() <= LONGEST_WINDOW.total_seconds()):
        raise ValueError(f"must allow 1 to {MOST_REQUESTS} requests in at most a day, or be off")
    return value.strip()


def _jwt_secret(value: str) -> str:
    if len(value.encode()) < SHORTEST_JWT_SECRET:
        raise ValueError(f"must have at least {SHORTEST_JWT_SECRET} bytes")
    return value


def _public_key(value: str) -> str:
    # An environment often carries line breaks as backslash and n.
    pem = value.replace("\\n", "\n")
    try:
        load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("must be a PEM public key") from None
    return pem


def _known_types(names: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in names if name not in sources.OPTIONAL]
    if unknown:
        raise ValueError(f"names {', '.join(unknown)}; known are {', '.join(sources.OPTIONAL)}")
    return names


def _scheme(*schemes: str) -> AfterValidator:
    def check(value: str) -> str:
        if urlsplit(value).scheme not in schemes:
            raise ValueError(f"must start with one of {', '.join(f'{scheme}://' for scheme in schemes)}")
        return value

    return AfterValidator(check)


def _signing_secret(value: str) -> str:
    try:
        key = base64.b64decode(value.removeprefix("whsec_") + "==", validate=False)
    except binascii.Error:
        key = b""
    # Standard Webhooks, "Signature scheme": between 24 bytes and 64 bytes of random.
    if not 24 <= len(key) <= 64:  # noqa: PLR2004 - the bounds are the specification's own
        raise ValueError("must be whsec_ and the base64 of 24 to 64 random bytes")
    return value


Seconds = Annotated[timedelta, BeforeValidator(_seconds), AfterValidator(_sane)]
SecondsList = Annotated[tuple[Seconds, ...], NoDecode, BeforeValidator(_split), Field(min_length=1)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
PostgresUrl = Annotated[str, _scheme("postgresql", "postgresql+psycopg2")]
BrokerUrl = Annotated[str, _scheme("amqp", "amqps", "redis", "rediss")]
RedisUrl = Annotated[str, _scheme("redis", "rediss", "unix")]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_split)]
RateLimit = Annotated[str, AfterValidator(_rate_limit)]


class Settings(BaseSettings):
    """Everything that may differ between two installations."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore", hide_input_in_errors=True)

    environment: Literal["production", "development"] = "production"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    port: int = Field(default=8000, ge=1, le=65535)
    web_processes: int = Field(default=1, ge=1)

    database_url: PostgresUrl
    migration_database_url: PostgresUrl | None = None
    rabbitmq_url: BrokerUrl
    redis_url: RedisUrl
    # Connections that one process may hold; the threads of the webhook worker share them.
    database_pool_size: int = Field(default=10, ge=1)

    automation_webhook_url: HttpUrl
    automation_auth: Annotated[str, AfterValidator(_header_value)]
    webhook_signing_secret: Annotated[str, AfterValidator(_signing_secret)] | None = None
    # A private certificate authority of the external service, as a PEM file.
    webhook_ca_file: Annotated[str, AfterValidator(_ca_file)] | None = None
    webhook_connect_seconds: Seconds = timedelta(seconds=3)
    webhook_read_seconds: Seconds = timedelta(seconds=10)
    webhook_total_seconds: Seconds = timedelta(seconds=12)
    # So many attempts in a row that find the receiver down, of whatever operations, stop all but a probe at a time.
    webhook_failures_to_park: int = Field(default=10, ge=1)
    webhook_probe_seconds: Seconds = timedelta(seconds=5)
    verify_retry_seconds: SecondsList = retry.VERIFY_WAITS
    sync_retry_seconds: SecondsList = retry.SYNC_WAITS

    status_queues: Annotated[Names, Field(min_length=1)] = ("data_source_status",)

    jwt_secret: Annotated[str, AfterValidator(_jwt_secret)] | None = None
    jwt_public_key: Annotated[str, AfterValidator(_public_key)] | None = None
    jwt_jwks_url: HttpUrl | None = Field(default=None, validate_default=True)
    jwt_audience: str | None = None
    jwt_issuer: str | None = None
    # Newest first: the first seals, all open.
    seal_keys: Annotated[tuple[Annotated[str, AfterValidator(_fernet_key)], ...], NoDecode, BeforeValidator(_split)] = (
        Field(min_length=1)
    )

    # What Prometheus shows at /metrics; without it the page is not served.
    metrics_token: Annotated[str, Field(min_length=16), AfterValidator(_header_value)] | None = None

    enabled_data_source_types: Annotated[Names, AfterValidator(_known_types)] = ()

    verify_deadline_seconds: Seconds = timedelta(minutes=2)
    sync_start_deadline_seconds: Seconds = timedelta(minutes=30)
    sync_silence_deadline_seconds: Seconds = timedelta(hours=2)

    dispatch_interval_seconds: Seconds = timedelta(seconds=1)
    expiry_interval_seconds: Seconds = timedelta(seconds=10)
    operation_retention_days: int = Field(default=90, ge=1)
    audit_retention_days: int = Field(default=400, ge=1)

    sse_heartbeat_seconds: Seconds = timedelta(seconds=15)
    sse_ticket_seconds: Seconds = timedelta(seconds=30)

    # What an organization may ask for: each verification costs the external service a sign-in at the source.
    verify_rate_limit: RateLimit = "30/minute"
    sync_rate_limit: RateLimit = "60/minute"
    # After a deployment every open page of an organization asks at once.
    ticket_rate_limit: RateLimit = "600/minute"
    # The pages of other origins that may call the API.
    cors_origins: Origins = ()

    @field_validator("jwt_jwks_url")
    @classmethod
    def _exactly_one_key(cls, value: str | None, info: ValidationInfo) -> str | None:
        """Check the three together, for every start: also when other settings are wrong, one message names all."""
        others = ("jwt_secret", "jwt_public_key")
        if all(name in info.data for name in others):
            given = [key for key in (value, *(info.data[name] for name in others)) if key]
            if len(given) != 1:
                raise ValueError("set exactly one of JWT_SECRET, JWT_PUBLIC_KEY and JWT_JWKS_URL")
        return value

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        # Most of the others are a secret, or hold one.
        return [("environment", self.environment)]

    @cached_property
    def source_types(self) -> sources.Registry:
        """The types that this installation offers."""
        return sources.Registry(turned_on=self.enabled_data_source_types)

    @property
    def patience(self) -> Patience:
        """How long operations wait for the external service."""
        return Patience(
            verify=self.verify_deadline_seconds,
            # Every wait at its longest, every attempt at its slowest.
            sync_delivery=sum(self.sync_retry_seconds, timedelta(0)) * (1 + retry.JITTER)
            + (self.webhook_total_seconds + DELIVERY_SLACK) * (len(self.sync_retry_seconds) + 1),
            sync_start=self.sync_start_deadline_seconds,
            sync_silence=self.sync_silence_deadline_seconds,
        )

    def waits(self, kind: str) -> tuple[timedelta, ...]:
        """Return the pauses between the attempts of an operation's webhook."""
        return self.verify_retry_seconds if kind == "verify" else self.sync_retry_seconds

    @property
    def owner_database_url(self) -> str:
        """The role that migrates."""
        return self.migration_database_url or self.database_url

    @classmethod
    def from_environment(cls) -> Settings:
        """Read and check the environment.

        Raises SettingsError, which ends the process with one message that names everything missing or unsafe.
        """
        try:
            return cls()
        except ValidationError as invalid:
            lines = []
            for error in invalid.errors(include_input=False, include_url=False):
                name = "_".join(str(part) for part in error["loc"][:1]).upper()
                message = "is missing" if error["type"] == "missing" else error["msg"].removeprefix("Value error, ")
                lines.append(f"  {name}: {message}" if name else f"  {message}")
            raise SettingsError(
                "The settings in the environment do not allow a start:\n" + "\n".join(dict.fromkeys(lines))
            ) from None
