"""What a setting may be: the types of `app/config.py`, each with the check that says what is wrong with a value."""

from __future__ import annotations

import base64
import binascii
import re
import ssl
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from app.domain import source_types, token_claims

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
# HS256 needs a key as long as its digest (RFC 7518, section 3.2).
MIN_JWT_SECRET_BYTES = 32
# Far beyond any use, and far from what a timedelta or a timer overflows at.
MAX_DURATION = timedelta(days=30)
# The moving window keeps a moment for every request that it allows.
MAX_RATE_LIMIT_REQUESTS, MAX_RATE_LIMIT_WINDOW = 10_000, timedelta(days=1)
RATE_LIMIT_OFF = "off"
# Supabase's and Clerk's names for what a user may change, so that nobody is to be known or let in by it.
USER_WRITABLE_CLAIMS = frozenset({"user_metadata", "unsafe_metadata"})


def _split_at_commas(value: object) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _parse_seconds(value: object) -> object:
    if isinstance(value, str):
        try:
            return timedelta(seconds=float(value))
        except (ValueError, OverflowError):
            raise ValueError("must be a number of seconds") from None
    return value


def _check_duration(value: timedelta) -> timedelta:
    if not timedelta(0) < value <= MAX_DURATION:
        raise ValueError(f"must be more than 0 seconds and at most {MAX_DURATION.days} days")
    return value


def _check_header_value(value: str) -> str:
    # RFC 9110, section 5.5, without the obsolete half of it.
    if not re.fullmatch(r"[\x21-\x7e]+(?: [\x21-\x7e]+)*", value):
        raise ValueError("must be printable ASCII without line breaks, as a header's value")
    return value


def _check_ca_file(value: str) -> str:
    try:
        ssl.create_default_context(cafile=value)
    except OSError:
        raise ValueError("must be a readable file of PEM certificates") from None
    return value


def _check_fernet_key(value: str) -> str:
    try:
        Fernet(value)
    except (ValueError, binascii.Error):
        raise ValueError("must be Fernet keys (32 url-safe base64 bytes each)") from None
    return value


def _check_http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http(s) URL")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK_HOSTS:
        raise ValueError("must be https; plain http is allowed for loopback only")
    if parts.username or parts.password:
        raise ValueError("must not carry a user name or password")
    return value


def _check_origin(value: str) -> str:
    """Check an origin as a browser writes it (RFC 6454, section 6.1): it is compared letter by letter."""
    origin = _check_http_url(value).lower()
    parts = urlsplit(origin)
    if origin != f"{parts.scheme}://{parts.netloc}" or "*" in origin:
        raise ValueError("must be origins such as https://app.example.org: no path, no *")
    if not re.fullmatch(r"[a-z0-9.-]+(:[0-9]{1,5})?|\[::1\](:[0-9]{1,5})?", parts.netloc):
        raise ValueError("must be origins of plain host names")
    if parts.netloc.endswith({"https": ":443", "http": ":80"}[parts.scheme]):
        raise ValueError("must leave out the port that is the scheme's own, as browsers do")
    return origin


def _parse_network(value: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(value)
    except ValueError as problem:
        raise ValueError(f"must be addresses or networks, such as 10.0.0.0/8: {problem}") from None


def _check_rate_limit(value: str) -> str:
    if value.strip().lower() == RATE_LIMIT_OFF:
        return RATE_LIMIT_OFF
    from limits import parse_many  # noqa: PLC0415 - the library is the web process's; others are not given limits

    try:
        (limit,) = parse_many(value)
    except ValueError:
        raise ValueError("must be one limit such as 30/minute or 5/10seconds, or off") from None
    window = timedelta(seconds=limit.get_expiry())
    if not (0 < limit.amount <= MAX_RATE_LIMIT_REQUESTS and timedelta(0) < window <= MAX_RATE_LIMIT_WINDOW):
        raise ValueError(f"must allow 1 to {MAX_RATE_LIMIT_REQUESTS} requests in at most a day, or be off")
    return value.strip()


def _check_jwt_secret(value: str) -> str:
    if len(value.encode()) < MIN_JWT_SECRET_BYTES:
        raise ValueError(f"must have at least {MIN_JWT_SECRET_BYTES} bytes")
    return value


def _check_public_key(value: str) -> str:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - the web process's, too
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    from app.domain import token_keys  # noqa: PLC0415

    # An environment often carries line breaks as backslash and n.
    pem = value.replace("\\n", "\n")
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        commands = "as `openssl pkey -pubout` and `openssl x509 -pubkey` print"
        raise ValueError(f"must be a PEM public key ({token_keys.SUPPORTED_KEYS_DESCRIPTION}), {commands}") from None
    if not token_keys.algorithms_for_key(key):
        raise ValueError(f"is a key that verifies no token; taken are {token_keys.SUPPORTED_KEYS_DESCRIPTION}")
    return pem


def _check_claim_name(value: str) -> str:
    if not re.fullmatch(r"[^\x00-\x20\x7f]{1,200}", value):
        raise ValueError("must be a claim's name, or a dotted path to it, of at most 200 characters")
    return value


def _check_claim_not_user_writable(value: str) -> str:
    if value.split(".", maxsplit=1)[0] in USER_WRITABLE_CLAIMS:
        raise ValueError(f"lies in {value.split('.', maxsplit=1)[0]}, which users write themselves")
    return value


def _parse_role_map(value: object) -> object:
    """Read `Rita.Admin:admin,*:member`; their names may have colons in them."""
    if not isinstance(value, str):
        return value
    parts = [part.rpartition(":") for part in _split_at_commas(value)]
    return tuple((theirs.strip(), ours.strip()) for theirs, _, ours in parts)


def _check_role_map(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    if not all(theirs and ours in token_claims.ROLES for theirs, ours in pairs):
        raise ValueError(f"must be pairs such as Rita.Admin:admin,*:member, to one of {', '.join(token_claims.ROLES)}")
    return pairs


def _check_source_types(names: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in names if name not in source_types.OPTIONAL_TYPES]
    if unknown:
        raise ValueError(f"names {', '.join(unknown)}; known are {', '.join(source_types.OPTIONAL_TYPES)}")
    return names


def _require_url_scheme(*schemes: str) -> AfterValidator:
    def check(value: str) -> str:
        if urlsplit(value).scheme not in schemes:
            raise ValueError(f"must start with one of {', '.join(f'{scheme}://' for scheme in schemes)}")
        return value

    return AfterValidator(check)


# What people put there instead, and what is wrong with it; the first that fits.
_INVALID_SIGNING_SECRET_PATTERNS = (
    (re.compile(r".*whsec_.*whsec_", re.DOTALL), "several secrets are separated by commas, and by nothing else"),
    (re.compile(r"""["'`]|.*["'`]$"""), "it stands in quotes"),
    (re.compile(r"wh[ps]k_"), "it is a key of the scheme v1a, which Rita does not sign by"),
    (re.compile(r"whsec_[^\s-]*\s"), "there is a space in it"),
    (re.compile(r"whsec_.*[-_]"), "it is base64url, whose - and _ no receiver reads"),
    (re.compile(r"(?!whsec_)"), "it does not begin with whsec_, in small letters"),
)
_SIGNING_COMMAND = 'echo "whsec_$(openssl rand -base64 32)"'
_SIGNING_RECIPE = f"must be whsec_ and the standard base64 of 24 to 64 random bytes: {_SIGNING_COMMAND}"


def _split_signing_secrets(value: object) -> object:
    secrets = _split_at_commas(value)
    if isinstance(value, str) and not secrets:
        # Nothing is signed where nothing is set, not where something else was meant.
        raise ValueError(_SIGNING_RECIPE)
    return secrets


def _check_signing_secret(value: str) -> str:
    """Check a secret as strictly as the strictest receiver reads it: others would take it for another key."""
    for pattern, words in _INVALID_SIGNING_SECRET_PATTERNS:
        if pattern.match(value):
            raise ValueError(f"{_SIGNING_RECIPE} ({words})")
    try:
        key = base64.b64decode(value.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise ValueError(f"{_SIGNING_RECIPE} (what follows whsec_ is no whole base64)") from None
    # Standard Webhooks, "Signature scheme": between 24 bytes and 64 bytes of random.
    if not 24 <= len(key) <= 64:  # noqa: PLR2004 - the bounds are the specification's own
        raise ValueError(f"{_SIGNING_RECIPE} (it has {len(key)} bytes)")
    return value


PositiveSeconds = Annotated[timedelta, BeforeValidator(_parse_seconds), AfterValidator(_check_duration)]
SecondsList = Annotated[tuple[PositiveSeconds, ...], NoDecode, BeforeValidator(_split_at_commas), Field(min_length=1)]
CommaSeparatedNames = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_at_commas)]
PostgresUrl = Annotated[str, _require_url_scheme("postgresql", "postgresql+psycopg2")]
BrokerUrl = Annotated[str, _require_url_scheme("amqp", "amqps", "redis", "rediss")]
RedisUrl = Annotated[str, _require_url_scheme("redis", "rediss", "unix")]
AnyHttpUrl = Annotated[str, _require_url_scheme("http", "https")]
HttpUrl = Annotated[str, AfterValidator(_check_http_url)]
_Origin = Annotated[str, AfterValidator(_check_origin)]
Origins = Annotated[tuple[_Origin, ...], NoDecode, BeforeValidator(_split_at_commas)]
_Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_parse_network)]
Networks = Annotated[tuple[_Network, ...], NoDecode, BeforeValidator(_split_at_commas)]
RateLimit = Annotated[str, AfterValidator(_check_rate_limit)]
HeaderValue = Annotated[str, AfterValidator(_check_header_value)]
CaFile = Annotated[str, AfterValidator(_check_ca_file)]
_SigningSecret = Annotated[str, AfterValidator(_check_signing_secret)]
SigningSecrets = Annotated[tuple[_SigningSecret, ...], NoDecode, BeforeValidator(_split_signing_secrets)]
JwtSecret = Annotated[str, AfterValidator(_check_jwt_secret)]
PublicKey = Annotated[str, AfterValidator(_check_public_key)]
ClaimName = Annotated[str, AfterValidator(_check_claim_name)]
ClaimNameNotUserWritable = Annotated[ClaimName, AfterValidator(_check_claim_not_user_writable)]
RoleMap = Annotated[
    tuple[tuple[str, str], ...], NoDecode, BeforeValidator(_parse_role_map), AfterValidator(_check_role_map)
]
_FernetKey = Annotated[str, AfterValidator(_check_fernet_key)]
FernetKeys = Annotated[tuple[_FernetKey, ...], NoDecode, BeforeValidator(_split_at_commas)]
SourceTypeNames = Annotated[CommaSeparatedNames, AfterValidator(_check_source_types)]
Port = Annotated[int, Field(ge=1, le=65535)]
