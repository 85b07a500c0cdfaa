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

from app.domain import claims, sources

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
# HS256 needs a key as long as its digest (RFC 7518, section 3.2).
SHORTEST_JWT_SECRET = 32
# Far beyond any use, and far from what a timedelta or a timer overflows at.
LONGEST_DURATION = timedelta(days=30)
# The moving window keeps a moment for every request that it allows.
MOST_REQUESTS, LONGEST_WINDOW = 10_000, timedelta(days=1)
OFF = "off"
# Supabase's and Clerk's names for what a user may change, so that nobody is to be known or let in by it.
CHOSEN_BY_USERS = frozenset({"user_metadata", "unsafe_metadata"})


def _split(value: object) -> Any:
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


def _network(value: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(value)
    except ValueError as problem:
        raise ValueError(f"must be addresses or networks, such as 10.0.0.0/8: {problem}") from None


def _rate_limit(value: str) -> str:
    if value.strip().lower() == OFF:
        return OFF
    from limits import parse_many  # noqa: PLC0415 - the library is the web process's; others are not given limits

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
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - the web process's, too
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    from app.domain import token_keys  # noqa: PLC0415

    # An environment often carries line breaks as backslash and n.
    pem = value.replace("\\n", "\n")
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(
            f"must be a PEM public key ({token_keys.KINDS}), as `openssl pkey -pubout` and `openssl x509 -pubkey` print"
        ) from None
    if not token_keys.algorithms_of(key):
        raise ValueError(f"is a key that verifies no token; taken are {token_keys.KINDS}")
    return pem


def _claim(value: str) -> str:
    if not re.fullmatch(r"[^\x00-\x20\x7f]{1,200}", value):
        raise ValueError("must be a claim's name, or a dotted path to it, of at most 200 characters")
    return value


def _assigned_claim(value: str) -> str:
    if value.split(".", maxsplit=1)[0] in CHOSEN_BY_USERS:
        raise ValueError(f"lies in {value.split('.', maxsplit=1)[0]}, which users write themselves")
    return value


def _role_map(value: object) -> object:
    """Read `Rita.Admin:admin,*:member`; their names may have colons in them."""
    if not isinstance(value, str):
        return value
    return tuple((theirs.strip(), ours.strip()) for theirs, _, ours in (part.rpartition(":") for part in _split(value)))


def _known_roles(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    if not all(theirs and ours in claims.ROLES for theirs, ours in pairs):
        raise ValueError(f"must be pairs such as Rita.Admin:admin,*:member, to one of {', '.join(claims.ROLES)}")
    return pairs


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


# What people put there instead, and what is wrong with it; the first that fits.
_NO_SIGNING_SECRETS = (
    (re.compile(r".*whsec_.*whsec_", re.DOTALL), "several secrets are separated by commas, and by nothing else"),
    (re.compile(r"""["'`]|.*["'`]$"""), "it stands in quotes"),
    (re.compile(r"wh[ps]k_"), "it is a key of the scheme v1a, which Rita does not sign by"),
    (re.compile(r"whsec_[^\s-]*\s"), "there is a space in it"),
    (re.compile(r"whsec_.*[-_]"), "it is base64url, whose - and _ no receiver reads"),
    (re.compile(r"(?!whsec_)"), "it does not begin with whsec_, in small letters"),
)
_RECIPE = 'must be whsec_ and the standard base64 of 24 to 64 random bytes: echo "whsec_$(openssl rand -base64 32)"'


def _signing_secrets(value: object) -> object:
    secrets = _split(value)
    if isinstance(value, str) and not secrets:
        # Nothing is signed where nothing is set, not where something else was meant.
        raise ValueError(_RECIPE)
    return secrets


def _signing_secret(value: str) -> str:
    """Check a secret as strictly as the strictest receiver reads it: others would take it for another key."""
    for pattern, words in _NO_SIGNING_SECRETS:
        if pattern.match(value):
            raise ValueError(f"{_RECIPE} ({words})")
    try:
        key = base64.b64decode(value.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise ValueError(f"{_RECIPE} (what follows whsec_ is no whole base64)") from None
    # Standard Webhooks, "Signature scheme": between 24 bytes and 64 bytes of random.
    if not 24 <= len(key) <= 64:  # noqa: PLR2004 - the bounds are the specification's own
        raise ValueError(f"{_RECIPE} (it has {len(key)} bytes)")
    return value


Seconds = Annotated[timedelta, BeforeValidator(_seconds), AfterValidator(_sane)]
SecondsList = Annotated[tuple[Seconds, ...], NoDecode, BeforeValidator(_split), Field(min_length=1)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
PostgresUrl = Annotated[str, _scheme("postgresql", "postgresql+psycopg2")]
BrokerUrl = Annotated[str, _scheme("amqp", "amqps", "redis", "rediss")]
RedisUrl = Annotated[str, _scheme("redis", "rediss", "unix")]
AnyHttpUrl = Annotated[str, _scheme("http", "https")]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_split)]
Networks = Annotated[
    tuple[Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)], ...], NoDecode, BeforeValidator(_split)
]
RateLimit = Annotated[str, AfterValidator(_rate_limit)]
HeaderValue = Annotated[str, AfterValidator(_header_value)]
CaFile = Annotated[str, AfterValidator(_ca_file)]
SigningSecrets = Annotated[
    tuple[Annotated[str, AfterValidator(_signing_secret)], ...], NoDecode, BeforeValidator(_signing_secrets)
]
JwtSecret = Annotated[str, AfterValidator(_jwt_secret)]
PublicKey = Annotated[str, AfterValidator(_public_key)]
Claim = Annotated[str, AfterValidator(_claim)]
AssignedClaim = Annotated[Claim, AfterValidator(_assigned_claim)]
RoleMap = Annotated[tuple[tuple[str, str], ...], NoDecode, BeforeValidator(_role_map), AfterValidator(_known_roles)]
SealKeys = Annotated[tuple[Annotated[str, AfterValidator(_fernet_key)], ...], NoDecode, BeforeValidator(_split)]
KnownTypes = Annotated[Names, AfterValidator(_known_types)]
Port = Annotated[int, Field(ge=1, le=65535)]
