"""docker-compose.yml, brought up: health, a press, a crash, a stop and a start."""

from __future__ import annotations

import os
import re
import signal

import pytest

from tests.containers.compose import Stack
from tests.containers.podman import inspect, podman
from tests.containers.press import CREDENTIALS, Person
from tests.waiting import eventually

# The images are built for the first of them, and the machine may have other work.
pytestmark = pytest.mark.timeout(900)

JOBS = {"release", "rights"}


def signed_in(stack: Stack) -> Person:
    """Somebody who opened the first link in the demo's log."""
    return Person(eventually(lambda: re.search(r"http://\S+#token=\S+", stack.log("external_service")))[0])


def test_every_service_comes_up_and_says_so_to_its_health_check(stack: Stack) -> None:
    stack.becomes_healthy()

    assert {name: stack.exit_code(name) for name in JOBS} == dict.fromkeys(JOBS, 0)


def test_a_person_signs_in_by_a_link_and_verifies_and_syncs(stack: Stack) -> None:
    ada = signed_in(stack)
    assert ada.sees_the_page()

    ada.begins()
    ada.verifies()
    ada.syncs()

    assert ada.confluence["latest_options"]


def test_a_redis_that_is_full_refuses_what_is_new(stack: Stack) -> None:
    def bounded(memory: str) -> None:
        command = f'REDISCLI_AUTH="$REDIS_PASSWORD" redis-cli config set maxmemory {memory}'
        assert podman("exec", stack.container("redis"), "sh", "-c", command) == "OK"

    ada = signed_in(stack)
    bounded("1mb")
    ada.presses("verify", {"credentials": CREDENTIALS, "settings": {}}, status=503)
    bounded("512mb")

    ada.verifies()


def test_what_ends_by_itself_is_started_again(stack: Stack) -> None:
    before = inspect(stack.container("worker"))["State"]["Pid"]

    os.kill(before, signal.SIGKILL)

    eventually(lambda: inspect(stack.container("worker"))["State"]["Pid"] not in (0, before), within=30)
    stack.becomes_healthy("worker")


def test_a_container_holds_no_more_memory_and_rights_than_the_file_says(stack: Stack) -> None:
    for name in stack.services:
        configured = inspect(stack.container(name))["HostConfig"]
        assert configured["Memory"] == int(stack.services[name]["mem_limit"]), name
    assert (
        podman("exec", stack.container("web"), "sh", "-c", "touch /srv/x 2>/dev/null || echo read-only") == "read-only"
    )
    assert podman("exec", stack.container("web"), "grep", "CapEff", "/proc/1/status").split()[1] == "0" * 16


def test_all_of_it_stops_in_order_within_its_grace_and_starts_again_with_what_it_knew(stack: Stack) -> None:
    ended = stack.stop()

    assert {name: code for name, (code, _) in ended.items()} == dict.fromkeys(ended, 0)
    assert {name: took for name, (_, took) in ended.items() if took > stack.grace(name)} == {}

    stack.start_again()

    stack.becomes_healthy()
    ada = signed_in(stack)
    assert ada.confluence["last_sync_status"] == "completed"
    ada.verifies()
