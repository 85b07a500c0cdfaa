"""A message that is refused says why in a line of a log, however its author named what is in it."""

from __future__ import annotations

import json

import pytest

from app.domain.messages import LONGEST_DETAIL, Unacceptable, parse, require_choices
from tests.factories import a_connection, a_verification_message

LONG = "x" * 100_000


@pytest.mark.parametrize("name", [LONG, f"{LONG}.{LONG}"], ids=["long", "longer than a message"])
def test_the_detail_of_a_refusal_is_bounded(name: str) -> None:
    refusal = Unacceptable("wrong_shape", f"options.{name}: must be one of")

    assert len(refusal.detail) <= LONGEST_DETAIL
    assert str(refusal) == refusal.detail
    assert refusal.detail.endswith("(cut)")


def test_so_is_that_of_a_message_full_of_names() -> None:
    connection = {"id": str(a_connection().id), "organization_id": str(a_connection().organization_id)}
    body = a_verification_message(connection, options={LONG: 7})

    report = parse(json.dumps(body), queue="data_source_status")
    with pytest.raises(Unacceptable) as refused:
        require_choices(report, options_key=LONG)

    assert len(refused.value.detail) <= LONGEST_DETAIL
