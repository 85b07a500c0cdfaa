"""From what was seen to one row of the table. Pure: every figure is counted here, by the rule beside it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from tests.faults.ledger import Evidence, Expect, Row, Sent

OPEN = {"pending", "delivered", "running"}
ANSWERED = {"succeeded", "failed"}
UNANSWERED = {"undelivered", "expired"}
# The columns of a connection in which its last operation of a kind tells its error.
ERRORS = {"verify": "last_verification_error", "sync": "last_sync_error"}
STATUSES = {"verify": "verifying", "sync": "syncing"}
# An audit row for each of these would mean that one operation did the same thing twice.
ONCE = ("requested", "started", "succeeded", "failed", "undelivered", "expired", "replaced")
LONGEST_RECOVERY = 30.0


@dataclass(frozen=True)
class Verdict:
    """One row of the table; each list holds a sentence for each thing that should not have been."""

    pressed: int
    accepted: int
    webhooks: int
    opened: int
    ended: int
    duplicates: list[str]
    lost: list[str]
    stuck: list[str]
    wrong: list[str]
    recovered_after: float | None
    remark: str = ""

    @property
    def problems(self) -> list[str]:
        found = [*self.duplicates, *self.lost, *self.stuck, *self.wrong]
        if self.recovered_after is None:
            return [*found, "did not recover"]
        if self.recovered_after > LONGEST_RECOVERY:
            return [*found, f"took {self.recovered_after:.0f} s to recover"]
        return found


def judge(seen: Evidence) -> Verdict:
    """Judge one fault."""
    return Verdict(
        pressed=len(seen.presses),
        accepted=sum(press.accepted for press in seen.presses),
        webhooks=len(seen.webhooks),
        opened=len(seen.operations),
        ended=sum(row["state"] not in OPEN for row in seen.operations),
        duplicates=[*_acted_twice(seen), *_told_twice(seen), *_asked_differently(seen), *seen.changed_by_copies],
        lost=[*_lost_presses(seen), *lost_messages(seen)],
        stuck=[*_still_open(seen), *_shown_wrongly(seen)],
        wrong=[*seen.wrong, *_broken_answers(seen)],
        recovered_after=seen.recovered_after,
        remark=seen.remark,
    )


def _acted_twice(seen: Evidence) -> Iterator[str]:
    """Two audit rows of one step of one operation; an answer after an expiry is one of each, which is its repair."""
    steps = Counter((str(row["operation_id"]), row["action"]) for row in seen.audit if row["operation_id"])
    for (operation_id, action), count in steps.items():
        if count > 1 and action.partition(".")[2] in ONCE:
            yield f"operation {operation_id}: {count} audit rows of {action}"
    answers = Counter(
        str(row["operation_id"]) for row in seen.audit if row["action"].partition(".")[2] in ANSWERED | {"replaced"}
    )
    for operation_id, count in answers.items():
        if count > 1 and operation_id != "None":
            yield f"operation {operation_id} was ended {count} times"


def _told_twice(seen: Evidence) -> Iterator[str]:
    """Two events, with ids of their own, for one step of one operation; one that is replayed keeps its id."""
    ids = defaultdict(set)
    for event in seen.events:
        if event.type == "data_source_update" and "operation_id" in event.data:
            ids[event.data["operation_id"], event.data["change"]].add(event.id)
    for (operation_id, change), found in ids.items():
        if len(found) > 1 and not change.endswith((".progress", ".delayed")):
            yield f"operation {operation_id}: {len(found)} events of {change}"


def _asked_differently(seen: Evidence) -> Iterator[str]:
    """A webhook that came again with another body, or under an id that is not its operation's."""
    bodies = defaultdict(set)
    for webhook in seen.webhooks:
        operation_id = webhook.json["operation_id"]
        bodies[operation_id].add(webhook.body)
        if webhook.headers.get("webhook-id") != operation_id:
            yield f"operation {operation_id}: its webhook came under the id {webhook.headers.get('webhook-id')}"
    yield from (f"operation {key}: {len(found)} different bodies" for key, found in bodies.items() if len(found) > 1)


def _lost_presses(seen: Evidence) -> Iterator[str]:
    """An accepted press without an operation; or one that ended neither delivered nor with its error told."""
    operations = {str(row["id"]): row for row in seen.operations}
    received = {webhook.json["operation_id"] for webhook in seen.webhooks}
    audited = {(str(row["operation_id"]), row["action"]) for row in seen.audit}
    for press in seen.presses:
        if press.accepted and press.operation_id not in operations:
            yield f"the accepted {press.kind} {press.operation_id} has no row"
    for key, row in operations.items():
        if row["origin"] != "user":
            continue
        if row["state"] in ANSWERED | {"delivered", "running"} and key not in received:
            yield f"operation {key} is {row['state']}, but its webhook was never received"
        if row["state"] in UNANSWERED and (not row["error"] or (key, f"{row['kind']}.{row['state']}") not in audited):
            yield f"operation {key} is {row['state']}, and nobody was told"
    for connection, kind, newest in _newest_ended(seen):
        if newest["state"] in UNANSWERED and connection[ERRORS[kind]] != newest["error"]:
            yield f"operation {newest['id']} is {newest['state']}, but its connection says {connection[ERRORS[kind]]!r}"


def _newest_ended(seen: Evidence) -> Iterator[tuple[Row, str, Row]]:
    for connection in seen.connections:
        for kind in ERRORS:
            rows = [
                row
                for row in seen.operations
                if row["connection_id"] == connection["id"] and row["kind"] == kind and row["state"] not in OPEN
            ]
            if rows:
                yield connection, kind, max(rows, key=lambda row: str(row["id"]))


def lost_messages(seen: Evidence) -> Iterator[str]:
    """A confirmed message that left neither its effect nor a dead letter."""
    operations = {str(row["id"]): row for row in seen.operations}
    buried = Counter(seen.dead_letters)
    unnamed: list[Sent] = []
    for sent in seen.sent:
        if sent.expect is Expect.NOTHING:
            continue
        if buried[sent.body] > 0:
            buried[sent.body] -= 1
        elif sent.expect is Expect.DEAD_LETTER:
            yield f"a message that cannot be applied is not among the dead letters: {sent.body[:80]!r}"
        elif sent.operation_id is None:
            unnamed.append(sent)
        elif not _took(operations.get(sent.operation_id), sent):
            yield f"operation {sent.operation_id} shows nothing of {sent.trigger} ({sent.marker})"
    yield from _lost_unnamed(seen, unnamed)


def _lost_unnamed(seen: Evidence, messages: list[Sent]) -> Iterator[str]:
    """The same of syncs that the service started itself, which name no operation and are told by their marker.

    A start leaves nothing of its own once its end is applied.
    """
    marked = defaultdict(set)
    for row in seen.operations:
        if row["origin"] == "service" and row["state"] not in OPEN and row["documents_processed"] is not None:
            marked[str(row["connection_id"])].add(row["documents_processed"])
    for sent in messages:
        if sent.trigger != "started" and int(sent.marker) not in marked[sent.connection_id]:
            yield f"connection {sent.connection_id} shows nothing of {sent.trigger} ({sent.marker})"


def _took(operation: Row | None, sent: Sent) -> bool:
    if operation is None:
        return False
    if operation["state"] == "replaced":
        # Nothing more is taken for it.
        return True
    if sent.trigger == "started":
        return operation["started_at"] is not None
    if operation["kind"] == "sync" and sent.trigger == "succeeded":
        return operation["state"] == "succeeded" and str(operation["documents_processed"]) == sent.marker
    return bool(operation["state"] == sent.trigger)


def _still_open(seen: Evidence) -> Iterator[str]:
    """An operation that is still open when all was waited for: deadlines, a claim behind the last one, a sweep."""
    for row in seen.operations:
        if row["state"] in OPEN:
            yield f"operation {row['id']} ({row['kind']}) is still {row['state']}, due {row['deadline_at']}"


def _shown_wrongly(seen: Evidence) -> Iterator[str]:
    """A connection whose status does not follow from its open operations, or a page that shows another one."""
    running = defaultdict(set)
    for row in seen.operations:
        if row["state"] in OPEN:
            running[row["connection_id"]].add(row["kind"])
    for row in seen.connections:
        kinds = running[row["id"]]
        right = STATUSES["sync"] if "sync" in kinds else STATUSES["verify"] if kinds else "idle"
        if row["status"] != right:
            yield f"connection {row['id']} is {row['status']}, its operations say {right}"
        shown = seen.shown.get(str(row["id"]))
        if shown is not None and shown != row["status"]:
            yield f"a page shows connection {row['id']} as {shown}, it is {row['status']}"


def _broken_answers(seen: Evidence) -> Iterator[str]:
    """Answers that admit a fault of the product's; no fault of anything else excuses one."""
    for press in seen.presses:
        if press.status == 500:
            yield f"a {press.kind} of connection {press.connection_id} was answered 500"
