"""What the load saw from outside: presses and their answers, messages that the broker took, what pages were shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tests.e2e.browser import Event
from tests.receiver import Received

Row = Mapping[str, Any]


class Expect(Enum):
    """What a message that the broker took must leave behind."""

    EFFECT = "its effect on the operation"
    DEAD_LETTER = "a dead letter with its body"
    NOTHING = "nothing: it is a copy"


@dataclass(frozen=True)
class Press:
    """One press of a button: `status` is HTTP's, None if there was no answer."""

    kind: str
    connection_id: str
    status: int | None
    operation_id: str | None
    at: float

    @property
    def accepted(self) -> bool:
        return self.status == 200 and self.operation_id is not None


@dataclass(frozen=True)
class Sent:
    """One message, confirmed by the broker. `marker` is the `documents_processed` or the option that is its alone."""

    body: bytes
    expect: Expect
    connection_id: str = ""
    operation_id: str | None = None
    trigger: str = ""
    marker: str = ""


@dataclass
class Evidence:
    """All that the judge looks at; rows are the database's own, of the load's organizations only."""

    presses: list[Press] = field(default_factory=list)
    webhooks: list[Received] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    dead_letters: list[bytes] = field(default_factory=list)
    operations: list[Row] = field(default_factory=list)
    connections: list[Row] = field(default_factory=list)
    audit: list[Row] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    # The status that the pages show at the end, by connection.
    shown: dict[str, str] = field(default_factory=dict)
    # Rows that a second copy of every message changed.
    changed_by_copies: list[str] = field(default_factory=list)
    # From the end of the fault, in seconds; None if there was no end to it.
    recovered_after: float | None = None
    # What goes into the table beside the recovery.
    remark: str = ""
    # Facts that one fault checks for itself.
    wrong: list[str] = field(default_factory=list)
