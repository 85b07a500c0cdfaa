"""The links of `make run` sign in whatever the issuer's names are set to."""

from __future__ import annotations

from typing import Any

import pytest

from devstack.links import PEOPLE, sign_in_link
from devstack.offline_application import create_offline_application

ENVIRON = {"JWT_SECRET": "a-secret-of-the-tests-that-is-long-enough", "PORT": "8000"}
RENAMED = {
    "JWT_CLAIM_USER": "oid",
    "JWT_CLAIM_ORGANIZATION": "meta.org",
    "JWT_CLAIM_ROLE": "roles",
    "JWT_ROLE_MAP": "Rita.Admin:admin,*:member",
    "JWT_ISSUER": "https://id.example.org",
}


@pytest.mark.parametrize("names", [{}, RENAMED], ids=["our own names", "an issuer's"])
@pytest.mark.parametrize("who", PEOPLE)
def test_a_link_signs_in_the_person_that_it_names(who: str, names: dict[str, str]) -> None:
    organization, user, email, role = PEOPLE[who]
    given: dict[str, Any] = {name.lower(): value for name, value in names.items()}
    app = create_offline_application(jwt_secret=ENVIRON["JWT_SECRET"], **given)

    link = sign_in_link(ENVIRON | names, organization=organization, user=user, email=email, role=role)
    identity = app.extensions["token_verifier"].verify_token(link.partition("#token=")[2])

    assert (identity.organization_id, identity.user_id) == (organization, user)
    assert (identity.email, identity.role) == (email, role)


def test_who_cannot_be_signed_in_is_told_why() -> None:
    organization, user, email, role = PEOPLE["Acme, admin"]

    with pytest.raises(ValueError, match="maps nothing to admin"):
        sign_in_link(
            ENVIRON | {"JWT_ROLE_MAP": "*:member"}, organization=organization, user=user, email=email, role=role
        )
