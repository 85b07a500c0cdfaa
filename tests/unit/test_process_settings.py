"""Which process is given which secret: settings, SECURITY.md, compose and the Kubernetes manifests agree."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet

from app import process_settings
from app.config import Settings, SettingsError
from tests.project import PROJECT

PROCESSES = sorted(process_settings.SETTINGS_USED_BY.keys() - {process_settings.COMMANDS_PROCESS, "release"})
COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
MANIFESTS = list(yaml.safe_load_all((PROJECT / "docs/kubernetes/rita.yaml").read_text()))
EVERYTHING = {
    "DATABASE_URL": "postgresql://app@127.0.0.1/rita",
    "MIGRATION_DATABASE_URL": "postgresql://owner@127.0.0.1/rita",
    "RABBITMQ_URL": "amqp://127.0.0.1:9//",
    "RABBITMQ_MANAGEMENT_URL": "http://127.0.0.1:9",
    "REDIS_URL": "redis://127.0.0.1:9/0",
    "AUTOMATION_WEBHOOK_URL": "https://automation.example.org/webhook",
    "AUTOMATION_AUTH": "Bearer of-the-tests",
    "WEBHOOK_SIGNING_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "JWT_SECRET": "a-secret-of-the-tests-that-is-long-enough",
    "SEAL_KEYS": Fernet.generate_key().decode(),
    "METRICS_TOKEN": "a-token-of-the-tests",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which all is set."""
    for name, value in EVERYTHING.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def held(settings: Settings) -> set[str]:
    return {name for name in process_settings.RESTRICTED_SETTINGS if getattr(settings, name)}


def test_everything_that_is_guarded_can_be_set() -> None:
    assert {
        name.lower() for name in EVERYTHING
    } | process_settings.TOKEN_VERIFICATION_SETTINGS == process_settings.RESTRICTED_SETTINGS
    assert {
        name for name, field in Settings.model_fields.items() if field.is_required()
    } <= process_settings.RESTRICTED_SETTINGS


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.usefixtures("environment")
def test_a_process_holds_what_it_uses_and_nothing_else_that_is_set(process: str) -> None:
    settings = Settings.from_environment(process)

    assert held(settings) == process_settings.SETTINGS_USED_BY[process] - {"jwt_public_key", "jwt_jwks_url"}
    used = process_settings.SETTINGS_USED_BY[process]
    assert not [value for name, value in EVERYTHING.items() if name.lower() not in used
                and value in settings.model_dump_json()]  # fmt: skip


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_starts_with_what_it_uses_alone(environment: pytest.MonkeyPatch, process: str) -> None:
    for name in EVERYTHING.keys() - process_settings.environment_for_process(process, EVERYTHING).keys():
        environment.delenv(name)

    assert held(Settings.from_environment(process)) <= process_settings.SETTINGS_USED_BY[process]


def test_a_command_holds_what_is_set_and_demands_the_database_alone(environment: pytest.MonkeyPatch) -> None:
    assert held(Settings.from_environment(process_settings.COMMANDS_PROCESS)) == {name.lower() for name in EVERYTHING}
    for name in EVERYTHING.keys() - {"DATABASE_URL"}:
        environment.delenv(name)

    settings = Settings.from_environment(process_settings.COMMANDS_PROCESS)

    assert held(settings) == {"database_url"}
    assert not settings.can_serve_requests
    with pytest.raises(SettingsError, match=r"(?s)RABBITMQ_URL: is missing.*REDIS_URL: is missing"):
        settings.require("database_url", "rabbitmq_url", "redis_url")


@pytest.mark.parametrize("name", ["DATABASE_URL", "SEAL_KEYS", "JWT_SECRET", "METRICS_TOKEN", "VERIFY_RATE_LIMIT"])
def test_a_setting_may_be_a_file(environment: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    value = EVERYTHING.get(name, "7/minute")
    (tmp_path / "secret").write_text(f"{value}\n")
    environment.delenv(name, raising=False)
    environment.setenv(f"{name}_FILE", str(tmp_path / "secret"))

    said = getattr(Settings.from_environment("web"), name.lower())

    assert said == ((value,) if name == "SEAL_KEYS" else value)


def test_what_is_wrong_with_files_is_said_with_all_the_rest(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("REDIS_URL", "JWT_SECRET", "DATABASE_URL"):
        environment.delenv(name)
    environment.setenv("REDIS_URL_FILE", str(tmp_path / "nowhere"))
    environment.setenv("JWT_SECRET_FILE", str(tmp_path / "binary"))
    environment.setenv("SEAL_KEYS_FILE", str(tmp_path / "binary"))

    with pytest.raises(SettingsError) as refused:
        Settings.from_environment("web")

    said = str(refused.value)
    assert "REDIS_URL_FILE: cannot be read: No such file or directory" in said
    assert "JWT_SECRET_FILE: is not a text in UTF-8" in said
    assert "SEAL_KEYS_FILE: SEAL_KEYS is set, too; set one of them" in said
    assert "  DATABASE_URL: is missing" in said
    assert "  REDIS_URL: is missing" not in said


def test_a_process_reads_no_file_of_a_setting_that_it_does_not_use(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("SEAL_KEYS")
    environment.setenv("SEAL_KEYS_FILE", "/nowhere")

    assert Settings.from_environment("beat").rabbitmq_url == EVERYTHING["RABBITMQ_URL"]
    with pytest.raises(SettingsError, match="SEAL_KEYS_FILE: cannot be read"):
        Settings.from_environment("web")


def test_security_md_has_the_same_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", (PROJECT / "SECURITY.md").read_text(), re.MULTILINE)

    told = {process: {name.lower() for name in re.findall(r"`([A-Z_]+)`", uses)} for process, uses in rows}
    assert {process: uses - {"flower_basic_auth"} for process, uses in told.items()} == {
        process: uses
        for process, uses in process_settings.SETTINGS_USED_BY.items()
        if process != process_settings.COMMANDS_PROCESS
    }


@pytest.mark.parametrize("process", [*PROCESSES, "release"])
def test_compose_gives_a_service_what_it_uses(process: str) -> None:
    service = COMPOSE[process]

    given = {name.lower() for name in service["environment"]} & process_settings.RESTRICTED_SETTINGS
    assert given == process_settings.SETTINGS_USED_BY[process]
    # The file of the secrets is for compose itself; the other is that of the settings that are none.
    assert service["env_file"] == [{"path": "settings.env", "required": False}]


def test_no_two_pods_share_a_secret() -> None:
    pods = [manifest["spec"]["template"]["spec"] for manifest in MANIFESTS if "template" in manifest["spec"]]
    containers = [container for pod in pods for container in pod["containers"]]

    secrets = [
        source["secretRef"]["name"] for each in containers for source in each["envFrom"] if "secretRef" in source
    ]
    assert secrets == [f"rita-{each['name']}" for each in containers]


def test_no_example_has_a_secret_among_the_settings_that_are_none() -> None:
    named = {
        file: set(re.findall(r"^(?:# )?([A-Z_]+)=", (PROJECT / file).read_text(), flags=re.MULTILINE))
        for file in (".env.example", "settings.env.example")
    }

    assert {name.lower() for name in named["settings.env.example"]} & process_settings.RESTRICTED_SETTINGS == set()
    assert {name.upper() for name in process_settings.RESTRICTED_SETTINGS} <= named[".env.example"]
