"""Tokens in the shapes that identity providers document, with the settings of docs/identity-providers.md for each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from app.api.auth import Identity
from app.domain.token_claims import uuid_for_issuer_value
from tests.factories import a_token
from tests.integration.api.test_keys import RSA, KeyServer, ask
from tests.project import PROJECT

EC = ec.generate_private_key(ec.SECP256R1())
USER, TENANT = "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d", "72f988bf-86f1-41af-91ab-2d7cd011db47"
ADA = "ada@acme.example"

ISSUERS = {
    "Microsoft Entra ID": f"https://login.microsoftonline.com/{TENANT}/v2.0",
    "Auth0": "https://acme.eu.auth0.com/",
    "Okta": "https://acme.okta.com/oauth2/default",
    "Google": "https://accounts.google.com",
    "Zitadel": "https://acme.zitadel.cloud",
    "Keycloak": "https://id.acme.example/realms/acme",
    "Amazon Cognito": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEf123",
    "Clerk": "https://clerk.acme.example",
    "Supabase": "https://abcdefghij.supabase.co/auth/v1",
}
SETTINGS: dict[str, dict[str, str]] = {
    "Microsoft Entra ID": {
        "jwt_claim_user": "oid",
        "jwt_claim_email": "preferred_username",
        "jwt_claim_organization": "tid",
        "jwt_claim_role": "roles",
        "jwt_role_map": "Rita.Admin:admin,*:member",
    },
    "Auth0": {
        "jwt_claim_email": "https://acme.example/email",
        "jwt_claim_organization": "org_id",
        "jwt_claim_role": "https://acme.example/roles",
        "jwt_role_map": "Rita Admin:admin,*:member",
    },
    "Okta": {
        "jwt_claim_user": "uid",
        "jwt_claim_email": "sub",
        "jwt_claim_organization": "tenant",
        "jwt_claim_role": "groups",
        "jwt_role_map": "Rita Admins:admin,*:member",
    },
    "Google": {
        "jwt_claim_organization": "hd",
        "jwt_claim_role": "email",
        "jwt_role_map": f"{ADA}:admin,*:member",
    },
    "Zitadel": {
        "jwt_claim_organization": "urn:zitadel:iam:user:resourceowner:id",
        "jwt_claim_role": "urn:zitadel:iam:org:project:roles",
        "jwt_role_map": "rita_admin:admin,*:member",
    },
    "Keycloak": {
        "jwt_claim_organization": "organization",
        "jwt_claim_role": "realm_access.roles",
        "jwt_role_map": "rita-admin:admin,*:member",
    },
    "Amazon Cognito": {
        "jwt_claim_organization": "custom:organization",
        "jwt_claim_role": "cognito:groups",
        "jwt_role_map": "rita-admins:admin,*:member",
    },
    "Clerk": {"jwt_claim_organization": "o.id", "jwt_claim_role": "o.rol"},
    "Supabase": {
        "jwt_claim_organization": "app_metadata.organization_id",
        "jwt_claim_role": "app_metadata.role",
    },
}
CLAIMS: dict[str, dict[str, Any]] = {
    "Microsoft Entra ID": {
        "aud": "6e74172b-be56-4843-9ff4-e66a39bb12e3",
        "aio": "AXQAi/8IAAAA",
        "azp": "2d4d11a2-f814-46a7-890a-274a72a7309e",
        "azpacr": "0",
        "name": "Ada",
        "oid": USER,
        "preferred_username": ADA,
        "rh": "I",
        "roles": ["Rita.Admin"],
        "scp": "access_as_user",
        "sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ",
        "tid": TENANT,
        "uti": "fqiBqXLPj0eQa82S-IYFAA",
        "ver": "2.0",
    },
    "Auth0": {
        "https://acme.example/email": ADA,
        "https://acme.example/roles": ["Rita Admin"],
        "sub": "auth0|507f1f77bcf86cd799439011",
        "aud": ["https://rita.example", "https://acme.eu.auth0.com/userinfo"],
        "azp": "my_client_id",
        "scope": "openid profile email",
        "org_id": "org_9ybsU1dN2dKfDkBi",
        "permissions": [],
    },
    "Okta": {
        "ver": 1,
        "jti": "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE",
        "aud": "api://default",
        "cid": "nmdP1fcyvdVO11AL7ECm",
        "uid": "00ugrenMeqvYla4HW0g3",
        "scp": ["openid", "email"],
        "sub": ADA,
        "groups": ["Everyone", "Rita Admins"],
        "tenant": "acme",
    },
    "Google": {
        "azp": "1234987819200.apps.googleusercontent.com",
        "aud": "1234987819200.apps.googleusercontent.com",
        "sub": "10769150350006150715113082367",
        "at_hash": "HK6E_P6Dh8Y93mRNtsDB1Q",
        "hd": "acme.example",
        "email": ADA,
        "email_verified": True,
        "nonce": "0394852-3190485-2490358",
    },
    "Zitadel": {
        "sub": "242845675634453508",
        "aud": ["242845675634453500@rita", "242845675634453501"],
        "email": ADA,
        "email_verified": True,
        "urn:zitadel:iam:user:resourceowner:id": "242845675634400001",
        "urn:zitadel:iam:user:resourceowner:name": "Acme",
        "urn:zitadel:iam:user:resourceowner:primary_domain": "acme.zitadel.cloud",
        "urn:zitadel:iam:org:project:roles": {"rita_admin": {"242845675634400001": "acme.zitadel.cloud"}},
    },
    "Keycloak": {
        "jti": "onrtac:8c5e0d4b",
        "aud": ["rita", "account"],
        "sub": USER,
        "typ": "Bearer",
        "azp": "rita-page",
        "sid": "1dd8ec56-ef27-4c2a-9d3d-f7f3b9d5a6ee",
        "acr": "1",
        "realm_access": {"roles": ["default-roles-acme", "offline_access", "rita-admin"]},
        "resource_access": {"account": {"roles": ["manage-account"]}},
        "scope": "openid profile email organization",
        "email_verified": True,
        "organization": ["acme"],
        "preferred_username": "ada",
        "email": ADA,
    },
    "Amazon Cognito": {
        "sub": USER,
        "cognito:groups": ["rita-admins", "eu-central-1_AbCdEf123_Google"],
        "email_verified": True,
        "cognito:username": "ada",
        "custom:organization": "acme",
        "origin_jti": USER,
        "aud": "xxxxxxxxxxxxexample",
        "event_id": USER,
        "token_use": "id",
        "email": ADA,
    },
    "Clerk": {
        "azp": "https://page.acme.example",
        "sub": "user_2NNEqL2nrIRdJ194ndJqAHwEfxC",
        "sid": "sess_2Ofafafa",
        "v": 2,
        "fva": [10, -1],
        "o": {"id": "org_2NNEqL2nrIRdJ194ndJqAHwEfxC", "slg": "acme", "rol": "admin", "per": "read,manage"},
        "email": ADA,
    },
    "Supabase": {
        "aud": "authenticated",
        "sub": USER,
        "email": ADA,
        "phone": "",
        "app_metadata": {"provider": "email", "providers": ["email"], "organization_id": TENANT, "role": "admin"},
        "user_metadata": {"organization_id": "00000000-0000-4000-8000-000000000bad", "role": "owner"},
        "role": "authenticated",
        "aal": "aal1",
        "amr": [{"method": "password", "timestamp": 1762000000}],
        "session_id": TENANT,
        "is_anonymous": False,
    },
}
# What each token names: the user and the organization, as they stand there.
NAMED = {
    "Microsoft Entra ID": (USER, TENANT),
    "Auth0": ("auth0|507f1f77bcf86cd799439011", "org_9ybsU1dN2dKfDkBi"),
    "Okta": ("00ugrenMeqvYla4HW0g3", "acme"),
    "Google": ("10769150350006150715113082367", "acme.example"),
    "Zitadel": ("242845675634453508", "242845675634400001"),
    "Keycloak": (USER, "acme"),
    "Amazon Cognito": (USER, "acme"),
    "Clerk": ("user_2NNEqL2nrIRdJ194ndJqAHwEfxC", "org_2NNEqL2nrIRdJ194ndJqAHwEfxC"),
    "Supabase": (USER, TENANT),
}
# What makes a token a member's, and what leaves nobody to let in.
MEMBERS = {
    "Microsoft Entra ID": {"roles": None},
    "Auth0": {"https://acme.example/roles": []},
    "Okta": {"groups": ["Everyone"]},
    "Google": {"email": "max@acme.example"},
    "Zitadel": {"urn:zitadel:iam:org:project:roles": {"rita_admin": {"242845675634499999": "globex.zitadel.cloud"}}},
    "Keycloak": {"realm_access": {"roles": ["offline_access"]}},
    "Amazon Cognito": {"cognito:groups": None},
    "Clerk": {"o": {"id": "org_2NNEqL2nrIRdJ194ndJqAHwEfxC", "rol": "member"}},
    "Supabase": {"app_metadata": {"organization_id": TENANT, "role": "member"}},
}
NOBODYS = {
    "Microsoft Entra ID": {"tid": None},
    "Auth0": {"org_id": None},
    "Okta": {"tenant": None},
    "Google": {"hd": None},
    "Zitadel": {"urn:zitadel:iam:user:resourceowner:id": None},
    "Keycloak": {"organization": ["acme", "globex"]},
    "Amazon Cognito": {"custom:organization": ""},
    "Clerk": {"o": None},
    "Supabase": {"app_metadata": {"provider": "email"}},
}


@pytest.fixture(scope="module")
def issuer() -> Iterator[KeyServer]:
    """A key set as Entra and Google write theirs: the one without `alg`, the other with it."""
    keys = [
        RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True) | {"kid": "rsa", "use": "sig"},
        ECAlgorithm.to_jwk(EC.public_key(), as_dict=True) | {"kid": "ec", "use": "sig", "alg": "ES256"},
    ]
    with KeyServer(content=json.dumps({"keys": keys}).encode()) as server:
        yield server


@pytest.fixture
def app(request: pytest.FixtureRequest, another_app: Callable[..., Flask], web: Flask, issuer: KeyServer) -> Flask:
    assert web
    name = request.node.callspec.params["provider"]
    given = {"jwt_secret": None, "jwt_jwks_url": issuer.url, "jwt_issuer": ISSUERS[name]}
    return another_app(**given, **SETTINGS[name])


def signed(provider: str, **changes: Any) -> str:
    now = datetime.now(UTC)
    claims = {"iss": ISSUERS[provider], "iat": now, "exp": now + timedelta(hours=1), **CLAIMS[provider], **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    if provider == "Supabase":
        return jwt.encode(claims, EC, "ES256", headers={"kid": "ec"})
    return jwt.encode(claims, RSA, "RS256", headers={"kid": "rsa"})


def verified(app: Flask, token: str) -> Identity:
    identity: Identity = app.extensions["token_verifier"].verify_token(token)
    return identity


def as_id(provider: str, named: str) -> UUID:
    try:
        return UUID(named)
    except ValueError:
        return uuid_for_issuer_value(ISSUERS[provider], named)


@pytest.mark.parametrize("provider", ISSUERS)
def test_a_token_of_a_provider_signs_in(app: Flask, provider: str) -> None:
    token = signed(provider)

    assert ask(app, token).json == {"data": []}

    who = verified(app, token)
    assert (who.user_id, who.organization_id) == tuple(as_id(provider, named) for named in NAMED[provider])
    assert (who.email, who.role) == (ADA, "admin")


@pytest.mark.parametrize("provider", ISSUERS)
def test_who_that_is_can_be_asked_whatever_the_claims_are_called(app: Flask, provider: str) -> None:
    token = signed(provider)
    who = verified(app, token)

    said = ask(app, token, "/api/me").json["data"]

    assert said == {
        "user_id": str(who.user_id),
        "email": ADA,
        "organization_id": str(who.organization_id),
        "role": "admin",
        "expires_at": who.expires_at.isoformat().replace("+00:00", "Z"),
    }
    assert ask(app, signed(provider, **MEMBERS[provider]), "/api/me").json["data"]["role"] == "member"


@pytest.mark.parametrize("provider", ISSUERS)
def test_one_without_the_role_is_a_members(app: Flask, provider: str) -> None:
    assert verified(app, signed(provider, **MEMBERS[provider])).role == "member"


@pytest.mark.parametrize("provider", ISSUERS)
def test_one_that_names_no_organization_is_refused_by_the_claims_name(app: Flask, provider: str) -> None:
    answer = ask(app, signed(provider, **NOBODYS[provider]))

    assert (answer.status_code, answer.json["code"]) == (401, "invalid_token")
    assert SETTINGS[provider]["jwt_claim_organization"] in answer.json["message"]


@pytest.mark.parametrize("provider", ISSUERS)
def test_one_of_another_issuer_is_refused(app: Flask, provider: str) -> None:
    assert ask(app, signed(provider, iss="https://evil.example")).json["code"] == "invalid_token"


@pytest.mark.parametrize("provider", ISSUERS)
def test_the_page_of_providers_names_each_with_these_settings(provider: str) -> None:
    page = (PROJECT / "docs/identity-providers.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith(f"| {provider} |"))

    for setting, value in SETTINGS[provider].items():
        assert f"`{value}`" in row, setting


def test_an_issuer_of_one_organization_may_be_the_organization(another_app: Callable[..., Flask], web: Flask) -> None:
    app = another_app(jwt_issuer="https://id.acme.example", jwt_claim_organization="iss")

    who = verified(app, a_token(web, iss="https://id.acme.example", sub="ada"))

    assert who.organization_id == uuid_for_issuer_value("https://id.acme.example", "https://id.acme.example")
    assert who.user_id == uuid_for_issuer_value("https://id.acme.example", "ada")
