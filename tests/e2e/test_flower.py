"""Flower shows every task and can stop workers: nobody sees or does anything without its password."""

from __future__ import annotations

import pytest
import requests

from tests.e2e.processes import FLOWER_AUTH, Processes

PAGES = ["/", "/workers", "/tasks", "/broker", "/api/workers", "/api/tasks", "/api/task/types", "/api/queues/length"]
ACTIONS = ["/tasks/datatable", "/api/task/async-apply/housekeeping.purge", "/api/task/send-task/housekeeping.purge"]


@pytest.mark.parametrize("auth", [None, (FLOWER_AUTH[0], "wrong"), ("", "")], ids=["none", "wrong", "empty"])
@pytest.mark.parametrize("path", PAGES)
def test_a_page_of_flower_without_the_password_is_refused(
    rita: Processes, path: str, auth: tuple[str, str] | None
) -> None:
    answer = requests.get(rita.flower_url + path, auth=auth, timeout=30)

    assert answer.status_code == requests.codes.unauthorized


@pytest.mark.parametrize("path", ACTIONS)
def test_an_action_of_flower_without_the_password_is_refused(rita: Processes, path: str) -> None:
    answer = requests.post(rita.flower_url + path, json={"args": []}, timeout=30)

    assert answer.status_code in (requests.codes.unauthorized, requests.codes.forbidden)


@pytest.mark.parametrize("path", ["/", "/tasks", "/api/tasks"])
def test_a_page_of_flower_opens_with_the_password(rita: Processes, path: str) -> None:
    answer = requests.get(rita.flower_url + path, auth=FLOWER_AUTH, timeout=30)

    assert answer.status_code == requests.codes.ok
