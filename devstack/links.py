"""Links to the built-in page that sign a person in, for whoever tries it out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

import jwt
from pydantic import TypeAdapter

from app.domain.token_claims import ClaimMapping
from app.setting_types import RoleMap

TOKEN_LIFETIME = timedelta(hours=12)
ACME = UUID("00000000-0000-4000-8000-00000000ac3e")
GLOBEX = UUID("00000000-0000-4000-8000-000000910be7")
# Who has opened one of our links is not asked whether they are whom it names: app/console/signing-in/session.js.
OF_MAKE_RUN = {"opened_by": "make run"}
# Who signs in by which link: organization, user, e-mail address, role.
PEOPLE = {
    "Acme, admin": (ACME, UUID("00000000-0000-4000-8000-0000000000a1"), "ada@acme.example", "admin"),
    "Acme, member": (ACME, UUID("00000000-0000-4000-8000-0000000000a2"), "max@acme.example", "member"),
    "Globex, admin": (GLOBEX, UUID("00000000-0000-4000-8000-0000000000b1"), "eve@globex.example", "admin"),
}
HEADING = "Open a link to be signed in for 12 hours:"


def sign_in_lines(environ: Mapping[str, str]) -> list[str]:
    """Return a line that names each person, and one with their link."""
    return format_lines({person: link_or_reason(person, environ) for person in PEOPLE})


def format_lines(links: Mapping[str, str]) -> list[str]:
    """Return two lines for each person: who it is, and the link."""
    return [line for person, link in links.items() for line in (f"  {person} ({PEOPLE[person][2]})", f"    {link}")]


def link_or_reason(person: str, environ: Mapping[str, str]) -> str:
    """Return a fresh link of one of our people, or why there is none."""
    organization, user, email, role = PEOPLE[person]
    try:
        return sign_in_link(environ, organization=organization, user=user, email=email, role=role)
    except ValueError as problem:
        return f"no link: {problem}"


def sign_in_link(environ: Mapping[str, str], *, organization: UUID, user: UUID, email: str, role: str) -> str:
    """Return an address of the built-in page that signs this person in. Raises ValueError where none can be made."""
    claims = _claim_rules(environ).build_claims(user=user, email=email, organization=organization, role=role)
    claims |= OF_MAKE_RUN
    claims["exp"] = datetime.now(UTC) + TOKEN_LIFETIME
    for claim, setting in (("aud", "JWT_AUDIENCE"), ("iss", "JWT_ISSUER")):
        if environ.get(setting):
            claims[claim] = environ[setting]
    token = jwt.encode(claims, environ["JWT_SECRET"], algorithm="HS256")
    return f"http://127.0.0.1:{environ['PORT']}/#token={token}"


def _claim_rules(environ: Mapping[str, str]) -> ClaimMapping:
    """Return how the processes read tokens: whoever renames claims for them signs in here, too."""
    named = {field: environ.get(f"JWT_CLAIM_{field.upper()}") for field in ("user", "email", "organization", "role")}
    given = {field: name for field, name in named.items() if name}
    roles = TypeAdapter(RoleMap).validate_python(environ.get("JWT_ROLE_MAP") or ())
    return ClaimMapping(**given, role_map=roles, issuer=environ.get("JWT_ISSUER"))
