"""A fault of ours after the commit: what is written counts, nobody is told otherwise, and the log has it."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from app.domain.aggregate import Change
from app.outbound import events
from tests.factories import Browser

PATH = "/api/data-sources"


def faults(caplog: pytest.LogCaptureFixture) -> list[tuple[str, Any]]:
    said = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    return [(event["event"], event.get("exc_info")) for event in said if event["level"] == "error"]


@pytest.fixture
def ada(web: Flask) -> Browser:
    return Browser(web)


def stumble(*_: Any, **__: Any) -> Any:
    raise KeyError("of ours")


@pytest.mark.parametrize(
    ("place", "logged"),
    [
        ("app.outbound.events.event_payload", "event_not_made"),
        ("app.outbound.events.EventStream.publish_all", "promise_not_kept"),
    ],
)
def test_a_change_is_answered_as_what_it_is_done(
    ada: Browser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str, logged: str
) -> None:
    path = f"{PATH}/{ada.seeded()}"
    monkeypatch.setattr(place, stumble)

    answer = ada.patch(path, {"name": "Wiki", "config": {"spaces": "ENG"}})

    assert answer.status_code == 200
    assert answer.json["data"]["name"] == "Wiki"
    assert ada.get(path).json["data"] == answer.json["data"]
    assert faults(caplog) == [(logged, True)]
    # The answer's own ETag fits, and the same once more is no change.
    again = ada.patch(path, {"name": "Wiki"}, headers={"If-Match": answer.headers["ETag"]})
    assert (again.status_code, again.headers["ETag"]) == (200, answer.headers["ETag"])


def test_a_press_is_accepted_and_its_job_is_sent(
    ada: Browser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ada.put(f"{PATH}/websearch", {})
    path = f"{PATH}/{ada.connection('websearch')['id']}/sync"
    monkeypatch.setattr("app.outbound.events.EventStream.publish_all", stumble)

    pressed = ada.post(path)

    assert pressed.status_code == 200
    assert faults(caplog) == [("promise_not_kept", True)]
    assert ada.post(path).json["code"] == "sync_in_progress"


def test_an_event_that_cannot_be_made_costs_none_of_the_same_change(
    ada: Browser, web: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    honest = events.event_for_change

    def choosy(change: Change, **told: Any) -> events.ChannelEvent:
        if change.connection.type == "sharepoint":
            raise KeyError(change.connection.type)
        return honest(change, **told)

    monkeypatch.setattr(events, "event_for_change", choosy)

    assert ada.post(f"{PATH}/seed").json["created"] == 4

    channel = events.channel_of_organization(ada.organization_id)
    assert web.extensions["redis"].xlen(f"{channel}:events") == 3
    assert faults(caplog) == [("event_not_made", True)]
