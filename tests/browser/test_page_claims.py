"""The page of an installation whose issuer calls its claims otherwise, and whose ids are no UUIDs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import jwt
import pytest
from playwright.sync_api import Browser, expect

from app.domain.token_claims import uuid_for_issuer_value
from devstack.links import OF_MAKE_RUN
from devstack.ports import free_port
from tests.browser.screen import Screen
from tests.browser.stack import Stack
from tests.e2e.browser import Person
from tests.e2e.processes import JWT_SECRET, Processes

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
ISSUER = "https://acme.eu.auth0.com/"
# As in the row for Auth0 in docs/identity-providers.md.
SETTINGS = {
    "JWT_ISSUER": ISSUER,
    "JWT_CLAIM_EMAIL": "https://acme.example/email",
    "JWT_CLAIM_ORGANIZATION": "org_id",
    "JWT_CLAIM_ROLE": "https://acme.example/roles",
    "JWT_ROLE_MAP": "Rita Admin:admin,*:member",
}


@pytest.fixture
def auth0(stack: Stack, tmp_path: Path) -> Iterator[Stack]:
    """One more web process of the same Rita, which takes that issuer's tokens."""
    own = {"PORT": str(free_port()), "INSTANCE_ID": uuid4().hex}
    with Processes(stack.processes.environ | SETTINGS | own, directory=tmp_path) as processes:
        processes.start("web")
        yield Stack(processes)
        processes.stop_all()


def a_token(organization: str, *, roles: list[str]) -> str:
    claims = {
        "iss": ISSUER,
        "sub": "auth0|507f1f77bcf86cd799439011",
        "https://acme.example/email": "ada@acme.example",
        "https://acme.example/roles": roles,
        "org_id": organization,
        "exp": datetime.now(UTC) + timedelta(hours=1),
        **OF_MAKE_RUN,
    }
    return jwt.encode(claims, JWT_SECRET)


def signed_in(auth0: Stack, chromium: Browser, organization: UUID, *, roles: list[str]) -> Screen:
    named = f"org_{organization.hex}"
    person = Person(auth0.processes.base_url)
    person.headers = {"Authorization": f"Bearer {a_token(named, roles=roles)}"}
    wiki = person.seeded()
    if not wiki["enabled"]:
        person.call("PUT", f"/api/data-sources/{wiki['id']}", {"name": "Wiki"})
    return Screen(
        chromium=chromium,
        stack=auth0,
        organization=uuid_for_issuer_value(ISSUER, named),
        token=person.headers["Authorization"].removeprefix("Bearer "),
    )


def test_it_says_who_is_signed_in_and_who_changed_what(auth0: Stack, chromium: Browser, organization: UUID) -> None:
    ada = signed_in(auth0, chromium, organization, roles=["Rita Admin"])

    expect(ada.part("who")).to_have_text("ada@acme.example · admin")
    expect(ada.part("who")).to_have_attribute("title", f"Organization {ada.organization}")
    ada.on("confluence", "history").click()
    ada.page.get_by_role("tab", name="Runs").press("ArrowRight")
    expect(ada.part("changes").locator("li strong").first).to_have_text("You")
    assert ada.complaints == []


def test_it_offers_a_member_nothing_that_is_an_admins_alone(
    auth0: Stack, chromium: Browser, organization: UUID
) -> None:
    max_ = signed_in(auth0, chromium, organization, roles=[])

    expect(max_.part("who")).to_have_text("ada@acme.example · member")
    max_.set_up("confluence")
    expect(max_.on("confluence", "switch")).to_contain_text("Only an admin")
    assert max_.complaints == []
