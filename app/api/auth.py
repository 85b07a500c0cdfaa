"""Who makes a request: a JSON Web Token (RFC 7519) of the platform, verified and typed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import sha256
from operator import attrgetter
from threading import Lock
from typing import Annotated, Any, Literal
from uuid import UUID

import jwt
import structlog
from cachetools import TTLCache, cachedmethod
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from flask import Flask, current_app, g, request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from app import errors
from app.api.requests import request_id
from app.config import Settings
from app.domain.actors import Actor

SYMMETRIC = ["HS256", "HS384", "HS512"]
# Never mixed with the symmetric ones: a public key must not pass for a shared secret.
RSA = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]
ELLIPTIC = ["ES256", "ES384", "ES512"]
ASYMMETRIC = [*RSA, *ELLIPTIC, "EdDSA"]
# Clocks of two machines differ a little.
LEEWAY = timedelta(seconds=5)
# A page asks many times with one token; when it expires is looked at each time.
REMEMBERED, MOST_REMEMBERED = timedelta(seconds=60), 10_000
# How long the keys that a JWKS URL lists are taken as they were: one that is taken off counts for as long, and for what
# is remembered of its tokens. A token that names an unknown key has the list fetched anew, but no more often than this.
LISTED, FETCHED_ANEW = timedelta(minutes=5), timedelta(seconds=5)


class Identity(BaseModel):
    """The verified claims; what they say decides, never a parameter."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    user_id: Annotated[UUID, Field(alias="sub")]
    email: Annotated[str, Field(min_length=3, max_length=320, pattern=r"^[^\x00-\x20]+$")]
    organization_id: UUID
    role: Literal["owner", "admin", "member"]
    expires_at: Annotated[AwareDatetime, Field(alias="exp")]

    @property
    def is_admin(self) -> bool:
        """Tell whether this person may disable and delete."""
        return self.role in ("owner", "admin")

    @property
    def actor(self) -> Actor:
        """This person as the one who makes a change, by this request."""
        return Actor("user", id=self.user_id, email=self.email, request_id=request_id())


class TokenVerifier:
    """Verifies tokens with a shared secret, a public key, or the keys that a JWKS URL lists."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._verified: TTLCache[bytes, Identity] = TTLCache(MOST_REMEMBERED, REMEMBERED.total_seconds())
        self._lock = Lock()

    @cached_property
    def _jwks(self) -> jwt.PyJWKClient:
        return jwt.PyJWKClient(
            self._settings.jwt_jwks_url or "",
            # It would keep each key for ever, also one that is listed no more.
            cache_keys=False,
            lifespan=LISTED.total_seconds(),
            cooldown_duration=FETCHED_ANEW.total_seconds(),
            timeout=3,
        )

    @cachedmethod(
        attrgetter("_verified"), key=lambda _, token: sha256(token.encode()).digest(), lock=attrgetter("_lock")
    )
    def verify(self, token: str) -> Identity:
        """Return whom a token names. Raises TokenExpired, InvalidToken, ServiceUnavailable (no JWKS)."""
        settings = self._settings
        try:
            key, algorithms = self._key(token)
            claims = jwt.decode(
                token,
                key,
                algorithms=algorithms,
                audience=settings.jwt_audience,
                issuer=settings.jwt_issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "sub"], "verify_aud": settings.jwt_audience is not None},
            )
        except jwt.ExpiredSignatureError:
            raise errors.TokenExpired("The token has expired; sign in again") from None
        except jwt.PyJWKClientConnectionError:
            raise errors.ServiceUnavailable("The keys that verify tokens cannot be fetched; try again") from None
        except jwt.PyJWTError as problem:
            raise errors.InvalidToken(f"The token is not valid: {problem}") from None
        return identity_from(claims)

    def _key(self, token: str) -> tuple[Any, list[str]]:
        settings = self._settings
        if settings.jwt_secret:
            return settings.jwt_secret, SYMMETRIC
        if settings.jwt_public_key:
            return self._public_key
        try:
            self._jwks.get_signing_keys()
        except (jwt.PyJWTError, ValueError):
            raise errors.ServiceUnavailable("The keys that verify tokens cannot be fetched; try again") from None
        # The key with its own algorithm, whatever the token says.
        return self._jwks.get_signing_key_from_jwt(token), ASYMMETRIC

    @cached_property
    def _public_key(self) -> tuple[Any, list[str]]:
        """The configured key, with the algorithms that fit its kind."""
        key = load_pem_public_key((self._settings.jwt_public_key or "").encode())
        if isinstance(key, RSAPublicKey):
            return key, RSA
        return key, ELLIPTIC if isinstance(key, EllipticCurvePublicKey) else ["EdDSA"]


def identity_from(claims: dict[str, Any]) -> Identity:
    """Return the identity in verified claims. Raises InvalidToken naming what is missing or malformed."""
    try:
        return Identity.model_validate(claims)
    except ValidationError as invalid:
        wrong = ", ".join(sorted({str(error["loc"][0]) for error in invalid.errors(include_input=False)}))
        raise errors.InvalidToken(f"The token's claims are missing or malformed: {wrong}") from None


def init_app(app: Flask) -> None:
    """Make the application's verifier."""
    app.extensions["token_verifier"] = TokenVerifier(app.extensions["settings"])


def authenticate() -> None:
    """Verify the request's bearer token; register as `before_request` so that no endpoint can forget."""
    if request.method == "OPTIONS":
        # A preflight carries no token (Fetch, section 4.8); its answer says nothing but the methods.
        return
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise errors.Unauthorized("Send the header Authorization: Bearer <token>")
    use(current_app.extensions["token_verifier"].verify(token.strip()))


def use(identity: Identity) -> None:
    """Let the rest of this request act as `identity`."""
    if identity.expires_at <= datetime.now(UTC) - LEEWAY:
        raise errors.TokenExpired("The token has expired; sign in again")
    g.identity = identity
    structlog.contextvars.bind_contextvars(organization_id=str(identity.organization_id))


def current() -> Identity:
    """Return who makes this request."""
    identity: Identity = g.identity
    return identity


def require_admin(message: str) -> None:
    """Raise AdminRequired unless an admin or owner makes this request."""
    if not current().is_admin:
        raise errors.AdminRequired(message)
