"""What is judged, one row each: its words and the section of `docs/integration.md` behind it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

CLAUSES: dict[str, tuple[str, str]] = {
    "authorization": ("2.2", "A webhook without the agreed Authorization is refused with 400, 401 or 403"),
    "signature": ("2.2", "A signature made with another secret is refused with 400, 401 or 403"),
    "old_timestamp": ("2.2", "A signature of an hour ago is refused with 400, 401 or 403"),
    "refused_silently": ("2.2", "What was refused is not acted on"),
    "accepted": ("2.3", "A webhook by the book is answered 2xx in time"),
    "unknown_keys": ("2.1", "A key that is not known yet changes nothing"),
    "repeated_answer": ("2.4", "A webhook that comes again is answered 2xx again"),
    "acted_once": ("2.4", "A webhook that comes again is not acted on again"),
    "own_credentials": ("2.5", "A sync uses the credentials of its own tenant and connection only"),
    "queue": ("3.1", "The queue is declared durable, with no other argument"),
    "persistent": ("3.1", "Messages are persistent and go through the default exchange"),
    "shape": ("3.2, 3.3", "Every message fits its schema"),
    "address": ("3.2, 3.3", "Every message carries the tenant and connection of its webhook"),
    "no_credentials": ("3.2, 3.3", "No message holds a credential"),
    "good_credentials": ("3.2", "Good credentials succeed"),
    "bad_credentials": ("3.2", "Bad credentials fail, with words for a person"),
    "unreachable": ("3.2", "A source that cannot be reached fails, with words for a person"),
    "sync_completes": ("3.3", "After good credentials a sync completes"),
    "verification_in_time": ("3.4", "Every verification is answered in time"),
    "sync_in_time": ("3.4", "Every sync comes to an end in time"),
    "echo": ("3.5", "The operation's id is echoed in every message"),
    "order": ("3.5", "A sync starts before it ends, and its timestamps rise, by a clock that is set"),
}


class Result(StrEnum):
    """How a row ends."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "FAIL"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True)
class Row:
    """One row of the table; `detail` says what was seen, or why it could not be judged."""

    id: str
    result: Result
    detail: str = ""

    @property
    def clause(self) -> str:
        """The section of `docs/integration.md`."""
        return CLAUSES[self.id][0]

    @property
    def words(self) -> str:
        """What is asked of the service."""
        return CLAUSES[self.id][1]
