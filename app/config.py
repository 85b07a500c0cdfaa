"""The settings, typed, read from the environment once; nothing else reads `os.environ`.

Every name is listed in CONTRACT's settings and in the README's table. A durations' unit is the second. Any of them may
be given as a file, whose name is in `NAME_FILE`; and a process is given those that it uses, see `needs.py`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from datetime import timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Optional

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, create_model, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app import needs
from app import setting_types as types
from app.domain import claims, retry, sources
from app.domain.lifecycle import Patience

# What one attempt may wait in the queue on top of its POST.
DELIVERY_SLACK = timedelta(seconds=30)


# Whatever it is set to.
_DROPPED = Annotated[Any, NoDecode, BeforeValidator(lambda _: None)]


class SettingsError(SystemExit):
    """The environment does not describe a service that may start; the message names all that is wrong."""


class Settings(BaseSettings):
    """Everything that may differ between two installations."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore", hide_input_in_errors=True)

    # What a process of this kind may start without.
    spared: ClassVar[frozenset[str]] = frozenset()

    environment: Literal["production", "development"] = "production"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    port: types.Port = 8000
    web_processes: int = Field(default=1, ge=1)
    # Said by /healthz and /readyz, so that whoever started this process can tell its answer from a stranger's.
    instance_id: types.HeaderValue | None = None

    database_url: types.PostgresUrl
    migration_database_url: types.PostgresUrl | None = None
    rabbitmq_url: types.BrokerUrl
    redis_url: types.RedisUrl
    # Connections that one process may hold; the threads of the webhook worker share them.
    database_pool_size: int = Field(default=10, ge=1)

    automation_webhook_url: types.HttpUrl
    automation_auth: types.HeaderValue
    # All sign: two while one is rotated.
    webhook_signing_secret: types.SigningSecrets = ()
    # A private certificate authority of the external service, as a PEM file.
    webhook_ca_file: types.CaFile | None = None
    webhook_connect_seconds: types.Seconds = timedelta(seconds=3)
    webhook_read_seconds: types.Seconds = timedelta(seconds=10)
    webhook_total_seconds: types.Seconds = timedelta(seconds=12)
    # So many attempts in a row that find the receiver down, of whatever operations, stop all but a probe at a time.
    webhook_failures_to_park: int = Field(default=10, ge=1)
    webhook_probe_seconds: types.Seconds = timedelta(seconds=5)
    verify_retry_seconds: types.SecondsList = retry.VERIFY_WAITS
    sync_retry_seconds: types.SecondsList = retry.SYNC_WAITS

    status_queues: Annotated[types.Names, Field(min_length=1)] = ("data_source_status",)
    # After a batch of status messages that could not be applied; the last again and again.
    status_retry_seconds: types.SecondsList = retry.STATUS_WAITS
    # A restart or a failover of the database is over sooner, and nothing went back. After this long another worker may
    # try what this one holds, well before RabbitMQ takes it away (`consumer_timeout`, 30 minutes).
    status_hold_seconds: types.Seconds = timedelta(minutes=5)
    # RabbitMQ's management page, with its user, for `doctor` to ask what no client is told.
    rabbitmq_management_url: types.AnyHttpUrl | None = None

    jwt_secret: types.JwtSecret | None = None
    jwt_public_key: types.PublicKey | None = None
    jwt_jwks_url: types.HttpUrl | None = Field(default=None, validate_default=True)
    jwt_audience: str | None = None
    # Names whose ids are no UUIDs, too: see `claim_rules`.
    jwt_issuer: str | None = None
    jwt_claim_user: types.AssignedClaim = claims.USER
    jwt_claim_email: types.Claim = claims.EMAIL
    jwt_claim_organization: types.AssignedClaim = claims.ORGANIZATION
    jwt_claim_role: types.AssignedClaim = claims.ROLE
    jwt_role_map: types.RoleMap = ()
    # How long the keys of an issuer that is away go on counting; longer, and one that it withdrew does, too.
    jwt_jwks_stale_seconds: types.Seconds = timedelta(hours=4)
    # Newest first: the first seals, all open.
    seal_keys: types.SealKeys = Field(min_length=1)

    # What Prometheus shows at /metrics; without it the page is not served.
    metrics_token: Annotated[types.HeaderValue, Field(min_length=16)] | None = None
    # Where the workers serve their own page; two of a kind on one machine need a port each.
    worker_metrics_port: types.Port | None = None
    webhook_worker_metrics_port: types.Port | None = None

    # What a worker touches every few seconds while it consumes: for whoever has to end one that does not.
    heartbeat_file: Path | None = None

    # Where traces go, by OTLP over HTTP. The exporter reads this and the other OTEL_ settings by itself.
    otel_exporter_otlp_endpoint: types.AnyHttpUrl | None = None

    enabled_data_source_types: types.KnownTypes = ()

    verify_deadline_seconds: types.Seconds = timedelta(minutes=2)
    sync_start_deadline_seconds: types.Seconds = timedelta(minutes=30)
    sync_silence_deadline_seconds: types.Seconds = timedelta(hours=2)

    dispatch_interval_seconds: types.Seconds = timedelta(seconds=1)
    expiry_interval_seconds: types.Seconds = timedelta(seconds=10)
    operation_retention_days: int = Field(default=90, ge=1)
    audit_retention_days: int = Field(default=400, ge=1)

    sse_heartbeat_seconds: types.Seconds = timedelta(seconds=15)
    sse_ticket_seconds: types.Seconds = timedelta(seconds=30)
    # That one organization may have open in one web process: one for each page that somebody looks at.
    sse_streams_per_organization: int = Field(default=300, ge=1)

    # What an organization may ask for: each verification costs the external service a sign-in at the source.
    verify_rate_limit: types.RateLimit = "30/minute"
    sync_rate_limit: types.RateLimit = "60/minute"
    # Of settings, and ends of operations: far more than people do, and little enough to keep for AUDIT_RETENTION_DAYS.
    change_rate_limit: types.RateLimit = "120/minute"
    # After a deployment every open page of an organization asks at once.
    ticket_rate_limit: types.RateLimit = "600/minute"
    # Whose word counts about a request's client, scheme and path.
    trusted_proxies: types.Networks = ()
    # The pages of other origins that may call the API.
    cors_origins: types.Origins = ()

    @field_validator("jwt_jwks_url")
    @classmethod
    def _exactly_one_key(cls, value: str | None, info: ValidationInfo) -> str | None:
        """Check the three together, for every start: also when other settings are wrong, one message names all."""
        others = ("jwt_secret", "jwt_public_key")
        if all(name in info.data for name in others):
            given = [key for key in (value, *(info.data[name] for name in others)) if key]
            if len(given) > 1 or (not given and "jwt_jwks_url" not in cls.spared):
                raise ValueError("set exactly one of JWT_SECRET, JWT_PUBLIC_KEY and JWT_JWKS_URL")
        return value

    @field_validator("worker_metrics_port", "webhook_worker_metrics_port")
    @classmethod
    def _nobody_without_token(cls, value: int | None, info: ValidationInfo) -> int | None:
        needs_token = value is not None and "metrics_token" not in cls.spared
        if needs_token and info.data.get("metrics_token", "wrong, and told as such") is None:
            raise ValueError("needs METRICS_TOKEN, which the page is shown for")
        return value

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        # Most of the others are a secret, or hold one.
        return [("environment", self.environment)]

    @property
    def address(self) -> str:
        """Where the pages listen. A laptop is no server: in development nobody else on the network is let in."""
        return "127.0.0.1" if self.environment == "development" else "0.0.0.0"  # noqa: S104 - a server's purpose

    @cached_property
    def source_types(self) -> sources.Registry:
        """The types that this installation offers."""
        return sources.Registry(turned_on=self.enabled_data_source_types)

    @property
    def claim_rules(self) -> claims.ClaimRules:
        """How a token's claims are read."""
        return claims.ClaimRules(
            user=self.jwt_claim_user,
            email=self.jwt_claim_email,
            organization=self.jwt_claim_organization,
            role=self.jwt_claim_role,
            role_map=self.jwt_role_map,
            issuer=self.jwt_issuer,
        )

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

    @property
    def serves(self) -> bool:
        """Whether all is there that requests need: a command may do with less."""
        keys = [getattr(self, name) for name in needs.TOKEN_KEYS]
        return all([any(keys), self.redis_url, self.rabbitmq_url, self.seal_keys])

    def demand(self, *names: str) -> None:
        """See that settings are there which a command may start without. Raises SettingsError, which names all."""
        missing = [f"  {name.upper()}: is missing" for name in names if not getattr(self, name)]
        if missing:
            raise SettingsError("This command needs settings that are not in the environment:\n" + "\n".join(missing))

    @classmethod
    def from_environment(cls, process: str | None = None) -> Settings:
        """Read and check the environment: what the process uses (see `needs.py`), or everything.

        Raises SettingsError, which ends the process with one message that names everything missing or unsafe.
        """
        unused = needs.unused_by(process) if process else frozenset()
        given, problems = _from_files(cls.model_fields.keys() - unused)
        # What is wrong with a setting's file is said of the file.
        said = {line.split("_FILE:")[0].strip() for line in problems}
        try:
            made = (_of(process) if process else cls)(**given)
        except ValidationError as invalid:
            for error in invalid.errors(include_input=False, include_url=False):
                name = "_".join(str(part) for part in error["loc"][:1]).upper()
                message = "is missing" if error["type"] == "missing" else error["msg"].removeprefix("Value error, ")
                if name not in said:
                    problems.append(f"  {name}: {message}" if name else f"  {message}")
        if problems:
            lines = "\n".join(dict.fromkeys(problems))
            raise SettingsError(f"The settings in the environment do not allow a start:\n{lines}")
        return made


def _from_files(names: Collection[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the settings whose `NAME_FILE` names a file, as they stand in it, and what is wrong with such files."""
    given: dict[str, Any] = {}
    problems = []
    environment = {name.lower(): value for name, value in os.environ.items()}
    for name in names:
        path = environment.get(f"{name}_file")
        # One setting is itself the name of a file.
        if not path or f"{name}_file" in Settings.model_fields:
            continue
        if environment.get(name):
            problems.append(f"  {name.upper()}_FILE: {name.upper()} is set, too; set one of them")
            continue
        try:
            given[name] = Path(path).read_text().strip()
        except OSError as problem:
            problems.append(f"  {name.upper()}_FILE: cannot be read: {problem.strerror}")
        except UnicodeError:
            problems.append(f"  {name.upper()}_FILE: is not a text in UTF-8")
    return given, problems


@cache
def _of(process: str) -> type[Settings]:
    """Return the settings of one of the Procfile's processes, or of the operators' commands."""
    fields = Settings.model_fields
    spared = needs.GUARDED - needs.USES[process]
    left: dict[str, Any] = {}
    for name in spared:
        # A command may use any of them; a process keeps nothing of what it does not use.
        rule = fields[name].rebuild_annotation() if process == needs.COMMANDS else _DROPPED
        left[name] = (Optional[rule], None)  # noqa: UP045 - made when it runs
    made = create_model(f"Settings of {process}", __base__=Settings, **left)
    made.spared = spared
    return made
