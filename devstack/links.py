"""Links to the built-in page that sign a person in, for whoever tries it out."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from uuid import UUID

import jwt
from pydantic import TypeAdapter

from app.domain.token_claims import ClaimMapping
from app.setting_types import RoleMap
from devstack.child import LOOPBACK
from devstack.ports import free_port

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
# Where short links are tried first.
USUAL_PORT = 8001
# Of a short link: 48 random bits, so that nobody else on the machine guesses one.
CODE_BYTES = 6


def sign_in_lines(environ: Mapping[str, str]) -> list[str]:
    """Return a line that names each person, and one with their link."""
    return _lines({person: _link_of(person, environ) for person in PEOPLE})


@contextmanager
def short(environ: Mapping[str, str]) -> Iterator[list[str]]:
    """Serve links that fit a line, each of which leads to a fresh long one; yield the lines that tell them.

    A code is good for as long as this runs. Nothing is served to whoever names another host, as a page does that has
    its own name point here.
    """
    people = {f"/{secrets.token_urlsafe(CODE_BYTES)}": person for person in PEOPLE}
    port = free_port(USUAL_PORT)
    address = f"{LOOPBACK}:{port}"

    class Redirect(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            person = people.get(self.path) if self.headers["Host"] == address else None
            self.send_response(HTTPStatus.FOUND if person else HTTPStatus.NOT_FOUND)
            if person:
                self.send_header("Location", _link_of(person, environ))
            self.send_header("Cache-Control", "no-store")
            self.send_header("Referrer-Policy", "no-referrer")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing: the path is a secret."""

    links = {}
    for path, person in people.items():
        made = _link_of(person, environ)
        links[person] = f"http://{address}{path}" if made.startswith("http") else made
    with ThreadingHTTPServer((LOOPBACK, port), Redirect) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            yield _lines(links)
        finally:
            server.shutdown()
            thread.join()


def _lines(links: Mapping[str, str]) -> list[str]:
    return [line for person, link in links.items() for line in (f"  {person} ({PEOPLE[person][2]})", f"    {link}")]


def _link_of(person: str, environ: Mapping[str, str]) -> str:
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
    roles = TypeAdapter(RoleMap).validate_python(environ.get("JWT_ROLE_MAP") or ())
    return ClaimMapping(
        **{field: name for field, name in named.items() if name}, role_map=roles, issuer=environ.get("JWT_ISSUER")
    )
