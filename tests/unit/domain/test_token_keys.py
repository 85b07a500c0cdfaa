from __future__ import annotations

from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm

from app.domain import token_keys

PRIVATE: dict[str, Any] = {
    "rsa": rsa.generate_private_key(65537, 2048),
    "short": rsa.generate_private_key(65537, 1024),  # noqa: S505 - to be refused
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "p521": ec.generate_private_key(ec.SECP521R1()),
    "k256": ec.generate_private_key(ec.SECP256K1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "ed448": ed448.Ed448PrivateKey.generate(),
}
RSA = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]


def jwk(name: str, **more: Any) -> dict[str, Any]:
    reader = {"r": RSAAlgorithm, "s": RSAAlgorithm, "p": ECAlgorithm, "k": ECAlgorithm, "e": OKPAlgorithm}[name[0]]
    made: dict[str, Any] = reader.to_jwk(PRIVATE[name].public_key(), as_dict=True)
    made.pop("key_ops", None)
    return made | more


def tried(key: dict[str, Any], *algorithms: str) -> list[str]:
    """Return the algorithms whose signature is verified by a list of this one key."""
    name = next(name for name in PRIVATE if key.get("x", key.get("n")) in jwk(name).values())
    listed = token_keys.parse_key_set({"keys": [key]})
    verified = []
    for algorithm in algorithms:
        signs = "EdDSA" if algorithm in ("Ed25519", "Ed448") else algorithm
        token = jwt.encode({}, PRIVATE[name], signs, headers={"alg": algorithm})
        for found in listed.candidate_keys(kid=None, algorithm=algorithm):
            jwt.decode(token, found.key, algorithms=list(found.algorithms))
            verified.append(algorithm)
    return verified


@pytest.mark.parametrize(
    ("name", "algorithms"),
    [
        ("rsa", RSA),
        ("p256", ["ES256"]),
        ("p384", ["ES384"]),
        ("p521", ["ES512"]),
        ("ed25519", ["EdDSA", "Ed25519"]),
        ("ed448", ["EdDSA", "Ed448"]),
    ],
)
def test_a_key_without_alg_verifies_whatever_its_kind_can(name: str, algorithms: list[str]) -> None:
    assert tried(jwk(name), *algorithms) == algorithms


@pytest.mark.parametrize(
    ("name", "alg", "algorithms"),
    [
        ("rsa", "PS384", ["PS384"]),
        ("rsa", "RS256", ["RS256"]),
        ("p256", "ES256", ["ES256"]),
        ("ed25519", "EdDSA", ["EdDSA", "Ed25519"]),
        ("ed25519", "Ed25519", ["EdDSA", "Ed25519"]),
    ],
)
def test_a_key_with_alg_verifies_no_other(name: str, alg: str, algorithms: list[str]) -> None:
    (key,) = token_keys.parse_key_set({"keys": [jwk(name, alg=alg)]}).keys

    assert list(key.algorithms) == algorithms
    assert tried(jwk(name, alg=alg), *algorithms) == algorithms


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (jwk("rsa", use="enc"), "signatures"),
        (jwk("rsa", key_ops=["encrypt"]), "signatures"),
        (jwk("rsa", alg="RSA-OAEP"), "RSA-OAEP"),
        (jwk("rsa", alg="HS256"), "HS256"),
        (jwk("rsa", alg="none"), "none"),
        (jwk("rsa", alg="ES256"), "ES256"),
        (jwk("rsa", alg=7), "7"),
        (jwk("p256", alg="ES384"), "ES384"),
        (jwk("short"), "kind"),
        (jwk("k256"), "kind"),
        (jwk("ed25519", crv="X25519"), "kind"),
        (jwk("p256", crv="P-999"), "kind"),
        (jwk("p256", x="AAAA"), "kind"),
        (jwk("rsa", n="!"), "kind"),
        (jwk("rsa", n=7), "incomplete"),
        (jwk("rsa", n=None), "incomplete"),
        ({"kty": "oct", "k": "c2VjcmV0"}, "not public"),
        (HMACAlgorithm.to_jwk(b"secret" * 8, as_dict=True), "not public"),
        (RSAAlgorithm.to_jwk(PRIVATE["rsa"], as_dict=True) | {"key_ops": ["verify"]}, "not public"),
        ({"kty": "AKP"}, "unknown kind"),
        ({"kty": ["RSA"]}, "unknown kind"),
        ({}, "unknown kind"),
        ("x", "object"),
        (None, "object"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_key_that_is_of_no_use_keeps_no_other_from_being_used(key: Any, why: str) -> None:
    found = token_keys.parse_key_set({"keys": [key, jwk("p256", kid="good")]})

    assert [one.kid for one in found.keys] == ["good"]
    assert why in found.unusable_reasons[0]


def test_a_token_is_verified_by_the_key_that_it_names_or_else_by_those_without_a_name() -> None:
    listed = token_keys.parse_key_set(
        {"keys": [jwk("rsa", kid="a"), jwk("rsa", kid="b"), jwk("rsa"), jwk("p256"), jwk("rsa", kid=7)]}
    )

    def kids(kid: str | None, algorithm: str = "RS256") -> list[str | None]:
        return [key.kid for key in listed.candidate_keys(kid=kid, algorithm=algorithm)]

    assert kids("a") == ["a"]
    assert kids("a", "ES256") == []
    assert kids("unknown") == [None, None]
    assert kids(None) == ["a", "b", None, None]
    assert kids(None, "ES256") == [None]


def test_a_token_that_names_no_key_is_not_tried_for_ever() -> None:
    listed = token_keys.parse_key_set({"keys": [jwk("rsa", kid=str(number)) for number in range(1_000)]})

    assert len(listed.candidate_keys(kid=None, algorithm="RS256")) == token_keys.MAX_KEYS_TRIED


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (
            {"issuer": "https://acme.example", "jwks_uri": "https://acme.example/keys"},
            "jwks_uri, 'https://acme.example/keys'",
        ),
        (jwk("rsa"), "single key"),
        ({"kid": "-----BEGIN CERTIFICATE-----\n"}, "certificates"),
        ({}, 'without "keys"'),
        ({"keys": {}}, 'without "keys"'),
        ([], "no key set"),
        ("x", "no key set"),
        (None, "no key set"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_key_set_is_called_by_its_name(document: Any, words: str) -> None:
    with pytest.raises(token_keys.NotAKeySet, match=words):
        token_keys.parse_key_set(document)


@pytest.mark.parametrize("name", ["short", "k256"])
def test_a_key_of_no_use_verifies_nothing(name: str) -> None:
    assert token_keys.algorithms_for_key(PRIVATE[name].public_key()) == ()
    assert token_keys.algorithms_for_key(x25519.X25519PrivateKey.generate().public_key()) == ()
