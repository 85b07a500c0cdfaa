"""A message that is refused says why in a line of a log, however its author named what is in it."""

from __future__ import annotations

import json

import pytest

from app.domain.status_messages import MAX_REFUSAL_DETAIL_LENGTH, MessageRefused, parse_report, require_readable_options
from tests.factories import a_connection, a_verification_message

LONG = "x" * 100_000


@pytest.mark.parametrize("name", [LONG, f"{LONG}.{LONG}"], ids=["long", "longer than a message"])
def test_the_detail_of_a_refusal_is_bounded(name: str) -> None:
    refusal = MessageRefused("wrong_shape", f"options.{name}: must be one of")

    assert len(refusal.detail) <= MAX_REFUSAL_DETAIL_LENGTH
    assert str(refusal) == refusal.detail
    assert refusal.detail.endswith("(cut)")


def test_so_is_that_of_a_message_full_of_names() -> None:
    connection = {"id": str(a_connection().id), "organization_id": str(a_connection().organization_id)}
    body = a_verification_message(connection, options={LONG: 7})

    report = parse_report(json.dumps(body), queue_name="data_source_status")
    with pytest.raises(MessageRefused) as refused:
        require_readable_options(report, options_key=LONG)

    assert len(refused.value.detail) <= MAX_REFUSAL_DETAIL_LENGTH
