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
from app.api.request_handling import current_request_id
from app.config import Settings
from app.domain import token_keys
from app.domain.actors import Actor
from app.domain.token_claims import ClaimMapping
from app.domain.token_keys import TokenKey
from app.outbound import jwks
from app.outbound.token_key_cache import TokenKeyCache

# Clocks of two machines differ a little.
CLOCK_LEEWAY = timedelta(seconds=5)
# A page asks many times with one token; when it expires is looked at each time.
VERIFIED_TOKEN_CACHE_TIME, MAX_CACHED_TOKENS = timedelta(seconds=60), 10_000


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
    def audit_actor(self) -> Actor:
        """This person as the one who makes a change, by this request."""
        return Actor("user", id=self.user_id, email=self.email, request_id=current_request_id())


class TokenVerifier:
    """Verifies tokens with a shared secret, a public key, or the keys that a JWKS URL lists."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._claim_mapping = settings.claim_rules
        lifetime = VERIFIED_TOKEN_CACHE_TIME.total_seconds()
        self._identity_cache: TTLCache[bytes, Identity] = TTLCache(MAX_CACHED_TOKENS, lifetime)
        self._lock = Lock()
        self._issuer_keys: TokenKeyCache | None = None
        self._configured_keys: list[TokenKey] = []
        if settings.jwt_secret:
            self._configured_keys = [TokenKey(settings.jwt_secret, token_keys.SYMMETRIC_ALGORITHMS)]
        elif settings.jwt_public_key:
            key = load_pem_public_key(settings.jwt_public_key.encode())
            self._configured_keys = [TokenKey(key, token_keys.algorithms_for_key(key))]
        elif settings.jwt_jwks_url:
            fetch = partial(jwks.fetch_key_set, settings.jwt_jwks_url)
            self._issuer_keys = TokenKeyCache(fetch, stale_lifetime=settings.jwt_jwks_stale_seconds)

    @cachedmethod(
        attrgetter("_identity_cache"), key=lambda _, token: sha256(token.encode()).digest(), lock=attrgetter("_lock")
    )
    def verify_token(self, token: str) -> Identity:
        """Return whom a token names. Raises TokenExpired, InvalidToken, ServiceUnavailable (no JWKS)."""
        try:
            return identity_from_claims(self._verified_claims(token), claim_mapping=self._claim_mapping)
        except jwt.ExpiredSignatureError:
            raise errors.TokenExpired("The token has expired; sign in again") from None
        except jwt.PyJWTError as problem:
            raise errors.InvalidToken(f"The token is not valid: {problem}") from None
        except jwks.KeysMisconfigured:
            raise errors.ServiceUnavailable(
                "The keys that verify tokens are not where they should be; whoever runs this service must correct it"
            ) from None
        except jwks.KeysUnavailable:
            raise errors.ServiceUnavailable("The keys that verify tokens cannot be fetched; try again") from None

    def _verified_claims(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str):
            raise jwt.InvalidAlgorithmError("Its header names no algorithm")
        if self._issuer_keys is None:
            fitting = [key for key in self._configured_keys if algorithm in key.algorithms]
            return self._decode_with_any_key(token, fitting)
        if algorithm not in token_keys.ASYMMETRIC_ALGORITHMS:
            raise jwt.InvalidAlgorithmError("The specified alg value is not allowed")
        kid, keys = header.get("kid") or None, self._issuer_keys.current_keys()
        try:
            return self._decode_with_any_key(token, keys.candidate_keys(kid=kid, algorithm=algorithm))
        except jwt.InvalidSignatureError:
            # One that is listed decides. An unknown one may have been listed since.
            if keys.has_key_id(kid) or (newer := self._issuer_keys.refreshed_keys(keys)) is keys:
                raise
        return self._decode_with_any_key(token, newer.candidate_keys(kid=kid, algorithm=algorithm))

    def _decode_with_any_key(self, token: str, keys: list[TokenKey]) -> dict[str, Any]:
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
                    leeway=CLOCK_LEEWAY,
                    options={"require": ["exp"], "verify_aud": settings.jwt_audience is not None},
                )
        raise jwt.InvalidSignatureError("No key that is known here verifies it")


def identity_from_claims(claims: dict[str, Any], *, claim_mapping: ClaimMapping) -> Identity:
    """Return the identity in verified claims. Raises InvalidToken naming what is missing or malformed."""
    try:
        return Identity.model_validate(claim_mapping.read_claims(claims))
    except ValidationError as invalid:
        theirs = {"exp": "exp"} | claim_mapping.issuer_claim_names
        wrong = ", ".join(sorted({theirs[str(error["loc"][0])] for error in invalid.errors(include_input=False)}))
        raise errors.InvalidToken(f"The token's claims are missing or malformed: {wrong}") from None


def init_app(app: Flask) -> None:
    """Make the application's verifier."""
    app.extensions["token_verifier"] = TokenVerifier(app.extensions["settings"])


def authenticate_request() -> None:
    """Verify the request's bearer token; register as `before_request` so that no endpoint can forget."""
    if request.method == "OPTIONS":
        # A preflight carries no token (Fetch, section 4.8); its answer says nothing but the methods.
        return
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise errors.Unauthorized("Send the header Authorization: Bearer <token>")
    set_request_identity(current_app.extensions["token_verifier"].verify_token(token.strip()))


def set_request_identity(identity: Identity) -> None:
    """Let the rest of this request act as `identity`."""
    if identity.expires_at <= datetime.now(UTC) - CLOCK_LEEWAY:
        raise errors.TokenExpired("The token has expired; sign in again")
    g.identity = identity
    structlog.contextvars.bind_contextvars(organization_id=str(identity.organization_id))


def current_identity() -> Identity:
    """Return who makes this request."""
    identity: Identity = g.identity
    return identity


def require_admin(message: str) -> None:
    """Raise AdminRequired unless an admin or owner makes this request."""
    if not current_identity().is_admin:
        raise errors.AdminRequired(message)
