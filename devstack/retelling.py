"""Other ways to tell the same reports. Pure: each returns a new list."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from devstack.reports import Report

_A_MOMENT = timedelta(milliseconds=300)


def delayed(reports: Sequence[Report], *, by: timedelta) -> list[Report]:
    """Let everything happen later."""
    return [replace(each, happens=each.happens + by, sent=each.sent + by) for each in reports]


def backwards(reports: Sequence[Report]) -> list[Report]:
    """Send the last report first; the timestamps keep telling the truth."""
    end = max((each.sent for each in reports), default=timedelta(0))
    return [replace(each, sent=end + place * _A_MOMENT) for place, each in enumerate(reversed(reports))]


def rewritten(reports: Sequence[Report], *, leave_out: Collection[str], instead: Mapping[str, object]) -> list[Report]:
    """Leave some fields out, and say others differently."""
    told = []
    for each in reports:
        fields = {key: value for key, value in each.fields.items() if key not in leave_out}
        dated = each.dated and "timestamp" not in leave_out
        told.append(replace(each, fields=fields | dict(instead), dated=dated))
    return told


def preceded(reports: Sequence[Report], *, by: Sequence[Mapping[str, object]]) -> list[Report]:
    """Send other messages just before the first report."""
    return [replace(each, fields=fields) for each in reports[:1] for fields in by] + list(reports)


def in_the_old_dialect(reports: Sequence[Report]) -> list[Report]:
    """No `type`, no ids of operations, `completed` and `failed` with `error`; a start was not reported at all."""
    told = []
    for each in reports:
        fields = {key: value for key, value in each.fields.items() if key not in ("type", "operation_id")}
        if fields["status"] == "sync_started":
            continue
        fields["status"] = str(fields["status"]).removeprefix("sync_")
        if "error_message" in fields:
            fields["error"] = fields.pop("error_message")
        told.append(replace(each, fields=fields))
    return told
