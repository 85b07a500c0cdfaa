"""Which keys verify which tokens: JSON Web Keys (RFC 7517) and their algorithms (RFC 7518, 8037 and 9864)."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

SYMMETRIC_ALGORITHMS = ("HS256", "HS384", "HS512")
# Never mixed with the symmetric ones: a public key must not pass for a shared secret.
_RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
# RFC 7518, section 3.4: each has a curve of its own.
_ALGORITHMS_BY_CURVE = {"secp256r1": ("ES256",), "secp384r1": ("ES384",), "secp521r1": ("ES512",)}
# One signature under two names: RFC 8037's, and RFC 9864's.
_ED25519_ALGORITHMS, _ED448_ALGORITHMS = ("EdDSA", "Ed25519"), ("EdDSA", "Ed448")
ASYMMETRIC_ALGORITHMS = frozenset(
    itertools.chain(_RSA_ALGORITHMS, *_ALGORITHMS_BY_CURVE.values(), _ED25519_ALGORITHMS, _ED448_ALGORITHMS)
)
SUPPORTED_KEYS_DESCRIPTION = "RSA of 2048 bits or more, EC on P-256, P-384 or P-521, Ed25519 or Ed448"

MIN_RSA_BITS = 2048  # RFC 7518, sections 3.3 and 3.5
# A token that names no key is tried with those that fit; each costs a verification, whoever sends it.
MAX_KEYS_TRIED = 10

# What a public key consists of; whatever else a list says of it is not read.
_PUBLIC_MEMBERS_BY_KEY_TYPE = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_JWK_PARSERS_BY_KEY_TYPE = {"RSA": RSAAlgorithm.from_jwk, "EC": ECAlgorithm.from_jwk, "OKP": OKPAlgorithm.from_jwk}

for _algorithm_name in ("Ed25519", "Ed448"):
    # PyJWT knows both as EdDSA only; a release that knows them says so by this error.
    with contextlib.suppress(ValueError):
        jwt.register_algorithm(_algorithm_name, OKPAlgorithm())


class NotAKeySet(ValueError):
    """What should be a key set is something else; says what."""


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A public key and the algorithms that it may verify."""

    key: Any
    algorithms: tuple[str, ...]
    kid: str | None = None


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of a list that verify tokens, and why each of the others does not."""

    keys: tuple[TokenKey, ...]
    unusable_reasons: tuple[str, ...] = ()

    def has_key_id(self, kid: str | None) -> bool:
        """Tell whether a key of this name is listed."""
        return kid is not None and any(key.kid == kid for key in self.keys)

    def candidate_keys(self, *, kid: str | None, algorithm: str) -> list[TokenKey]:
        """Return the keys to try: those of that name, else those of none; without a name, all that fit."""
        wanted = kid if self.has_key_id(kid) else None
        fitting = [key for key in self.keys if algorithm in key.algorithms]
        return [key for key in fitting if kid is None or key.kid == wanted][:MAX_KEYS_TRIED]


def algorithms_for_key(key: object) -> tuple[str, ...]:
    """Return the algorithms that a public key of this kind verifies: none for one that is of no use."""
    if isinstance(key, RSAPublicKey):
        return _RSA_ALGORITHMS if key.key_size >= MIN_RSA_BITS else ()
    if isinstance(key, EllipticCurvePublicKey):
        return _ALGORITHMS_BY_CURVE.get(key.curve.name, ())
    if isinstance(key, Ed25519PublicKey):
        return _ED25519_ALGORITHMS
    return _ED448_ALGORITHMS if isinstance(key, Ed448PublicKey) else ()


def parse_key_set(document: object) -> KeySet:
    """Return the keys of a key set. Raises NotAKeySet; single keys that are of no use only do not count."""
    listed = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(listed, list):
        raise NotAKeySet(_describe_wrong_document(document))
    keys, unusable = [], []
    for jwk in listed:
        try:
            keys.append(_parse_key(jwk))
        except ValueError as problem:
            unusable.append(str(problem))
    return KeySet(tuple(keys), tuple(unusable))


def _describe_wrong_document(document: object) -> str:
    if not isinstance(document, Mapping):
        return "JSON, but no key set"
    if isinstance(document.get("jwks_uri"), str):
        return f"a discovery document; the key set is at its jwks_uri, {document['jwks_uri'][:200]!r}"
    if "kty" in document:
        return 'a single key; a key set is {"keys": [...]}'
    if any(isinstance(value, str) and value.startswith("-----BEGIN") for value in document.values()):
        return "a list of PEM certificates; the issuer has a key set in JSON at another address"
    return 'JSON without "keys"'


def _parse_key(jwk: object) -> TokenKey:
    """Return a usable key. Raises ValueError with what keeps it from being one."""
    if not isinstance(jwk, Mapping):
        raise ValueError("no JSON object")  # noqa: TRY004 - a value of theirs, not a type of ours
    operations = jwk.get("key_ops")
    if jwk.get("use", "sig") != "sig" or (isinstance(operations, list) and "verify" not in operations):
        raise ValueError("not for signatures")
    if "d" in jwk or jwk.get("kty") == "oct":
        raise ValueError("not public: whoever reads the list could sign with it")
    key = _parse_public_key(jwk)
    fitting = algorithms_for_key(key)
    alg = jwk.get("alg")
    if alg is not None and alg not in fitting:
        raise ValueError(f"for {str(alg)[:20]}, which its kind does not verify here")
    if not fitting:
        raise ValueError("of a kind that is not taken")
    # A name that the issuer gave binds, but not to one of the two spellings of EdDSA.
    algorithms = fitting if alg is None or alg in (*_ED25519_ALGORITHMS, *_ED448_ALGORITHMS) else (alg,)
    kid = jwk.get("kid")
    return TokenKey(key, algorithms, kid if isinstance(kid, str) and kid else None)


def _parse_public_key(jwk: Mapping[str, Any]) -> Any:
    kty = jwk.get("kty")
    if not isinstance(kty, str) or kty not in _PUBLIC_MEMBERS_BY_KEY_TYPE:
        raise ValueError(f"of the unknown kind {str(kty)[:20]!r}")
    members = {name: jwk.get(name) for name in _PUBLIC_MEMBERS_BY_KEY_TYPE[kty]}
    if not all(isinstance(value, str) for value in members.values()):
        raise ValueError("incomplete")
    try:
        return _JWK_PARSERS_BY_KEY_TYPE[kty]({"kty": kty, **members})
    except (jwt.PyJWTError, ValueError, UnsupportedAlgorithm):
        raise ValueError("of a kind that is not taken, or malformed") from None
