"""Other ways to tell the same reports. Pure: each returns a new list."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from devstack.reports import Report

_A_MOMENT = timedelta(milliseconds=300)


def delay_reports(reports: Sequence[Report], *, delay: timedelta) -> list[Report]:
    """Let everything happen later."""
    return [replace(each, happens=each.happens + delay, sent=each.sent + delay) for each in reports]


def reverse_reports(reports: Sequence[Report]) -> list[Report]:
    """Send the last report first; the timestamps keep telling the truth."""
    end = max((each.sent for each in reports), default=timedelta(0))
    return [replace(each, sent=end + place * _A_MOMENT) for place, each in enumerate(reversed(reports))]


Fields = Mapping[str, object]


def rewrite_fields(reports: Sequence[Report], *, leave_out: Collection[str], instead: Fields) -> list[Report]:
    """Leave some fields out, and say others differently."""
    rewritten_reports = []
    for each in reports:
        fields = {key: value for key, value in each.fields.items() if key not in leave_out}
        dated = each.dated and "timestamp" not in leave_out
        rewritten_reports.append(replace(each, fields=fields | dict(instead), dated=dated))
    return rewritten_reports


def prepend_messages(reports: Sequence[Report], *, messages: Sequence[Fields]) -> list[Report]:
    """Send other messages just before the first report."""
    return [replace(each, fields=fields) for each in reports[:1] for fields in messages] + list(reports)


def translate_to_old_dialect(reports: Sequence[Report]) -> list[Report]:
    """No `type`, no ids of operations, `completed` and `failed` with `error`; a start was not reported at all."""
    translated = []
    for each in reports:
        fields = {key: value for key, value in each.fields.items() if key not in ("type", "operation_id")}
        if fields["status"] == "sync_started":
            continue
        fields["status"] = str(fields["status"]).removeprefix("sync_")
        if "error_message" in fields:
            fields["error"] = fields.pop("error_message")
        translated.append(replace(each, fields=fields))
    return translated
