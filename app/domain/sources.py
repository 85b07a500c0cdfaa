"""The registry of data source types: adding one is one entry here, never a migration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app import errors

# What an input takes.
KINDS = ("text", "url", "email", "boolean")


@dataclass(frozen=True, slots=True)
class Field:
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


@dataclass(frozen=True, slots=True)
class SourceType:
    """What the product knows about one kind of source.

    `options_key` names the key of the verification's options (comma-separated, or an array) that a person chooses from.
    """

    name: str
    label: str
    description: str
    icon: str
    config_fields: tuple[Field, ...] = ()
    credential_fields: tuple[Field, ...] = ()
    options_key: str | None = None
    needs_credentials: bool = True


_ATLASSIAN_TOKENS = "https://id.atlassian.com/manage-profile/security/api-tokens"
_ENTRA_APPS = "https://entra.microsoft.com/#view/Microsoft_AAD_RegisteredApps/ApplicationsListBlade"
_GOOGLE_CREDENTIALS = "https://console.cloud.google.com/apis/credentials"
_SLACK_APPS = "https://api.slack.com/apps"
_NOTION_INTEGRATIONS = "https://www.notion.so/profile/integrations"

_ATLASSIAN = (
    Field("url", "Site URL", "As in your browser: https://your-company.atlassian.net", "url", required=True),
    Field("email", "Account email", "Of the account that the token belongs to", "email", required=True),
    Field(
        "api_token",
        "API token",
        "Made under Security in the account's settings",
        required=True,
        secret=True,
        link=_ATLASSIAN_TOKENS,
    ),
)
_ZENDESK = (
    Field("url", "Help center URL", "As in your browser: https://your-company.zendesk.com", "url", required=True),
    Field("email", "Account email", "Of an agent or admin; the token acts as this account", "email", required=True),
    Field("api_token", "API token", "In the Admin Center, under Apps and integrations", required=True, secret=True),
)
_BASIC = (
    Field("url", "Instance URL", "As in your browser: https://your-company.service-now.com", "url", required=True),
    Field("username", "User name", "Of an account that may read the tables: User Administration, Users", required=True),
    Field("password", "Password", "That account's own; its admin can set a new one", required=True, secret=True),
)
_SERVICE_ACCOUNT = (
    Field("tenant_id", "Directory (tenant) ID", "On the app registration's overview", required=True, link=_ENTRA_APPS),
    Field("client_id", "Application (client) ID", "On the same overview", required=True, link=_ENTRA_APPS),
    Field(
        "client_secret",
        "Client secret",
        "Under Certificates & secrets: the secret's value, not its ID",
        required=True,
        secret=True,
        link=_ENTRA_APPS,
    ),
)
_GOOGLE = (
    Field(
        "access_token",
        "Access token",
        "Of an OAuth client that may read the folder",
        required=True,
        secret=True,
        link=_GOOGLE_CREDENTIALS,
    ),
    Field("refresh_token", "Refresh token", "Given together with it, to renew it", secret=True),
)
_SLACK = (
    Field(
        "access_token",
        "Access token",
        "Your app's, under OAuth & Permissions; begins with xoxb-",
        required=True,
        secret=True,
        link=_SLACK_APPS,
    ),
    Field("refresh_token", "Refresh token", "Only if the app rotates its tokens", secret=True),
)
_API_KEY = (
    Field(
        "api_key", "Integration secret", "Of an internal integration that the databases are shared with",
        required=True, secret=True, link=_NOTION_INTEGRATIONS,
    ),
)  # fmt: skip

# Every organization has one connection of each of these.
SEEDED = {
    entry.name: entry
    for entry in (
        SourceType(
            "confluence",
            "Confluence",
            "Connect your Atlassian Confluence workspace",
            icon="confluence",
            config_fields=(Field("spaces", "Spaces"),),
            credential_fields=_ATLASSIAN,
            options_key="spaces",
        ),
        SourceType(
            "servicenow",
            "ServiceNow",
            "Connect your ServiceNow instance",
            icon="servicenow",
            config_fields=(Field("tables", "Tables"),),
            credential_fields=_BASIC,
            options_key="tables",
        ),
        SourceType(
            "sharepoint",
            "SharePoint",
            "Connect your Microsoft SharePoint",
            icon="sharepoint",
            config_fields=(Field("sites", "Sites"),),
            credential_fields=_SERVICE_ACCOUNT,
            options_key="sites",
        ),
        SourceType(
            "websearch",
            "Web Search",
            "Search the public web",
            icon="websearch",
            credential_fields=(
                Field(
                    "api_key",
                    "API key",
                    "Of your search engine's account; without one, the public engine is used",
                    secret=True,
                ),
            ),
            needs_credentials=False,
        ),
    )
}

# Known, but off unless ENABLED_DATA_SOURCE_TYPES names them.
OPTIONAL = {
    entry.name: entry
    for entry in (
        SourceType(
            "jira",
            "Jira",
            "Connect your Atlassian Jira projects",
            icon="jira",
            config_fields=(Field("baseUrl", "Base URL", kind="url"), Field("projectKeys", "Project keys")),
            credential_fields=_ATLASSIAN,
            options_key="projects",
        ),
        SourceType(
            "gdrive",
            "Google Drive",
            "Connect a Google Drive folder",
            icon="gdrive",
            config_fields=(Field("folderId", "Folder ID"), Field("recursive", "With subfolders", kind="boolean")),
            credential_fields=_GOOGLE,
            options_key="folders",
        ),
        SourceType(
            "slack",
            "Slack",
            "Connect your Slack channels",
            icon="slack",
            config_fields=(Field("channelIds", "Channels"), Field("includeThreads", "With threads", kind="boolean")),
            credential_fields=_SLACK,
            options_key="channels",
        ),
        SourceType(
            "notion",
            "Notion",
            "Connect your Notion databases",
            icon="notion",
            config_fields=(Field("databaseIds", "Databases"),),
            credential_fields=_API_KEY,
            options_key="databases",
        ),
        SourceType(
            "zendesk",
            "Zendesk",
            "Connect your Zendesk help center",
            icon="zendesk",
            config_fields=(Field("subdomain", "Subdomain"), Field("categories", "Categories")),
            credential_fields=_ZENDESK,
            options_key="categories",
        ),
    )
}


class Registry:
    """The types that one installation offers: the seeded ones and those turned on."""

    def __init__(self, *, turned_on: Iterable[str] = ()) -> None:
        self.creatable = {name: OPTIONAL[name] for name in turned_on}
        self._offered = SEEDED | self.creatable

    @property
    def entries(self) -> list[SourceType]:
        """The types on offer."""
        return list(self._offered.values())

    @property
    def names(self) -> list[str]:
        """The names of the types on offer."""
        return list(self._offered)

    def get(self, name: str) -> SourceType:
        """Return the entry of a type on offer. Raises InvalidType."""
        entry = self._offered.get(name)
        if entry is None:
            raise errors.InvalidType(name, allowed=self.names)
        return entry


def is_known(name: str) -> bool:
    """Tell whether this release knows a type, on offer or not."""
    return name in SEEDED or name in OPTIONAL


def needs_credentials(name: str) -> bool:
    """Tell whether a type must have been verified before it can be synced (a type turned off since still counts).

    Of a type of a later release, whose rows an earlier one reads during an upgrade, nothing is known: it does.
    """
    entry = (SEEDED | OPTIONAL).get(name)
    return entry is None or entry.needs_credentials


def options_key(name: str) -> str | None:
    """Return the name of the options that a person chooses from in a type; None where there are none, or none known."""
    entry = (SEEDED | OPTIONAL).get(name)
    return None if entry is None else entry.options_key


def is_deletable(name: str) -> bool:
    """Tell whether a connection of a type may be deleted: not of one that seeds, nor of one that may in a release."""
    return name in OPTIONAL
