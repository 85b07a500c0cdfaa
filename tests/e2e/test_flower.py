"""Flower shows every task to whoever has its password, and lets nobody stop, start or change anything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from flower.urls import handlers
from tornado.options import options
from tornado.web import RequestHandler

from app.jobs import DELIVER_WEBHOOK_TASK
from tasks import beat_schedule
from tasks.batch_requests import APPLY_MESSAGES_TASK
from tasks.flower import FORGET_WORKER_AFTER_SECONDS, MAX_REMEMBERED_TASKS, limit_history
from tests.e2e.browser import Person
from tests.e2e.processes import FLOWER_AUTH, Processes
from tests.waiting import eventually


def pages() -> Iterator[str]:
    """Yield the path of everything that Flower answers a GET with, but its style sheets and its door."""
    for entry in handlers:
        pattern, handler = (
            (entry[0], entry[1]) if isinstance(entry, tuple) else (entry.regex.pattern, entry.handler_class)
        )
        path = pattern.removesuffix("$").replace("(.+)", "x").replace("(.*)", "x")
        if handler.get is not RequestHandler.get and not path.startswith(("/static", "/log", ".")):
            yield path


PAGES = sorted(pages())

SHOWN = {DELIVER_WEBHOOK_TASK, APPLY_MESSAGES_TASK, beat_schedule.PURGE_TASK}


def changes() -> Iterator[str]:
    """Yield the path of everything that Flower's API does, with the name of a worker or task in it."""
    for pattern, handler, *_ in (entry for entry in handlers if isinstance(entry, tuple)):
        if pattern.startswith("/api/") and handler.post is not RequestHandler.post:
            yield pattern.replace("(.+)", "housekeeping.purge" if "/task/" in pattern else "webhooks@host")


CHANGES = sorted(changes())


@pytest.mark.parametrize("auth", [None, (FLOWER_AUTH[0], "wrong"), ("", "")], ids=["none", "wrong", "empty"])
@pytest.mark.parametrize("path", PAGES)
def test_a_page_of_flower_without_the_password_is_refused(
    rita: Processes, path: str, auth: tuple[str, str] | None
) -> None:
    answer = requests.get(rita.flower_url + path, auth=auth, timeout=30)

    assert answer.status_code == requests.codes.unauthorized


@pytest.mark.parametrize("path", ["/tasks/datatable", *CHANGES])
def test_an_action_of_flower_without_the_password_is_refused(rita: Processes, path: str) -> None:
    answer = requests.post(rita.flower_url + path, json={"args": []}, timeout=30)

    assert answer.status_code in (requests.codes.unauthorized, requests.codes.forbidden)


def test_flower_has_the_pages_that_are_tried_here() -> None:
    assert {"/", "/workers", "/tasks", "/broker", "/api/workers", "/api/tasks", "/metrics", "/healthcheck"} <= set(
        PAGES
    )


def test_flower_has_the_actions_that_are_tried_here() -> None:
    assert len(CHANGES) >= 14
    assert {"/api/worker/shutdown/webhooks@host", "/api/task/revoke/housekeeping.purge"} <= set(CHANGES)


@pytest.mark.parametrize("path", CHANGES)
def test_an_action_of_flower_is_refused_with_the_password_too(rita: Processes, path: str) -> None:
    answer = requests.post(rita.flower_url + path, json={"args": []}, auth=FLOWER_AUTH, timeout=30)

    assert answer.status_code == requests.codes.forbidden
    assert answer.text == "Read only mode is enabled"


def test_flower_remembers_so_much_and_forgets_who_is_gone() -> None:
    limit_history()

    assert options.max_tasks == MAX_REMEMBERED_TASKS
    assert options.purge_offline_workers == FORGET_WORKER_AFTER_SECONDS


def test_flower_names_tasks_by_what_they_do_and_leaves_out_the_sweeps_of_each_second(
    rita: Processes, ada: Person
) -> None:
    ada.verify(ada.seeded())

    def names() -> set[str]:
        tasks = requests.get(f"{rita.flower_url}/api/tasks", auth=FLOWER_AUTH, timeout=30).json()
        # Of a task that began before Flower was there, it has heard the end alone.
        return {task["name"] for task in tasks.values() if task["received"]}

    eventually(lambda: DELIVER_WEBHOOK_TASK in names())

    assert names() <= SHOWN


@pytest.mark.parametrize("path", ["/", "/tasks", "/api/tasks", "/metrics", "/healthcheck"])
def test_a_page_of_flower_opens_with_the_password(rita: Processes, path: str) -> None:
    answer = requests.get(rita.flower_url + path, auth=FLOWER_AUTH, timeout=30)

    assert answer.status_code == requests.codes.ok
