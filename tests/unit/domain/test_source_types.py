"""The types that an installation offers: CONTRACT's section 2."""

from __future__ import annotations

import pytest

from app import errors
from app.domain import credential_detection, source_types

SEEDED = [
    ("confluence", "Confluence", "Connect your Atlassian Confluence workspace", "spaces"),
    ("servicenow", "ServiceNow", "Connect your ServiceNow instance", "tables"),
    ("sharepoint", "SharePoint", "Connect your Microsoft SharePoint", "sites"),
    ("websearch", "Web Search", "Search the public web", None),
]
OPTIONAL = {
    "jira": {"baseUrl", "projectKeys"},
    "gdrive": {"folderId", "recursive"},
    "slack": {"channelIds", "includeThreads"},
    "notion": {"databaseIds"},
    "zendesk": {"subdomain", "categories"},
}


def test_the_seeded_types_are_the_contracts_four_in_its_words() -> None:
    entries = [(e.name, e.label, e.description, e.options_key) for e in source_types.SEEDED_TYPES.values()]

    assert entries == SEEDED


@pytest.mark.parametrize(
    "entry", [*source_types.SEEDED_TYPES.items(), *source_types.OPTIONAL_TYPES.items()], ids=lambda entry: entry[0]
)
def test_every_entry_is_complete_and_goes_by_its_own_name(entry: tuple[str, source_types.SourceType]) -> None:
    name, source_type = entry

    assert source_type.name == name
    assert source_type.label
    assert source_type.description
    assert source_type.icon
    assert source_type.credential_fields
    assert {field.kind for field in (*source_type.config_fields, *source_type.credential_fields)} <= set(
        source_types.INPUT_KINDS
    )


@pytest.mark.parametrize(
    "entry", [*source_types.SEEDED_TYPES.values(), *source_types.OPTIONAL_TYPES.values()], ids=lambda entry: entry.name
)
def test_every_credential_says_where_it_is_found(entry: source_types.SourceType) -> None:
    assert all(field.help for field in entry.credential_fields)
    assert all(not field.link or field.link.startswith("https://") for field in entry.credential_fields)


def test_the_optional_types_have_the_contracts_config_fields() -> None:
    fields = {
        name: {field.name for field in entry.config_fields} for name, entry in source_types.OPTIONAL_TYPES.items()
    }

    assert fields == OPTIONAL


def test_nothing_optional_is_on_offer_by_default() -> None:
    registry = source_types.SourceTypeRegistry()

    assert registry.creatable_types == {}
    with pytest.raises(errors.InvalidType) as refusal:
        registry.require_offered_type("jira")
    assert refusal.value.message == "Type 'jira' is not supported"
    assert refusal.value.details == {"allowed_types": [name for name, *_ in SEEDED]}


def test_what_is_turned_on_is_on_offer_and_can_be_created() -> None:
    registry = source_types.SourceTypeRegistry(enabled_names=["jira", "slack"])

    assert registry.require_offered_type("jira").label == "Jira"
    assert list(registry.creatable_types) == ["jira", "slack"]
    with pytest.raises(errors.InvalidType) as refusal:
        registry.require_offered_type("notion")
    assert refusal.value.details["allowed_types"] == [*[name for name, *_ in SEEDED], "jira", "slack"]


@pytest.mark.parametrize("name", ["", "x", "Confluence", "confluence "])
def test_an_unknown_type_is_told_apart_to_the_letter(name: str) -> None:
    with pytest.raises(errors.InvalidType):
        source_types.SourceTypeRegistry().require_offered_type(name)


def test_only_the_public_web_needs_no_credentials() -> None:
    assert [
        name
        for name in (*source_types.SEEDED_TYPES, *source_types.OPTIONAL_TYPES)
        if not source_types.type_needs_credentials(name)
    ] == ["websearch"]


@pytest.mark.parametrize(
    "entry", [*source_types.SEEDED_TYPES.values(), *source_types.OPTIONAL_TYPES.values()], ids=lambda entry: entry.name
)
def test_no_configuration_field_is_one_that_the_api_would_refuse_as_a_secret(entry: source_types.SourceType) -> None:
    config = {field.name: "x" for field in entry.config_fields}

    assert list(credential_detection.find_credentials(config, path="config")) == []
