"""The types that an installation offers: CONTRACT's section 2."""

from __future__ import annotations

import pytest

from app import errors
from app.domain import secrets, sources

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
    entries = [(e.name, e.label, e.description, e.options_key) for e in sources.SEEDED.values()]

    assert entries == SEEDED


@pytest.mark.parametrize("entry", [*sources.SEEDED.items(), *sources.OPTIONAL.items()], ids=lambda entry: entry[0])
def test_every_entry_is_complete_and_goes_by_its_own_name(entry: tuple[str, sources.SourceType]) -> None:
    name, source_type = entry

    assert source_type.name == name
    assert source_type.label
    assert source_type.description
    assert source_type.icon
    assert source_type.credential_fields
    assert {field.kind for field in (*source_type.config_fields, *source_type.credential_fields)} <= set(sources.KINDS)


@pytest.mark.parametrize("entry", [*sources.SEEDED.values(), *sources.OPTIONAL.values()], ids=lambda entry: entry.name)
def test_every_credential_says_where_it_is_found(entry: sources.SourceType) -> None:
    assert all(field.help for field in entry.credential_fields)
    assert all(not field.link or field.link.startswith("https://") for field in entry.credential_fields)


def test_the_optional_types_have_the_contracts_config_fields() -> None:
    fields = {name: {field.name for field in entry.config_fields} for name, entry in sources.OPTIONAL.items()}

    assert fields == OPTIONAL


def test_nothing_optional_is_on_offer_by_default() -> None:
    registry = sources.Registry()

    assert registry.creatable == {}
    with pytest.raises(errors.InvalidType) as refusal:
        registry.get("jira")
    assert refusal.value.message == "Type 'jira' is not supported"
    assert refusal.value.details == {"allowed_types": [name for name, *_ in SEEDED]}


def test_what_is_turned_on_is_on_offer_and_can_be_created() -> None:
    registry = sources.Registry(turned_on=["jira", "slack"])

    assert registry.get("jira").label == "Jira"
    assert list(registry.creatable) == ["jira", "slack"]
    with pytest.raises(errors.InvalidType) as refusal:
        registry.get("notion")
    assert refusal.value.details["allowed_types"] == [*[name for name, *_ in SEEDED], "jira", "slack"]


@pytest.mark.parametrize("name", ["", "x", "Confluence", "confluence "])
def test_an_unknown_type_is_told_apart_to_the_letter(name: str) -> None:
    with pytest.raises(errors.InvalidType):
        sources.Registry().get(name)


def test_only_the_public_web_needs_no_credentials() -> None:
    assert [name for name in (*sources.SEEDED, *sources.OPTIONAL) if not sources.needs_credentials(name)] == [
        "websearch"
    ]


@pytest.mark.parametrize("entry", [*sources.SEEDED.values(), *sources.OPTIONAL.values()], ids=lambda entry: entry.name)
def test_no_configuration_field_is_one_that_the_api_would_refuse_as_a_secret(entry: sources.SourceType) -> None:
    config = {field.name: "x" for field in entry.config_fields}

    assert list(secrets.find(config, path="config")) == []
