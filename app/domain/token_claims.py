"""Who and what a token's claims say, whatever its issuer calls them; see docs/identity-providers.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

# Highest first: of several that fit it counts.
ROLES = ("owner", "admin", "member")
# In a role map: whatever a token says, also nothing.
ANY_ROLE = "*"
# The claims that are lists of words by their own standards (RFC 8693, section 4.2, and its short form).
SPACE_SEPARATED_CLAIMS = ("scope", "scp")
# What the version of a UUID is that was made of an issuer and a value.
GENERATED_UUID_VERSION = 5

USER_CLAIM, EMAIL_CLAIM, ORGANIZATION_CLAIM, ROLE_CLAIM = "sub", "email", "organization_id", "role"


@dataclass(frozen=True, slots=True)
class ClaimMapping:
    """The issuer's names for what we need, and its roles in ours (pairs; none stands for our own names)."""

    user: str = USER_CLAIM
    email: str = EMAIL_CLAIM
    organization: str = ORGANIZATION_CLAIM
    role: str = ROLE_CLAIM
    role_map: tuple[tuple[str, str], ...] = ()
    # Verified; without one, only UUIDs are taken.
    issuer: str | None = None

    @property
    def issuer_claim_names(self) -> dict[str, str]:
        """Our names, and the issuer's for them."""
        names = (self.user, self.email, self.organization, self.role)
        return dict(zip((USER_CLAIM, EMAIL_CLAIM, ORGANIZATION_CLAIM, ROLE_CLAIM), names, strict=True))

    def read_claims(self, claims: Mapping[str, Any]) -> dict[str, Any]:
        """Return verified claims under our own names; what is missing or does not fit is None, or as it was."""
        organization, is_standard = find_claim(claims, self.organization), self.organization == ORGANIZATION_CLAIM
        if not is_standard and isinstance(organization, list) and len(organization) == 1:
            # In a list of several, nobody knows which is meant.
            organization = organization[0]
        return {
            USER_CLAIM: self._to_uuid_text(find_claim(claims, self.user), is_standard_claim=self.user == USER_CLAIM),
            EMAIL_CLAIM: find_claim(claims, self.email),
            ORGANIZATION_CLAIM: self._to_uuid_text(organization, is_standard_claim=is_standard),
            ROLE_CLAIM: self._mapped_role(find_claim(claims, self.role), organization=organization),
            "exp": claims.get("exp"),
        }

    def build_claims(self, *, user: UUID, email: str, organization: UUID, role: str) -> dict[str, Any]:
        """Return claims that read as these. Raises ValueError with what keeps there from being any."""
        theirs = next((name for name, ours in self._role_pairs() if ours == role and name != ANY_ROLE), None)
        if theirs is None and (ANY_ROLE, role) not in self._role_pairs():
            raise ValueError(f"JWT_ROLE_MAP maps nothing to {role}")
        wanted = {USER_CLAIM: str(user), EMAIL_CLAIM: email, ORGANIZATION_CLAIM: str(organization), ROLE_CLAIM: theirs}
        # A claim's name as it stands comes before a path, so that none has to be laid out.
        claims = {self.issuer_claim_names[ours]: value for ours, value in wanted.items() if value is not None}
        if self.read_claims(claims) != {**wanted, ROLE_CLAIM: role, "exp": None}:
            raise ValueError("the claims that the settings JWT_CLAIM_… name cannot say all of this at once")
        return claims

    def _to_uuid_text(self, value: Any, *, is_standard_claim: bool) -> Any:
        """Return a UUID as it stands, and one made of the issuer and the value for anything else that is a name.

        Under a claim of the issuer's own naming, a UUID such as we make is a name like any other: else whoever chose
        the id of another's for a name would be taken for them.
        """
        if not self.issuer or not isinstance(value, str) or not value.strip():
            return value
        known = _parse_uuid(value)
        if known is not None and (is_standard_claim or known.version != GENERATED_UUID_VERSION):
            return value
        return str(uuid_for_issuer_value(self.issuer, value)) if value.isprintable() else value

    def _role_pairs(self) -> tuple[tuple[str, str], ...]:
        return self.role_map or tuple((name, name) for name in ROLES)

    def _mapped_role(self, value: Any, *, organization: Any) -> Any:
        if not self.role_map and self.role == ROLE_CLAIM:
            return value
        is_space_separated = self.role.rpartition(".")[2] in SPACE_SEPARATED_CLAIMS
        names = _role_names_in_claim(value, is_space_separated=is_space_separated, organization=organization)
        if names is None:
            return None
        fitting = {ours for theirs, ours in self._role_pairs() if theirs == ANY_ROLE or theirs in names}
        return next((role for role in ROLES if role in fitting), None)


def find_claim(claims: Mapping[str, Any], claim_path: str) -> Any:
    """Return a claim: one of that name as it stands, else what the dotted path leads to; None if there is neither."""
    if claim_path in claims:
        return claims[claim_path]
    parts = claim_path.split(".")
    # The longest first, for the issuer's own names have dots in them, too.
    for length in range(len(parts) - 1, 0, -1):
        inner = claims.get(".".join(parts[:length]))
        if isinstance(inner, Mapping) and (found := find_claim(inner, ".".join(parts[length:]))) is not None:
            return found
    return None


def uuid_for_issuer_value(issuer: str, value: str) -> UUID:
    """Return the UUID for an issuer's name: version 5 (RFC 9562, 5.5) of the value, in the namespace of the issuer's.

    That namespace is version 5 of the issuer in the namespace of URLs.
    """
    return uuid5(uuid5(NAMESPACE_URL, issuer), value)


def _parse_uuid(value: str) -> UUID | None:
    try:
        return UUID(value)
    except ValueError:
        return None


def _role_names_in_claim(value: Any, *, is_space_separated: bool, organization: Any) -> set[str] | None:
    """Return the issuer's roles in a claim, or None for what is no list of roles.

    They are a string, several, or the keys of an object whose values say in which organizations each is held.
    """
    if value is None:
        return set()
    if isinstance(value, str):
        return set(value.split()) if is_space_separated else {value}
    if isinstance(value, list):
        return set(value) if all(isinstance(name, str) for name in value) else None
    if isinstance(value, Mapping) and all(isinstance(held, Mapping) for held in value.values()):
        return {role for role, held in value.items() if organization in (*held, *held.values())}
    return None
