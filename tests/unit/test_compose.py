"""docker-compose.yml against the Procfile and the settings: what one gains, the other must not lack."""

from __future__ import annotations

import re
import runpy
from typing import Any

import pytest
import yaml
from honcho.environ import parse_procfile

from app.config import Settings
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


def test_the_readme_explains_every_setting() -> None:
    readme = (PROJECT / "README.md").read_text()

    assert [name for name in Settings.model_fields if f"`{name.upper()}`" not in readme] == []


def test_the_external_services_user_has_the_rights_of_the_runbook_and_no_more() -> None:
    runbook = (PROJECT / "docs" / "operations.md").read_text()
    (granted,) = re.findall(r"set_permissions external_service +'(.*?)' +'(.*?)' +'(.*?)'$", runbook, re.MULTILINE)

    rights = runpy.run_path(str(PROJECT / "docker" / "rabbitmq" / "rights.py"))["RIGHTS"]
    assert (rights["configure"], rights["write"], rights["read"]) == granted
    assert "rights.py" in SERVICES["rights"]["command"][1]
