"""The registry of data source types: adding one is one entry here, never a migration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app import errors

# What an input takes.
INPUT_KINDS = ("text", "url", "email", "boolean")


@dataclass(frozen=True, slots=True)
class FormField:
    """One input of a type's form; `kind` is one of KINDS, `help` a sentence for whoever fills it in.

    `link` leads to the source's own page where it is found or made.
    """

    name: str
    label: str
    help: str = ""
    kind: str = "text"
    required: bool = False
    secret: bool = False
    link: str = ""


def _secret(name: str, label: str, help_text: str, link: str = "") -> FormField:
    """Return a credential's field that has to be filled in."""
    return FormField(name, label, help_text, required=True, secret=True, link=link)


@dataclass(frozen=True, slots=True)
class SourceType:
    """What the product knows about one kind of source.

    `options_key` names the key of the verification's options (comma-separated, or an array) that a person chooses from.
    """

    name: str
    label: str
    description: str
    config_fields: tuple[FormField, ...] = ()
    credential_fields: tuple[FormField, ...] = ()
    options_key: str | None = None
    needs_credentials: bool = True

    @property
    def icon(self) -> str:
        """The name of its picture in `app/console/icons`."""
        return self.name


_ATLASSIAN_TOKENS_URL = "https://id.atlassian.com/manage-profile/security/api-tokens"
_ENTRA_APPS_URL = "https://entra.microsoft.com/#view/Microsoft_AAD_RegisteredApps/ApplicationsListBlade"
_GOOGLE_CREDENTIALS_URL = "https://console.cloud.google.com/apis/credentials"
_SLACK_APPS_URL = "https://api.slack.com/apps"
_NOTION_INTEGRATIONS_URL = "https://www.notion.so/profile/integrations"

_ATLASSIAN_CREDENTIAL_FIELDS = (
    FormField("url", "Site URL", "As in your browser: https://your-company.atlassian.net", "url", required=True),
    FormField("email", "Account email", "Of the account that the token belongs to", "email", required=True),
    _secret("api_token", "API token", "Made under Security in the account's settings", _ATLASSIAN_TOKENS_URL),
)
_ZENDESK_CREDENTIAL_FIELDS = (
    FormField("url", "Help center URL", "As in your browser: https://your-company.zendesk.com", "url", required=True),
    FormField("email", "Account email", "Of an agent or admin; the token acts as this account", "email", required=True),
    _secret("api_token", "API token", "In the Admin Center, under Apps and integrations"),
)
_USER_PASSWORD_FIELDS = (
    FormField("url", "Instance URL", "As in your browser: https://your-company.service-now.com", "url", required=True),
    FormField(
        "username", "User name", "Of an account that may read the tables: User Administration, Users", required=True
    ),
    _secret("password", "Password", "That account's own; its admin can set a new one"),
)
_SERVICE_ACCOUNT_FIELDS = (
    FormField(
        "tenant_id", "Directory (tenant) ID", "On the app registration's overview", required=True, link=_ENTRA_APPS_URL
    ),
    FormField("client_id", "Application (client) ID", "On the same overview", required=True, link=_ENTRA_APPS_URL),
    _secret(
        "client_secret",
        "Client secret",
        "Under Certificates & secrets: the secret's value, not its ID",
        _ENTRA_APPS_URL,
    ),
)
_GOOGLE_CREDENTIAL_FIELDS = (
    _secret("access_token", "Access token", "Of an OAuth client that may read the folder", _GOOGLE_CREDENTIALS_URL),
    FormField("refresh_token", "Refresh token", "Given together with it, to renew it", secret=True),
)
_SLACK_CREDENTIAL_FIELDS = (
    _secret(
        "access_token", "Access token", "Your app's, under OAuth & Permissions; begins with xoxb-", _SLACK_APPS_URL
    ),
    FormField("refresh_token", "Refresh token", "Only if the app rotates its tokens", secret=True),
)
_API_KEY_FIELDS = (
    _secret(
        "api_key",
        "Integration secret",
        "Of an internal integration that the databases are shared with",
        _NOTION_INTEGRATIONS_URL,
    ),
)
_SEARCH_KEY_FIELDS = (
    FormField(
        "api_key", "API key", "Of your search engine's account; without one, the public engine is used", secret=True
    ),
)

# Every organization has one connection of each of these.
SEEDED_TYPES = {
    entry.name: entry
    for entry in (
        SourceType(
            "confluence",
            "Confluence",
            "Connect your Atlassian Confluence workspace",
            config_fields=(FormField("spaces", "Spaces"),),
            credential_fields=_ATLASSIAN_CREDENTIAL_FIELDS,
            options_key="spaces",
        ),
        SourceType(
            "servicenow",
            "ServiceNow",
            "Connect your ServiceNow instance",
            config_fields=(FormField("tables", "Tables"),),
            credential_fields=_USER_PASSWORD_FIELDS,
            options_key="tables",
        ),
        SourceType(
            "sharepoint",
            "SharePoint",
            "Connect your Microsoft SharePoint",
            config_fields=(FormField("sites", "Sites"),),
            credential_fields=_SERVICE_ACCOUNT_FIELDS,
            options_key="sites",
        ),
        SourceType(
            "websearch",
            "Web Search",
            "Search the public web",
            credential_fields=_SEARCH_KEY_FIELDS,
            needs_credentials=False,
        ),
    )
}

# Known, but off unless ENABLED_DATA_SOURCE_TYPES names them.
OPTIONAL_TYPES = {
    entry.name: entry
    for entry in (
        SourceType(
            "jira",
            "Jira",
            "Connect your Atlassian Jira projects",
            config_fields=(FormField("baseUrl", "Base URL", kind="url"), FormField("projectKeys", "Project keys")),
            credential_fields=_ATLASSIAN_CREDENTIAL_FIELDS,
            options_key="projects",
        ),
        SourceType(
            "gdrive",
            "Google Drive",
            "Connect a Google Drive folder",
            config_fields=(
                FormField("folderId", "Folder ID"),
                FormField("recursive", "With subfolders", kind="boolean"),
            ),
            credential_fields=_GOOGLE_CREDENTIAL_FIELDS,
            options_key="folders",
        ),
        SourceType(
            "slack",
            "Slack",
            "Connect your Slack channels",
            config_fields=(
                FormField("channelIds", "Channels"),
                FormField("includeThreads", "With threads", kind="boolean"),
            ),
            credential_fields=_SLACK_CREDENTIAL_FIELDS,
            options_key="channels",
        ),
        SourceType(
            "notion",
            "Notion",
            "Connect your Notion databases",
            config_fields=(FormField("databaseIds", "Databases"),),
            credential_fields=_API_KEY_FIELDS,
            options_key="databases",
        ),
        SourceType(
            "zendesk",
            "Zendesk",
            "Connect your Zendesk help center",
            config_fields=(FormField("subdomain", "Subdomain"), FormField("categories", "Categories")),
            credential_fields=_ZENDESK_CREDENTIAL_FIELDS,
            options_key="categories",
        ),
    )
}


class SourceTypeRegistry:
    """The types that one installation offers: the seeded ones and those turned on."""

    def __init__(self, *, enabled_names: Iterable[str] = ()) -> None:
        self.creatable_types = {name: OPTIONAL_TYPES[name] for name in enabled_names}
        self._offered = SEEDED_TYPES | self.creatable_types

    @property
    def offered_types(self) -> list[SourceType]:
        """The types on offer."""
        return list(self._offered.values())

    @property
    def offered_names(self) -> list[str]:
        """The names of the types on offer."""
        return list(self._offered)

    def require_offered_type(self, name: str) -> SourceType:
        """Return the entry of a type on offer. Raises InvalidType."""
        entry = self._offered.get(name)
        if entry is None:
            raise errors.InvalidType(name, allowed=self.offered_names)
        return entry


def is_known_type(type_name: str) -> bool:
    """Tell whether this release knows a type, on offer or not."""
    return type_name in SEEDED_TYPES or type_name in OPTIONAL_TYPES


def type_needs_credentials(type_name: str) -> bool:
    """Tell whether a type must have been verified before it can be synced (a type turned off since still counts).

    Of a type of a later release, whose rows an earlier one reads during an upgrade, nothing is known: it does.
    """
    entry = (SEEDED_TYPES | OPTIONAL_TYPES).get(type_name)
    return entry is None or entry.needs_credentials


def options_key_of_type(type_name: str) -> str | None:
    """Return the name of the options that a person chooses from in a type; None where there are none, or none known."""
    entry = (SEEDED_TYPES | OPTIONAL_TYPES).get(type_name)
    return None if entry is None else entry.options_key


def is_deletable_type(type_name: str) -> bool:
    """Tell whether a connection of a type may be deleted: not of one that seeds, nor of one that may in a release."""
    return type_name in OPTIONAL_TYPES
