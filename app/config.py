"""The settings, typed, read from the environment once; nothing else reads `os.environ`.

docs/settings.md has the text below each setting; `python -m devstack.settings` writes it. A duration's unit is the
second. Any may be given as a file, whose name is in `NAME_FILE`; a process gets those that it uses:
`process_settings.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Optional

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, create_model, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app import process_settings
from app import setting_types as types
from app.domain import retry, source_types, token_claims
from app.domain.lifecycle import Deadlines
from app.setting_files import read_settings_from_files

# What one attempt may wait in the queue on top of its POST.
MAX_QUEUE_WAIT_PER_ATTEMPT = timedelta(seconds=30)
# Whatever it is set to.
_IGNORED_SETTING = Annotated[Any, NoDecode, BeforeValidator(lambda _: None)]


class SettingsError(SystemExit):
    """The environment does not describe a service that may start; the message names all that is wrong."""


class Settings(BaseSettings):
    """Everything that may differ between two installations."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore", hide_input_in_errors=True)

    # What a process of this kind may start without.
    optional_settings: ClassVar[frozenset[str]] = frozenset()

    environment: Literal["production", "development"] = "production"
    """`development` lets the application's role own the tables, and listens on loopback only."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least severe log lines to write."""
    port: types.Port = 8000
    """Where the API and the built-in page listen."""
    web_processes: int = Field(default=1, ge=1)
    """Processes that serve requests; one for each processor core."""
    instance_id: types.HeaderValue | None = None
    """A name that `/healthz` and `/readyz` answer in `X-Instance-ID`."""

    database_url: types.PostgresUrl
    """The application's role: no superuser, no BYPASSRLS, and in production not the owner of the tables."""
    migration_database_url: types.PostgresUrl | None = None
    """The role that owns the tables and migrates; by default that of `DATABASE_URL`."""
    rabbitmq_url: types.BrokerUrl
    """The broker: `amqp(s)://…`, or `redis(s)://…` for kombu's Redis transport."""
    redis_url: types.RedisUrl
    """Events, tickets and encrypted credentials. This Redis must not persist to disk."""
    database_pool_size: int = Field(default=10, ge=1)
    """Database connections of one process, which its threads share."""

    automation_webhook_url: types.HttpUrl
    """The external service; https, or plain http on loopback."""
    automation_auth: types.HeaderValue
    """Sent to the external service as the `Authorization` header."""
    webhook_signing_secret: types.SigningSecrets = ()
    """Signs webhooks as in Standard Webhooks; make one with `echo "whsec_$(openssl rand -base64 32)"`. While it is
    rotated, name both: each signs."""
    webhook_ca_file: types.CaFile | None = None
    """A private certificate authority (PEM), trusted instead of the system's, which `SSL_CERT_FILE` and `SSL_CERT_DIR`
    may name, too."""
    webhook_connect_seconds: types.PositiveSeconds = timedelta(seconds=3)
    """How long a webhook may take to connect."""
    webhook_read_seconds: types.PositiveSeconds = timedelta(seconds=10)
    """How long a webhook waits for each read of the answer."""
    webhook_total_seconds: types.PositiveSeconds = timedelta(seconds=12)
    """How long a webhook may take in all."""
    webhook_failures_to_park: int = Field(default=10, ge=1)
    """After so many attempts in a row that find the external service down, only one attempt at a time is made, as a
    probe."""
    webhook_probe_seconds: types.PositiveSeconds = timedelta(seconds=5)
    """The pause between two such probes."""
    verify_retry_seconds: types.SecondsList = retry.VERIFICATION_RETRY_SCHEDULE
    """The retry schedule of a verification's webhook: the pause after each attempt."""
    sync_retry_seconds: types.SecondsList = retry.SYNC_RETRY_SCHEDULE
    """The retry schedule of a sync's webhook."""

    status_queues: Annotated[types.CommaSeparatedNames, Field(min_length=1)] = ("data_source_status",)
    """The queues on which the external service answers."""
    status_retry_seconds: types.SecondsList = retry.STATUS_BATCH_RETRY_SCHEDULE
    """The retry schedule of status messages that could not be applied; the last pause repeats."""
    # A restart or a failover of the database is over sooner, and nothing went back. After this long another worker may
    # try what this one holds, well before RabbitMQ takes it away (`consumer_timeout`, 30 minutes).
    status_hold_seconds: types.PositiveSeconds = timedelta(minutes=5)
    """After so long, status messages that could not be applied go back to their queue, once."""
    rabbitmq_management_url: types.AnyHttpUrl | None = None
    """RabbitMQ's management page, with user and password, where `doctor` looks up policies."""

    jwt_secret: types.JwtSecret | None = None
    """Verifies tokens with HS256. Set exactly one of this and the next two."""
    jwt_public_key: types.PublicKey | None = None
    """Verifies tokens with a PEM key: RSA of 2048 bits or more, P-256, P-384, P-521, Ed25519 or Ed448."""
    jwt_jwks_url: types.HttpUrl | None = Field(default=None, validate_default=True)
    """Verifies tokens with the issuer's key set, fetched from here."""
    jwt_audience: str | None = None
    """The `aud` that tokens must have; by default it is not checked."""
    jwt_issuer: str | None = None
    """The `iss` that tokens must have; by default it is not checked. With an issuer, ids need not be UUIDs."""
    jwt_claim_user: types.ClaimNameNotUserWritable = token_claims.USER_CLAIM
    """The claim, or dotted path to it, that holds the user's id."""
    jwt_claim_email: types.ClaimName = token_claims.EMAIL_CLAIM
    """The claim that holds the e-mail address."""
    jwt_claim_organization: types.ClaimNameNotUserWritable = token_claims.ORGANIZATION_CLAIM
    """The claim that holds the organization's id."""
    jwt_claim_role: types.ClaimNameNotUserWritable = token_claims.ROLE_CLAIM
    """The claim that holds the role or roles."""
    jwt_role_map: types.RoleMap = ()
    """The issuer's roles and ours: `Rita.Admin:admin,*:member`; by default `owner`, `admin` and `member`."""
    jwt_jwks_stale_seconds: types.PositiveSeconds = timedelta(hours=4)
    """How long the last known keys go on counting while the issuer cannot be reached, also those it withdrew."""
    seal_keys: types.FernetKeys = Field(min_length=1)
    """Fernet keys that encrypt credentials on their way, newest first: the first encrypts, all decrypt."""

    metrics_token: Annotated[types.HeaderValue, Field(min_length=16)] | None = None
    """The bearer token that `/metrics` asks for, 16 characters or more; without it nothing is served there."""
    worker_metrics_port: types.Port | None = None
    """Where `worker` serves its metrics; two on one machine need a port each. Needs `METRICS_TOKEN`."""
    webhook_worker_metrics_port: types.Port | None = None
    """The same for `webhook_worker`."""

    heartbeat_file: Path | None = None
    """A file that the worker touches every five seconds while it consumes, for health checks."""

    otel_exporter_otlp_endpoint: types.AnyHttpUrl | None = None
    """Where traces go, by OTLP over HTTP; needs the extra `otel`. OpenTelemetry reads its other `OTEL_…` variables."""

    enabled_data_source_types: types.SourceTypeNames = ()
    """Types beside the four standard ones: `jira`, `gdrive`, `slack`, `notion`, `zendesk`."""

    verify_deadline_seconds: types.PositiveSeconds = timedelta(minutes=2)
    """After so long, a verification without an answer ends as expired."""
    sync_start_deadline_seconds: types.PositiveSeconds = timedelta(minutes=30)
    """After so long, a delivered sync that was not started ends as expired."""
    sync_silence_deadline_seconds: types.PositiveSeconds = timedelta(hours=2)
    """After so long without a report, a running sync ends as expired."""

    dispatch_interval_seconds: types.PositiveSeconds = timedelta(seconds=1)
    """How often webhooks that are due are looked for."""
    expiry_interval_seconds: types.PositiveSeconds = timedelta(seconds=10)
    """How often operations past their deadline are looked for."""
    operation_retention_days: int = Field(default=90, ge=1)
    """Days that finished operations are kept."""
    audit_retention_days: int = Field(default=400, ge=1)
    """Days that the audit trail is kept."""

    sse_heartbeat_seconds: types.PositiveSeconds = timedelta(seconds=15)
    """How often an event stream says that it is alive."""
    sse_ticket_seconds: types.PositiveSeconds = timedelta(seconds=30)
    """How long a ticket for an event stream is good."""
    sse_streams_per_organization: int = Field(default=300, ge=1)
    """Event streams that one organization may have open in one web process; one more is answered 429."""

    # Each verification costs the external service a sign-in at the source.
    verify_rate_limit: types.RateLimit = "30/minute"
    """Verifications of one organization, or `off`; more are answered 429 with `Retry-After`."""
    sync_rate_limit: types.RateLimit = "60/minute"
    """Syncs of one organization, or `off`."""
    # Far more than people do, and little enough to keep for AUDIT_RETENTION_DAYS.
    change_rate_limit: types.RateLimit = "120/minute"
    """Configuration changes and ended operations of one organization, or `off`."""
    # After a deployment every open page of an organization asks at once.
    ticket_rate_limit: types.RateLimit = "600/minute"
    """Tickets for event streams of one organization, or `off`."""
    trusted_proxies: types.Networks = ()
    """Addresses and networks of the proxies in front, whose `X-Forwarded-For`, `-Proto` and `-Prefix` are believed."""
    cors_origins: types.Origins = ()
    """Origins whose pages may call the API and hand a token over to the built-in page; https, or plain http on
    loopback."""
    built_in_page: bool = True
    """Whether the built-in page is served; `off` leaves out `/`, `/console/` and `/hand-over`."""
    sign_in_url: types.HttpUrl | None = None
    """The platform's page that opens in a window when somebody signs in to the built-in page, and hands a token over to
    it."""

    @field_validator("jwt_jwks_url")
    @classmethod
    def _require_exactly_one_token_key(cls, value: str | None, info: ValidationInfo) -> str | None:
        """Check the three together, for every start: also when other settings are wrong, one message names all."""
        others = ("jwt_secret", "jwt_public_key")
        if all(name in info.data for name in others):
            given = [key for key in (value, *(info.data[name] for name in others)) if key]
            if len(given) > 1 or (not given and "jwt_jwks_url" not in cls.optional_settings):
                raise ValueError("set exactly one of JWT_SECRET, JWT_PUBLIC_KEY and JWT_JWKS_URL")
        return value

    @field_validator("worker_metrics_port", "webhook_worker_metrics_port")
    @classmethod
    def _require_metrics_token_for_port(cls, value: int | None, info: ValidationInfo) -> int | None:
        needs_token = value is not None and "metrics_token" not in cls.optional_settings
        if needs_token and info.data.get("metrics_token", "wrong, and told as such") is None:
            raise ValueError("needs METRICS_TOKEN, which the page is shown for")
        return value

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        # Most of the others are a secret, or hold one.
        return [("environment", self.environment)]

    @property
    def listen_address(self) -> str:
        """Where the pages listen. A laptop is no server: in development nobody else on the network is let in."""
        return "127.0.0.1" if self.environment == "development" else "0.0.0.0"  # noqa: S104 - a server's purpose

    @cached_property
    def source_types(self) -> source_types.SourceTypeRegistry:
        """The types that this installation offers."""
        return source_types.SourceTypeRegistry(enabled_names=self.enabled_data_source_types)

    @property
    def claim_rules(self) -> token_claims.ClaimMapping:
        """How a token's claims are read."""
        names = (self.jwt_claim_user, self.jwt_claim_email, self.jwt_claim_organization, self.jwt_claim_role)
        return token_claims.ClaimMapping(*names, role_map=self.jwt_role_map, issuer=self.jwt_issuer)

    @property
    def deadlines(self) -> Deadlines:
        """How long operations wait for the external service."""
        # Every wait at its longest, every attempt at its slowest.
        waits = sum(self.sync_retry_seconds, timedelta(0)) * (1 + retry.MAX_JITTER)
        attempt = self.webhook_total_seconds + MAX_QUEUE_WAIT_PER_ATTEMPT
        return Deadlines(
            verification=self.verify_deadline_seconds,
            sync_delivery=waits + attempt * (len(self.sync_retry_seconds) + 1),
            sync_start=self.sync_start_deadline_seconds,
            sync_silence=self.sync_silence_deadline_seconds,
        )

    def webhook_retry_schedule(self, kind: str) -> tuple[timedelta, ...]:
        """Return the pauses between the attempts of an operation's webhook."""
        return self.verify_retry_seconds if kind == "verify" else self.sync_retry_seconds

    @property
    def owner_database_url(self) -> str:
        """The role that migrates."""
        return self.migration_database_url or self.database_url

    @property
    def can_serve_requests(self) -> bool:
        """Whether all is there that requests need: a command may do with less."""
        keys = [getattr(self, name) for name in process_settings.TOKEN_VERIFICATION_SETTINGS]
        return all([any(keys), self.redis_url, self.rabbitmq_url, self.seal_keys])

    def require(self, *setting_names: str) -> None:
        """See that settings are there which a command may start without. Raises SettingsError, which names all."""
        missing = [f"  {name.upper()}: is missing" for name in setting_names if not getattr(self, name)]
        if missing:
            raise SettingsError("This command needs settings that are not in the environment:\n" + "\n".join(missing))

    @classmethod
    def from_environment(cls, process_name: str | None = None) -> Settings:
        """Read and check the environment: what the process uses (see `process_settings.py`), or everything.

        Raises SettingsError, which ends the process with one message that names everything missing or unsafe.
        """
        unused = process_settings.settings_unused_by(process_name) if process_name else frozenset()
        # One setting is itself the name of a file.
        in_files = {name for name in cls.model_fields.keys() - unused if f"{name}_file" not in cls.model_fields}
        given, problems = read_settings_from_files(in_files, os.environ)
        # What is wrong with a setting's file is said of the file.
        said = {line.split("_FILE:")[0].strip() for line in problems}
        try:
            made = (_settings_class_for_process(process_name) if process_name else cls)(**given)
        except ValidationError as invalid:
            for error in invalid.errors(include_input=False, include_url=False):
                name = "".join(map(str, error["loc"][:1])).upper()
                message = "is missing" if error["type"] == "missing" else error["msg"].removeprefix("Value error, ")
                if name not in said:
                    problems.append(f"  {name}: {message}" if name else f"  {message}")
        if problems:
            lines = "\n".join(dict.fromkeys(problems))
            raise SettingsError(f"The settings in the environment do not allow a start:\n{lines}")
        return made


@cache
def _settings_class_for_process(process_name: str) -> type[Settings]:
    """Return the settings of one of the Procfile's processes, or of the operators' commands."""
    spared = process_settings.RESTRICTED_SETTINGS - process_settings.SETTINGS_USED_BY[process_name]
    left: dict[str, Any] = {}
    for name in spared:
        # A command may use any of them; a process keeps nothing of what it does not use.
        is_command = process_name == process_settings.COMMANDS_PROCESS
        rule = Settings.model_fields[name].rebuild_annotation() if is_command else _IGNORED_SETTING
        left[name] = (Optional[rule], None)  # noqa: UP045 - made when it runs
    made = create_model(f"Settings of {process_name}", __base__=Settings, **left)
    made.optional_settings = spared
    return made
