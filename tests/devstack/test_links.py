"""The links of `make run` sign in whatever the issuer's names are set to."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from devstack.links import PEOPLE, sign_in_link
from devstack.offline_application import create_offline_application
from devstack.short_links import serve_short_links

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


def test_a_short_link_fits_a_line_and_leads_to_a_fresh_long_one() -> None:
    with serve_short_links(ENVIRON) as lines:
        links = [line.strip() for line in lines[1::2]]
        answers = [requests.get(link, allow_redirects=False, timeout=10) for link in links]
        guessed = requests.get(links[0][:-1] + "!", allow_redirects=False, timeout=10)
        rebound = requests.get(links[0], headers={"Host": "evil.example"}, allow_redirects=False, timeout=10)

    assert [line.split("(")[0].strip() for line in lines[::2]] == list(PEOPLE)
    assert max(map(len, links)) < 40
    verifier = create_offline_application(jwt_secret=ENVIRON["JWT_SECRET"]).extensions["token_verifier"]
    for answer, (_, user, _, _) in zip(answers, PEOPLE.values(), strict=True):
        assert verifier.verify_token(answer.headers["Location"].partition("#token=")[2]).user_id == user
    assert {guessed.status_code, rebound.status_code} == {requests.codes.not_found}


def test_who_has_no_link_is_told_why_in_its_place() -> None:
    with serve_short_links(ENVIRON | {"JWT_ROLE_MAP": "*:member"}) as lines:
        assert "no link: " in lines[1]
        assert lines[3].strip().startswith("http://127.0.0.1:")
