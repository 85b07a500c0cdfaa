"""docker-compose.yml against the Procfile and the settings: what one gains, the other must not lack."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml
from honcho.environ import parse_procfile

from app.config import Settings
from devstack import settings
from tests.demo import made_by_the_script
from tests.project import PROJECT

LINES: dict[str, str] = dict(parse_procfile((PROJECT / "Procfile").read_text()).processes)
COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
# Where one of them runs several alike and the other one container, and what a container must listen on.
DIFFERS = re.compile(r'-n \S+|--(?:address|port)=\S+|FLASK_SKIP_DOTENV=1|\bset [^}]*|Flower shows[^}]*|["\']')


def words(command: str) -> list[str]:
    """Return the words of a command that both must agree in."""
    return DIFFERS.sub("", command.replace("$$", "$")).replace("exec ", "").split()


@pytest.mark.parametrize("name", sorted(LINES))
def test_every_line_of_the_procfile_is_a_service_that_does_the_same(name: str) -> None:
    command = SERVICES[name]["command"]

    shell = command[2] if command[0] == "/bin/sh" else " ".join(command)
    assert words(shell) == words(LINES[name])


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"release", "rights"}))
def test_every_service_that_stays_is_checked_and_started_again(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_nothing_is_published_beyond_this_machine() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_the_example_of_the_environment_names_settings_that_there_are() -> None:
    example = "\n".join((PROJECT / file).read_text() for file in (".env.example", "settings.env.example"))

    named = set(re.findall(r"^(?:# )?([A-Z_]+)=", example, flags=re.MULTILINE))
    of_compose = set(re.findall(r"\$\{([A-Z_]+)", (PROJECT / "docker-compose.yml").read_text()))
    assert named - {name.upper() for name in Settings.model_fields} - of_compose == set()
    required = {name.upper() for name, field in Settings.model_fields.items() if field.is_required()}
    assert required <= named


def test_the_page_of_settings_has_every_setting_with_its_default_and_is_up_to_date() -> None:
    found = {cells[1].strip(" `"): cells for cells in (row.split("|") for row in settings.rows())}

    assert {name.upper() for name in Settings.model_fields} <= found.keys()
    assert found["SYNC_RETRY_SECONDS"][3].strip() == "`5,30,120,240,480`"
    assert settings.drift() == []


def test_the_page_of_settings_knows_what_the_procfile_reads() -> None:
    read = {name for line in LINES.values() for name in re.findall(r"\$\{([A-Z_]+)", line)}

    assert read <= settings.OF_THE_PROCFILE.keys() | {name.upper() for name in Settings.model_fields}


def test_the_external_services_user_has_the_rights_of_the_runbook_and_no_more() -> None:
    runbook = (PROJECT / "docs" / "operations.md").read_text()
    (granted,) = re.findall(r"set_permissions external_service +'(.*?)' +'(.*?)' +'(.*?)'$", runbook, re.MULTILINE)

    rights = runpy.run_path(str(PROJECT / "docker" / "rabbitmq" / "rights.py"))["RIGHTS"]
    assert (rights["configure"], rights["write"], rights["read"]) == granted
    assert "rights.py" in SERVICES["rights"]["command"][1]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_bounded_and_of_an_exact_version(name: str) -> None:
    service = SERVICES[name]

    assert service["mem_limit"]
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert "build" in service or re.search(r":\d+\.\d+(\.\d+)?(-\w+)?$", service["image"])


def test_the_images_python_is_of_an_exact_version() -> None:
    dockerfile = (PROJECT / "Dockerfile").read_text()

    assert re.search(r"^ARG PYTHON=3\.\d+\.\d+-slim-\w+$", dockerfile, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {
        "python:${PYTHON}",
        "dependencies",
        "production",
        "demo",
    }


def test_our_own_changes_leave_the_layer_of_the_packages_alone() -> None:
    stages = (PROJECT / "Dockerfile").read_text().split("\nFROM ")
    (packages,) = [stage for stage in stages if "AS dependencies" in stage]

    assert re.findall(r"^COPY (?!--from)(.*)", packages, re.MULTILINE) == ["locks ./locks"]


@pytest.mark.parametrize("name", sorted(name for name in SERVICES if "build" in SERVICES[name]))
def test_what_is_ours_writes_nothing_but_its_tmp_and_has_no_rights(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"]
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108 - a container's
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_no_health_check_starts_a_second_celery() -> None:
    checks = {name: service["healthcheck"]["test"] for name, service in SERVICES.items() if "healthcheck" in service}

    assert {name for name, check in checks.items() if re.search(r"celery|-m tasks", " ".join(check))} == set()


def test_redis_forgets_nothing_to_make_room_and_has_a_password_that_no_list_of_processes_shows() -> None:
    redis = SERVICES["redis"]

    assert "--maxmemory-policy noeviction" in redis["command"][-1]
    assert redis["command"][-1].startswith("exec redis-server - ")
    assert redis["command"][-1].endswith("<<END\nrequirepass $$REDIS_PASSWORD\nEND\n")
    assert SERVICES["web"]["environment"]["REDIS_URL"].startswith("redis://:${REDIS_PASSWORD:?")


def test_whatever_is_published_can_be_published_elsewhere() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert [port for port in ports if not re.match(r"127\.0\.0\.1:\$\{[A-Z_]*PORT:-\d+\}:\d+$", port)] == []


def test_the_stand_in_is_there_in_the_demo_alone_on_the_loopback_interface_of_whoever_calls_it(tmp_path: Path) -> None:
    demo = SERVICES["external_service"]
    assert demo["profiles"] == ["demo"]
    assert demo["network_mode"] == "service:webhook_worker"
    assert {name for name, service in SERVICES.items() if service.get("profiles")} == {"external_service"}

    variables, words = made_by_the_script(tmp_path)

    assert words == "compose --env-file .env.demo --profile demo up --build"
    assert variables["AUTOMATION_WEBHOOK_URL"] == "http://127.0.0.1:8090/webhook"
    demanded = set(re.findall(r"\$\{([A-Z_]+):\?", (PROJECT / "docker-compose.yml").read_text()))
    assert demanded <= {name for name, value in variables.items() if value}


def test_the_demos_secrets_are_made_once_and_are_settings_that_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables, _ = made_by_the_script(tmp_path)
    assert made_by_the_script(tmp_path)[0] == variables
    assert (tmp_path / ".env.demo").stat().st_mode & 0o077 == 0

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    servers = {"DATABASE_URL": "postgresql://h/d", "RABBITMQ_URL": "amqp://h//", "REDIS_URL": "redis://h/0"}
    for name, url in servers.items():
        monkeypatch.setenv(name, url)
    assert Settings.from_environment("web").jwt_secret == variables["JWT_SECRET"]
    assert Settings.from_environment("webhook_worker").automation_auth == variables["AUTOMATION_AUTH"]


def test_no_script_puts_a_password_into_the_list_of_processes() -> None:
    """A program's arguments are for everybody on the machine to read, a container's for its host, too."""
    scripts = {path: path.read_text() for path in (PROJECT / "docker").rglob("*.sh")}
    # What a shell does by itself starts no program.
    own = re.compile(r"^\s*(?:#|echo\b|:|export\b|\w+=)")

    assert scripts
    told = [
        line.strip()
        for text in scripts.values()
        for line in re.sub(r"\\\n", " ", text).splitlines()
        if re.search(r"\$\{?\w*(?:PASSWORD|SECRET|TOKEN|AUTH)\b", line) and not own.match(line)
    ]
    assert told == []
