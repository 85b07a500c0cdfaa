"""Who and what a token's claims say, whatever its issuer calls them; see docs/identity-providers.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

# Highest first: of several that fit it counts.
ROLES = ("owner", "admin", "member")
# In a role map: whatever a token says, also nothing.
ANY_ROLE = "*"
# The claims that are lists of words by their own standards (RFC 8693, section 4.2, and its short form).
WORDS = ("scope", "scp")
# What the version of a UUID is that was made of an issuer and a value.
MADE = 5

USER, EMAIL, ORGANIZATION, ROLE = "sub", "email", "organization_id", "role"


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """The issuer's names for what we need, and its roles in ours (pairs; none stands for our own names)."""

    user: str = USER
    email: str = EMAIL
    organization: str = ORGANIZATION
    role: str = ROLE
    role_map: tuple[tuple[str, str], ...] = ()
    # Verified; without one, only UUIDs are taken.
    issuer: str | None = None

    @property
    def names(self) -> dict[str, str]:
        """Our names, and the issuer's for them."""
        return {USER: self.user, EMAIL: self.email, ORGANIZATION: self.organization, ROLE: self.role}

    def read(self, claims: Mapping[str, Any]) -> dict[str, Any]:
        """Return verified claims under our own names; what is missing or does not fit is None, or as it was."""
        organization = find(claims, self.organization)
        if self.organization != ORGANIZATION:
            organization = _only(organization)
        return {
            USER: self._id(find(claims, self.user), is_ours=self.user == USER),
            EMAIL: find(claims, self.email),
            ORGANIZATION: self._id(organization, is_ours=self.organization == ORGANIZATION),
            ROLE: self._role(find(claims, self.role), organization=organization),
            "exp": claims.get("exp"),
        }

    def write(self, *, user: UUID, email: str, organization: UUID, role: str) -> dict[str, Any]:
        """Return claims that read as these. Raises ValueError with what keeps there from being any."""
        theirs = next((name for name, ours in self._roles() if ours == role and name != ANY_ROLE), None)
        if theirs is None and (ANY_ROLE, role) not in self._roles():
            raise ValueError(f"JWT_ROLE_MAP maps nothing to {role}")
        wanted = {USER: str(user), EMAIL: email, ORGANIZATION: str(organization), ROLE: theirs}
        # A claim's name as it stands comes before a path, so that none has to be laid out.
        claims = {self.names[ours]: value for ours, value in wanted.items() if value is not None}
        if self.read(claims) != {**wanted, ROLE: role, "exp": None}:
            raise ValueError("the claims that the settings JWT_CLAIM_… name cannot say all of this at once")
        return claims

    def _id(self, value: Any, *, is_ours: bool) -> Any:
        """Return a UUID as it stands, and one made of the issuer and the value for anything else that is a name.

        Under a claim of the issuer's own naming, a UUID such as we make is a name like any other: else whoever chose
        the id of another's for a name would be taken for them.
        """
        if not self.issuer or not isinstance(value, str) or not value.strip():
            return value
        known = _as_uuid(value)
        if known is not None and (is_ours or known.version != MADE):
            return value
        return str(stable_id(self.issuer, value)) if value.isprintable() else value

    def _roles(self) -> tuple[tuple[str, str], ...]:
        return self.role_map or tuple((name, name) for name in ROLES)

    def _role(self, value: Any, *, organization: Any) -> Any:
        if not self.role_map and self.role == ROLE:
            return value
        names = _names_in(value, splits=self.role.rpartition(".")[2] in WORDS, organization=organization)
        if names is None:
            return None
        fitting = {ours for theirs, ours in self._roles() if theirs == ANY_ROLE or theirs in names}
        return next((role for role in ROLES if role in fitting), None)


def find(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim: one of that name as it stands, else what the dotted path leads to; None if there is neither."""
    if name in claims:
        return claims[name]
    parts = name.split(".")
    # The longest first, for the issuer's own names have dots in them, too.
    for length in range(len(parts) - 1, 0, -1):
        inner = claims.get(".".join(parts[:length]))
        if isinstance(inner, Mapping) and (found := find(inner, ".".join(parts[length:]))) is not None:
            return found
    return None


def stable_id(issuer: str, value: str) -> UUID:
    """Return the UUID for an issuer's name: version 5 (RFC 9562, 5.5) of the value, in the namespace of the issuer's.

    That namespace is version 5 of the issuer in the namespace of URLs.
    """
    return uuid5(uuid5(NAMESPACE_URL, issuer), value)


def _only(value: Any) -> Any:
    """Return the organization of a list of one; in several, nobody knows which is meant."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _as_uuid(value: str) -> UUID | None:
    try:
        return UUID(value)
    except ValueError:
        return None


def _names_in(value: Any, *, splits: bool, organization: Any) -> set[str] | None:
    """Return the issuer's roles in a claim, or None for what is no list of roles.

    They are a string, several, or the keys of an object whose values say in which organizations each is held.
    """
    if value is None:
        return set()
    if isinstance(value, str):
        return set(value.split()) if splits else {value}
    if isinstance(value, list):
        return _strings(value)
    if isinstance(value, Mapping) and all(isinstance(held, Mapping) for held in value.values()):
        return {role for role, held in value.items() if organization in (*held, *held.values())}
    return None


def _strings(values: Iterable[Any]) -> set[str] | None:
    found = list(values)
    return set(found) if all(isinstance(value, str) for value in found) else None
