"""A member who presses on and on: what each press leaves for the length of the history is little."""

from __future__ import annotations

import pytest
from flask import Flask

from app.domain.transitions import transition
from tests.factories import NOON, Browser, a_connection, an_operation, rows

PATH = "/api/data-sources"
LARGE = "ENG," * 50_000
KEPT = "SELECT coalesce(sum(length(request::text)), 0) AS kept FROM operations"


def test_of_syncs_that_were_replaced_or_sent_no_configuration_is_kept(web: Flask, owner: Browser) -> None:
    """Each is as large as a configuration may be; a minute's syncs would be fifteen megabytes, for ninety days."""
    member = Browser(web, organization_id=owner.organization_id, role="member")
    connection = member.put(f"{PATH}/websearch", {"config": {"spaces": LARGE}}).json["data"]["id"]

    pressed = [member.post(f"{PATH}/{connection}/sync", {"force": True}).status_code for _ in range(5)]
    (waiting,) = rows(web, KEPT)
    owner.post(f"/api/operations/{owner.connection('websearch')['operation']['id']}/end")
    (over,) = rows(web, KEPT)

    assert pressed == [200] * 5
    assert len(LARGE) < waiting["kept"] < len(LARGE) + 1_000
    assert over["kept"] < 100


@pytest.mark.parametrize("trigger", ["delivered", "started", "succeeded", "gave_up", "expired", "replaced"])
def test_what_is_posted_no_more_is_not_kept(trigger: str) -> None:
    operation = an_operation(a_connection(config={"spaces": LARGE}), state="pending")
    assert operation.request["config"]["spaces"] == LARGE

    assert transition(operation, trigger, now=NOON)

    assert operation.request == {}
