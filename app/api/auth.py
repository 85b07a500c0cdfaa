"""Who makes a request: a JSON Web Token (RFC 7519) of the platform, verified and typed."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from operator import attrgetter
from threading import Lock
from typing import Annotated, Any, Literal
from uuid import UUID

import jwt
import structlog
from cachetools import TTLCache, cachedmethod
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from flask import Flask, current_app, g, request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from app import errors
from app.api.requests import request_id
from app.config import Settings
from app.domain import token_keys
from app.domain.actors import Actor
from app.domain.claims import ClaimRules
from app.domain.token_keys import TokenKey
from app.outbound import key_set
from app.outbound.key_cache import KeyCache

# Clocks of two machines differ a little.
LEEWAY = timedelta(seconds=5)
# A page asks many times with one token; when it expires is looked at each time.
REMEMBERED, MOST_REMEMBERED = timedelta(seconds=60), 10_000


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
        self._rules = settings.claim_rules
        self._verified: TTLCache[bytes, Identity] = TTLCache(MOST_REMEMBERED, REMEMBERED.total_seconds())
        self._lock = Lock()
        self._listed: KeyCache | None = None
        self._own: list[TokenKey] = []
        if settings.jwt_secret:
            self._own = [TokenKey(settings.jwt_secret, token_keys.SYMMETRIC)]
        elif settings.jwt_public_key:
            key = load_pem_public_key(settings.jwt_public_key.encode())
            self._own = [TokenKey(key, token_keys.algorithms_of(key))]
        elif settings.jwt_jwks_url:
            fetch = partial(key_set.fetch, settings.jwt_jwks_url)
            self._listed = KeyCache(fetch, stale=settings.jwt_jwks_stale_seconds)

    @cachedmethod(
        attrgetter("_verified"), key=lambda _, token: sha256(token.encode()).digest(), lock=attrgetter("_lock")
    )
    def verify(self, token: str) -> Identity:
        """Return whom a token names. Raises TokenExpired, InvalidToken, ServiceUnavailable (no JWKS)."""
        try:
            return identity_from(self._claims(token), rules=self._rules)
        except jwt.ExpiredSignatureError:
            raise errors.TokenExpired("The token has expired; sign in again") from None
        except jwt.PyJWTError as problem:
            raise errors.InvalidToken(f"The token is not valid: {problem}") from None
        except key_set.KeysMisconfigured:
            raise errors.ServiceUnavailable(
                "The keys that verify tokens are not where they should be; whoever runs this service must correct it"
            ) from None
        except key_set.KeysUnavailable:
            raise errors.ServiceUnavailable("The keys that verify tokens cannot be fetched; try again") from None

    def _claims(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str):
            raise jwt.InvalidAlgorithmError("Its header names no algorithm")
        if self._listed is None:
            return self._decoded(token, [key for key in self._own if algorithm in key.algorithms])
        if algorithm not in token_keys.ASYMMETRIC:
            raise jwt.InvalidAlgorithmError("The specified alg value is not allowed")
        kid, keys = header.get("kid") or None, self._listed.current()
        try:
            return self._decoded(token, keys.fitting(kid=kid, algorithm=algorithm))
        except jwt.InvalidSignatureError:
            # One that is listed decides. An unknown one may have been listed since.
            if keys.names(kid) or (newer := self._listed.newer(keys)) is keys:
                raise
        return self._decoded(token, newer.fitting(kid=kid, algorithm=algorithm))

    def _decoded(self, token: str, keys: list[TokenKey]) -> dict[str, Any]:
        """Return the claims, verified by the first key that can, each with its own algorithms whatever the token says.

        Raises jwt.InvalidSignatureError where none can, jwt.PyJWTError for anything else that is wrong.
        """
        settings = self._settings
        for key in keys:
            with suppress(jwt.InvalidSignatureError):
                return jwt.decode(
                    token,
                    key.key,
                    algorithms=list(key.algorithms),
                    audience=settings.jwt_audience,
                    issuer=settings.jwt_issuer,
                    leeway=LEEWAY,
                    options={"require": ["exp"], "verify_aud": settings.jwt_audience is not None},
                )
        raise jwt.InvalidSignatureError("No key that is known here verifies it")


def identity_from(claims: dict[str, Any], *, rules: ClaimRules) -> Identity:
    """Return the identity in verified claims. Raises InvalidToken naming what is missing or malformed."""
    try:
        return Identity.model_validate(rules.read(claims))
    except ValidationError as invalid:
        theirs = {"exp": "exp"} | rules.names
        wrong = ", ".join(sorted({theirs[str(error["loc"][0])] for error in invalid.errors(include_input=False)}))
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
