"""What may go to a child together, and what may be acknowledged: every order of arrivals, ends and failures."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.status_messages import MessageRefused, parse_report
from tasks.inbox import NO_CONNECTION_KEY, Batch, Delivery, Inbox, UnacknowledgedDeliveries, connection_key_of_body
from tests.factories import a_sync_message, a_verification_message

ROW = {"id": str(uuid4()), "organization_id": str(uuid4())}
OTHER = str(uuid4())
KEY = ROW["id"].encode()


def test_every_spelling_of_a_connections_id_is_one_key() -> None:
    id_ = ROW["id"]
    spellings = [id_, id_.upper(), UUID(id_).hex, f"{{{id_}}}", f"urn:uuid:{id_}"]

    keys = {connection_key_of_body(json.dumps(a_sync_message(ROW, connection_id=each)).encode()) for each in spellings}

    assert keys == {KEY}


@pytest.mark.parametrize(
    "body",
    [
        '{"connection\\u005fid": "ONE", "connection_id": "TWO"}',
        '{"connection_id": "ONE", "connection_\\u0069\\u0064": "TWO"}',
        '{"connection_id": "ONE", "connection_id": "TWO"}',
        '{"options": {"connection_id": "ONE"}, "connection_id" : "TWO"}',
        '{"connection_id": "\\u0030ONE"}',
        '{"connection_id": 7}',
        '{"connection_id": ["ONE"]}',
        '{"connection_id": " ONE"}',
    ],
)
def test_where_the_bytes_do_not_say_for_sure_there_is_no_key(body: str) -> None:
    assert connection_key_of_body(body.replace("ONE", ROW["id"]).replace("TWO", OTHER).encode()) is None


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"no JSON", b"{}", b'{"task": "status.apply_messages"}'])
def test_what_names_no_connection_is_known_to_name_none(body: bytes) -> None:
    assert connection_key_of_body(body) == NO_CONNECTION_KEY


def test_a_text_that_speaks_of_the_field_is_no_field() -> None:
    body = json.dumps(a_sync_message(ROW, "sync_failed", error_message='"connection_id": "x", "connection_id"'))

    assert connection_key_of_body(body.encode()) == KEY


# Bodies made of pieces that could mislead: escapes, copies of the field, the field nested, ids in every spelling.
# Each field is drawn with one choice.
_IDS = [ROW["id"], OTHER, ROW["id"].upper(), f"{{{OTHER}}}", UUID(OTHER).hex, f"urn:uuid:{ROW['id']}", "x"]
_NAMES = [
    '"connection_id"',
    '"connection\\u005fid"',
    '"\\u0063onnection_id"',
    '"connection_\\u0069D"',
    '"connection_ID"',
    '"x"',
]
_SPACES = ["", " ", "\n", "\t \r\n"]
_VALUES = [
    *(json.dumps(id_) for id_ in _IDS),
    *(json.dumps({"connection_id": id_}) for id_ in _IDS),
    *('"' + "".join(f"\\u{ord(letter):04x}" for letter in id_) + '"' for id_ in _IDS),
    *("null", "7", '"connection_id"', '"\\"connection_id\\":"', "[]"),
]
_FIELDS = st.sampled_from(
    [f"{name}{before}:{behind}{value}" for name, before, behind, value in product(_NAMES, _SPACES, _SPACES, _VALUES)]
)
_HONEST = [a_sync_message(ROW), a_verification_message(ROW)]


@given(st.sampled_from(_HONEST), st.lists(_FIELDS, max_size=4), st.randoms(use_true_random=True))
@settings(max_examples=2_000)
def test_a_key_never_contradicts_what_the_message_says(honest: Any, fields: list[str], chance: Any) -> None:
    parts = [f"{json.dumps(name)}: {json.dumps(value, default=str)}" for name, value in honest.items()] + fields
    chance.shuffle(parts)
    body = "{" + ", ".join(parts) + "}"

    key = connection_key_of_body(body.encode())

    try:
        report = parse_report(body, queue_name="data_source_status")
    except MessageRefused:
        return
    assert key in (None, str(report.connection_id).encode())


def arrived(key: bytes | None, number: int, *, size: int = 1) -> Delivery[int]:
    return Delivery(number, connection_key=key, size=size)


def numbers(batch: Batch[int] | None) -> list[int]:
    return [] if batch is None else [delivery.message for delivery in batch.deliveries]


def an_inbox(*keys: bytes | None, largest: int = 10) -> Inbox[int]:
    made: Inbox[int] = Inbox(max_messages=largest)
    for number, key in enumerate(keys):
        made.add(arrived(key, number))
    return made


def test_two_batches_under_way_share_no_connection() -> None:
    inbox = an_inbox(b"a", b"b", b"a", largest=2)

    first, second, none = (
        inbox.take_next_batch(max_bytes=1_000),
        inbox.take_next_batch(max_bytes=1_000),
        inbox.take_next_batch(max_bytes=1_000),
    )

    assert (numbers(first), numbers(second), none) == ([0, 2], [1], None)


def test_what_waits_for_its_connection_goes_when_that_is_free() -> None:
    inbox = an_inbox(b"a")
    first = inbox.take_next_batch(max_bytes=1_000)
    inbox.add(arrived(b"a", 1))
    inbox.add(arrived(b"b", 2))
    assert first

    assert numbers(inbox.take_next_batch(max_bytes=1_000)) == [2]
    inbox.batch_finished(first)

    assert numbers(inbox.take_next_batch(max_bytes=1_000)) == [1]


def test_a_flood_for_one_connection_does_not_hold_up_another_ones_message() -> None:
    inbox = an_inbox(*[b"a"] * 25)
    flood = inbox.take_next_batch(max_bytes=1_000)
    inbox.add(arrived(b"b", 25))
    assert flood

    inbox.batch_finished(flood)

    assert numbers(inbox.take_next_batch(max_bytes=1_000))[0] == 25


def test_a_message_of_nobody_knows_whom_goes_alone_and_nothing_passes_it() -> None:
    inbox = an_inbox(b"a", None, b"b", b"a", None)

    before = inbox.take_next_batch(max_bytes=1_000)
    assert (numbers(before), inbox.take_next_batch(max_bytes=1_000)) == ([0], None)
    assert before
    inbox.batch_finished(before)

    alone = inbox.take_next_batch(max_bytes=1_000)
    assert (numbers(alone), inbox.take_next_batch(max_bytes=1_000)) == ([1, 2, 3, 4], None)


def test_a_batch_has_no_more_messages_and_bytes_than_it_may_and_one_message_at_least() -> None:
    inbox: Inbox[int] = Inbox(max_messages=3)
    for number, size in enumerate([4, 4, 4, 99, 1, 1, 1, 1]):
        inbox.add(arrived(b"%d" % number, number, size=size))

    batches = [numbers(inbox.take_next_batch(max_bytes=10)) for _ in range(5)]

    assert batches == [[0, 1], [2], [3], [4, 5, 6], [7]]


@given(st.data(), st.lists(st.sampled_from([b"a", b"b", b"c", b"d", None]), min_size=1, max_size=60))
@settings(max_examples=500)
def test_whatever_ends_when_each_connections_messages_are_applied_in_the_order_of_their_delivery(
    data: st.DataObject, keys: list[bytes | None]
) -> None:
    inbox: Inbox[int] = Inbox(max_messages=4)
    under_way: list[Batch[int]] = []
    applied: list[Delivery[int]] = []
    coming = [arrived(key, number, size=data.draw(st.integers(1, 15))) for number, key in enumerate(keys)]
    pending = list(coming)
    while len(applied) < len(keys):
        step = data.draw(st.sampled_from(["arrive", "take", "end"]))
        if step == "arrive" and pending:
            inbox.add(pending.pop(0))
        elif step == "take" or (not under_way and not pending):
            if (batch := inbox.take_next_batch(max_bytes=12)) is not None:
                assert not any(
                    batch.connection_keys & other.connection_keys
                    or other.has_unknown_connection
                    or batch.has_unknown_connection
                    for other in under_way
                )
                under_way.append(batch)
        elif under_way:
            ended = under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))
            applied += ended.deliveries
            inbox.batch_finished(ended)

    assert len({delivery.message for delivery in applied}) == len(keys)
    order = defaultdict(list)
    for place, delivery in enumerate(applied):
        order[delivery.connection_key].append((delivery.message, place))
    assert all(sorted(each) == each for each in order.values())
    for unknown, place in order[None]:
        assert all((number < unknown) == (at < place) for each in order.values() for number, at in each if at != place)


class Broker:
    """What AMQP makes of acknowledgements: each message is settled once, and never by mistake."""

    def __init__(self) -> None:
        self.open: set[int] = set()

    def acknowledge(self, oldest: int | None, alone: list[int]) -> None:
        if oldest is not None:
            assert oldest in self.open, "a word on what the broker has had one on closes the channel"
            self.open -= set(range(oldest + 1))
        for number in alone:
            self.open.remove(number)


@given(data=st.data(), count=st.integers(1, 40), most_waiting=st.integers(0, 10), one_by_one=st.booleans())
@settings(max_examples=500)
def test_only_what_is_settled_is_acknowledged_and_once_and_no_more_waits_than_may(
    data: st.DataObject, count: int, most_waiting: int, *, one_by_one: bool
) -> None:
    unsettled: UnacknowledgedDeliveries[int] = UnacknowledgedDeliveries(max_settled_waiting=most_waiting)
    unsettled.must_acknowledge_individually = one_by_one
    broker, deliveries = Broker(), [arrived(b"a", number) for number in range(count)]
    for delivery in deliveries:
        unsettled.add(delivery)
        broker.open.add(delivery.message)
    left = list(deliveries)
    while left:
        size = data.draw(st.integers(1, len(left)))
        chosen = [left.pop(data.draw(st.integers(0, len(left) - 1))) for _ in range(size)]
        oldest, alone = unsettled.settle_and_take_acknowledgeable(chosen)
        if one_by_one:
            assert oldest is None
        broker.acknowledge(oldest, alone)
        waiting = broker.open - {delivery.message for delivery in left}
        assert {delivery.message for delivery in left} <= broker.open
        assert len(waiting) <= (0 if one_by_one else most_waiting)

    assert broker.open == set()


def test_what_is_given_back_is_in_the_order_of_delivery_and_what_is_settled_or_leaving_is_not_among_it() -> None:
    unsettled: UnacknowledgedDeliveries[int] = UnacknowledgedDeliveries(max_settled_waiting=10)
    deliveries = [arrived(b"a", number) for number in range(6)]
    for delivery in deliveries:
        unsettled.add(delivery)
    unsettled.settle_and_take_acknowledgeable([deliveries[3], deliveries[1]])
    deliveries[4].is_being_republished = True

    settled, rest = unsettled.take_all_for_return()

    assert (settled, rest) == ([1, 3], [0, 2, 5])
    assert unsettled.settle_and_take_acknowledgeable([deliveries[4]]) == (4, [])
