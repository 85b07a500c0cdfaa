"""Claims as issuers call them, read as ours; whole tokens of eight providers are in integration/api/test_providers."""

from __future__ import annotations

import subprocess
import sys
from typing import Any
from uuid import UUID, uuid4, uuid5

import pytest

from app.domain.token_claims import ClaimMapping, find_claim, uuid_for_issuer_value

ISSUER = "https://acme.example/"
ADA, ACME = uuid4(), uuid4()


def read(claims: dict[str, Any], **rules: Any) -> dict[str, Any]:
    return ClaimMapping(**rules).read_claims(claims)


def role(value: Any, *, claim: str = "roles", **rules: Any) -> Any:
    return read({claim: value, "organization_id": "acme"}, role=claim, **rules)["role"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("https://acme.example/org", 1),
        ("cognito:groups", 2),
        ("app_metadata.org.id", 3),
        ("https://acme.example/meta.org", 4),
        ("a.b", 5),
        ("a.b.c", None),
        ("app_metadata", {"org": {"id": 3}}),
        ("app_metadata.org.id.more", None),
        ("app_metadata..org", None),
        ("", None),
        (".", None),
        ("list.0", None),
    ],
)
def test_a_claim_is_found_by_its_name_as_it_stands_or_else_by_its_path(name: str, value: Any) -> None:
    claims = {
        "https://acme.example/org": 1,
        "cognito:groups": 2,
        "app_metadata": {"org": {"id": 3}},
        "https://acme.example/meta": {"org": 4},
        "a.b": 5,
        "a": {"b": 6},
        "list": [7],
    }

    assert find_claim(claims, name) == value


def test_ids_that_are_no_uuids_become_stable_ones() -> None:
    # Written down, so that no release and no process ever calls anybody by another id.
    assert uuid_for_issuer_value("https://acme.eu.auth0.com/", "auth0|507f1f77bcf86cd799439011") == UUID(
        "81930be7-8cc6-503b-84c2-aec82df23143"
    )
    assert uuid_for_issuer_value("https://accounts.google.com", "110169484474386276334") == UUID(
        "76376a5d-000f-5c4d-95cb-f1f3f75a5ed3"
    )
    assert uuid_for_issuer_value("https://accounts.google.com", "acme.example") == UUID(
        "34a3f225-9e2f-5fd7-8213-6b1c17519e9f"
    )


def test_another_process_calls_them_the_same() -> None:
    code = f"from app.domain.token_claims import uuid_for_issuer_value; print(uuid_for_issuer_value({ISSUER!r}, 'ada'))"

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == str(uuid_for_issuer_value(ISSUER, "ada"))


def test_no_two_pairs_of_issuer_and_value_run_together() -> None:
    assert uuid_for_issuer_value("https://a.example/x", "y") != uuid_for_issuer_value("https://a.example/", "xy")
    assert uuid_for_issuer_value("https://a.example", "ada") != uuid_for_issuer_value("https://b.example", "ada")


def test_a_uuid_stays_as_it_stands() -> None:
    claims = {"sub": str(ADA), "organization_id": str(ACME)}

    assert read(claims, issuer=ISSUER) | claims == read(claims, issuer=ISSUER)


def test_nobody_gets_anothers_id_by_choosing_it_for_a_name() -> None:
    # An organization may be known by a name that its owner chose; that name may look like one of our ids.
    victim = str(uuid_for_issuer_value(ISSUER, "acme"))

    mapped = read({"org_slug": victim}, organization="org_slug", issuer=ISSUER)["organization_id"]

    assert mapped == str(uuid_for_issuer_value(ISSUER, victim)) != victim


def test_under_the_names_of_old_a_uuid_of_any_version_stays() -> None:
    made = str(uuid5(ADA, "x"))

    assert read({"sub": made, "organization_id": made}, issuer=ISSUER)["organization_id"] == made


@pytest.mark.parametrize(
    "value", [None, "", "  ", 7, True, ["acme"], {"id": "acme"}, "a\x00b", "a\nb", "\ud83d"], ids=ascii
)
def test_what_is_no_name_is_nobodys_id(value: Any) -> None:
    assert read({"sub": value, "organization_id": value}, issuer=ISSUER)["organization_id"] == value


def test_without_a_verified_issuer_only_uuids_will_do() -> None:
    assert read({"sub": "ada", "iss": "https://evil.example"})["sub"] == "ada"


def test_a_list_of_one_organization_names_it_and_a_longer_one_names_none() -> None:
    def organization(value: Any) -> Any:
        return read({"organization": value}, organization="organization", issuer=ISSUER)["organization_id"]

    assert organization(["acme"]) == organization("acme") == str(uuid_for_issuer_value(ISSUER, "acme"))
    assert organization(["acme", "globex"]) == ["acme", "globex"]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("Rita.Admin", "admin"),
        (["Rita.Admin"], "admin"),
        (["x", "Rita.Admin", "Rita.Owner"], "owner"),
        (["Rita.Owner", "Rita.Admin"], "owner"),
        (["x"], "member"),
        ([], "member"),
        (None, "member"),
        ("", "member"),
        ("rita.admin", "member"),
        ("Rita.Admin Rita.Owner", "member"),
        ("admin", "member"),
        (["Rita.Admin", 7], None),
        (7, None),
        (True, None),
        ({"Rita.Admin": True}, None),
    ],
    ids=str,
)
def test_the_highest_role_that_fits_counts(value: Any, found: str | None) -> None:
    role_map = (("Rita.Admin", "admin"), ("*", "member"), ("Rita.Owner", "owner"))

    assert role(value, role_map=role_map) == found


@pytest.mark.parametrize("value", ["x", ["x"], [], None, ""], ids=str)
def test_without_a_star_who_has_none_of_the_roles_is_let_in_by_none(value: Any) -> None:
    assert role(value, role_map=(("Rita.Admin", "admin"),)) is None


@pytest.mark.parametrize(
    ("value", "found"), [(["offline_access", "admin"], "admin"), ("member", "member"), ("x", None)]
)
def test_a_claim_of_the_issuers_may_hold_our_own_roles(value: Any, found: str | None) -> None:
    assert role(value) == found


@pytest.mark.parametrize("value", [["admin"], "Admin", None])
def test_our_own_claim_is_read_as_it_ever_was(value: Any) -> None:
    assert role(value, claim="role") == value


@pytest.mark.parametrize(
    ("claim", "found"), [("scope", "admin"), ("scp", "admin"), ("realm.scope", "admin"), ("x", None)]
)
def test_only_a_scope_is_a_list_of_words(claim: str, found: str | None) -> None:
    assert role("openid rita:admin", claim=claim, role_map=(("rita:admin", "admin"),)) == found


@pytest.mark.parametrize(
    ("held", "found"),
    [
        ({"owner": {"acme": "acme.example"}}, "owner"),
        ({"owner": {"1": "acme"}}, "owner"),
        ({"owner": {"another": "another.example"}, "member": {"acme": "acme.example"}}, "member"),
        ({"owner": {"another": "another.example"}}, None),
        ({"owner": {}}, None),
    ],
    ids=str,
)
def test_a_role_in_another_organization_is_none_in_this_one(held: Any, found: str | None) -> None:
    assert role(held) == found


def test_what_is_written_reads_as_it_was_meant() -> None:
    rules = ClaimMapping(
        user="oid", organization="meta.org", role="roles", role_map=(("A", "admin"), ("*", "member")), issuer=ISSUER
    )

    claims = rules.build_claims(user=ADA, email="ada@acme.example", organization=ACME, role="admin")
    as_member = rules.build_claims(user=ADA, email="ada@acme.example", organization=ACME, role="member")

    assert claims == {"oid": str(ADA), "email": "ada@acme.example", "meta.org": str(ACME), "roles": "A"}
    assert rules.read_claims(as_member)["role"] == "member"
    with pytest.raises(ValueError, match="maps nothing to owner"):
        rules.build_claims(user=ADA, email="ada@acme.example", organization=ACME, role="owner")


def test_two_things_are_not_written_into_one_claim() -> None:
    with pytest.raises(ValueError, match="at once"):
        ClaimMapping(email="sub").build_claims(user=ADA, email="ada@acme.example", organization=ACME, role="admin")
