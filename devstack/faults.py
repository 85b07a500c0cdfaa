"""How the stand-in misbehaves on demand: one table from a word to a behaviour.

The words come from a key `simulate` in the settings or config ("slow", "flaky,duplicate", 500, a list), or from any
credential value that contains `simulate:word,word`. Several combine, in the order of the table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import reduce
from uuid import uuid4

from devstack.scenarios import Report, texts_in

NOT_KNOWN = "not known"
_IN_A_CREDENTIAL = re.compile(r"simulate:([\w,]+)")
_A_MOMENT = timedelta(milliseconds=300)


@dataclass(frozen=True)
class Refusal:
    """An HTTP answer other than 2xx."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)


Reports = list[Report]


def _accept(_attempt: int) -> Refusal | None:
    return None


def _as_it_is(reports: Reports) -> Reports:
    return reports


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One misbehaviour: at the webhook (attempts count from 1), in the outcome, or in the telling of it."""

    refuse: Callable[[int], Refusal | None] = _accept
    answer_after: timedelta = timedelta(0)
    fails: frozenset[str] = frozenset()
    retell: Callable[[Reports], Reports] = _as_it_is


def _always(status: int) -> Callable[[int], Refusal | None]:
    return lambda _attempt: Refusal(status)


def _at_first(*refusals: Refusal) -> Callable[[int], Refusal | None]:
    return lambda attempt: refusals[attempt - 1] if attempt <= len(refusals) else None


def _delayed(by: timedelta) -> Callable[[Reports], Reports]:
    return lambda reports: [replace(each, happens=each.happens + by, sent=each.sent + by) for each in reports]


def _backwards(reports: Reports) -> Reports:
    """Send the last report first; the timestamps keep telling the truth."""
    end = max((each.sent for each in reports), default=timedelta(0))
    return [replace(each, sent=end + place * _A_MOMENT) for place, each in enumerate(reversed(reports))]


def _rewritten(rewrite: Callable[[dict[str, object]], dict[str, object] | None]) -> Callable[[Reports], Reports]:
    """Change the fields of every report; None drops it."""

    def retell(reports: Reports) -> Reports:
        changed = ((each, rewrite(dict(each.fields))) for each in reports)
        return [replace(each, fields=fields) for each, fields in changed if fields is not None]

    return retell


def _without_operation(fields: dict[str, object]) -> dict[str, object]:
    del fields["operation_id"]
    return fields


def _in_the_older_dialect(fields: dict[str, object]) -> dict[str, object] | None:
    """No `type`, no ids of operations, `completed` and `failed` with `error`; a start was not reported at all."""
    del fields["type"], fields["operation_id"]
    if fields["status"] == "sync_started":
        return None
    fields["status"] = str(fields["status"]).removeprefix("sync_")
    if "error_message" in fields:
        fields["error"] = fields.pop("error_message")
    return fields


def _nonsense_first(reports: Reports) -> Reports:
    return [replace(each, fields={"type": "gossip", "text": "not a status message"}) for each in reports[:1]] + reports


FAULTS = {
    # What happens at the webhook.
    "400": Fault(refuse=_always(400)),
    "500": Fault(refuse=_always(500)),
    "429": Fault(refuse=_at_first(Refusal(429, {"Retry-After": "3"}))),
    "flaky": Fault(refuse=_at_first(Refusal(500), Refusal(503))),
    # Rita gives up on one POST after 12 s. The work is done all the same; the second delivery finds it done.
    "hang": Fault(answer_after=timedelta(seconds=15)),
    # What comes of it.
    "fail": Fault(fails=frozenset({"verification", "sync"})),
    "fail_sync": Fault(fails=frozenset({"sync"})),
    # How it is told.
    "legacy": Fault(retell=_rewritten(_in_the_older_dialect)),
    "no_operation_id": Fault(retell=_rewritten(_without_operation)),
    "other_tenant": Fault(retell=_rewritten(lambda fields: fields | {"tenant_id": str(uuid4())})),
    "nonsense": Fault(retell=_nonsense_first),
    "out_of_order": Fault(retell=_backwards),
    "duplicate": Fault(retell=lambda reports: [copy for each in reports for copy in (each, each)]),
    "slow": Fault(retell=_delayed(timedelta(seconds=20))),
    # Rita waits two minutes for a verification.
    "late": Fault(retell=_delayed(timedelta(seconds=150))),
    "stall": Fault(retell=lambda reports: reports[:1]),
    "silence": Fault(retell=lambda _reports: []),
}


@dataclass(frozen=True)
class Rehearsal:
    """The faults asked for, acting as one."""

    words: tuple[str, ...]

    @property
    def _faults(self) -> list[Fault]:
        return [FAULTS[word] for word in self.words if word != NOT_KNOWN]

    def refusal(self, attempt: int) -> Refusal | None:
        """Return the answer to this attempt (counted from 1), or None to accept it."""
        return next(filter(None, (each.refuse(attempt) for each in self._faults)), None)

    @property
    def answer_after(self) -> timedelta:
        """How long the webhook's caller waits for an answer."""
        return sum((each.answer_after for each in self._faults), timedelta(0))

    def error(self, kind: str) -> str | None:
        """Return why this kind of work fails, or None."""
        if NOT_KNOWN in self.words:
            # The word itself may be part of a secret, so it is not repeated.
            return f"Nothing to simulate by that name; known are {', '.join(sorted(FAULTS))}"
        if any(kind in each.fails for each in self._faults):
            return f"The {kind} failed, as it was asked to"
        return None

    def retell(self, reports: Reports) -> Reports:
        """Return the reports as these faults would have them sent."""
        return reduce(lambda told, each: each.retell(told), self._faults, reports)


def asked_for(settings: Mapping[str, object], *, credentials: Mapping[str, object]) -> Rehearsal:
    """Read the words; all that the table does not have become one NOT_KNOWN."""
    told = settings.get("simulate") or []
    sources = [str(each) for each in told] if isinstance(told, list) else [str(told)]
    sources += [match for text in texts_in(credentials) for match in _IN_A_CREDENTIAL.findall(text)]
    words = {word.strip().lower() for text in sources for word in text.split(",")} - {""}
    known = tuple(word for word in FAULTS if word in words)
    return Rehearsal(known if len(known) == len(words) else (*known, NOT_KNOWN))
