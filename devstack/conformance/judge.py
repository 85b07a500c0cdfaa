"""From what was asked and heard to pass or fail, row by row; a row that nothing can be said about says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from jsonschema import Draft202012Validator

from app.domain import status_messages
from app.domain.credential_detection import is_credential_field_name
from app.domain.retry import RetryVerdict
from devstack import schemas
from devstack.conformance.clauses import CLAUSES, Result, Row
from devstack.conformance.listener import Heard
from devstack.conformance.trial import ENDS, Trial
from devstack.conformance.wording import shown, words_for
from devstack.reports import texts_in

REFUSALS = (400, 401, 403)
VERIFICATIONS = ("good", "bad", "unreachable", "grown")
SYNCS = ("sync", "foreign")
# Shorter values are found in any text.
SHORTEST_SECRET = 4


class NotJudged(Exception):
    """Nothing can be said, for this reason."""


Complaints = Iterator[str]
_judges: dict[str, Callable[[Trial], Complaints]] = {}


def judge(trial: Trial) -> list[Row]:
    """Return all rows, in the order of the clauses."""
    return [_row(row_id, trial) for row_id in CLAUSES]


def _row(row_id: str, trial: Trial) -> Row:
    try:
        complaint = next(_judges[row_id](trial), None)
    except NotJudged as reason:
        return Row(row_id, Result.NOT_JUDGED, str(reason))
    return Row(row_id, Result.PASS) if complaint is None else Row(row_id, Result.FAIL, complaint)


def _judges_row(row_id: str) -> Callable[[Callable[[Trial], Complaints]], Callable[[Trial], Complaints]]:
    def keep(judging: Callable[[Trial], Complaints]) -> Callable[[Trial], Complaints]:
        _judges[row_id] = judging
        return judging

    return keep


def _must_be_refused(row_id: str, name: str) -> None:
    @_judges_row(row_id)
    def judging(trial: Trial) -> Complaints:
        if name not in trial.asked:
            raise NotJudged("no signing secret is agreed")
        (outcome,) = trial.asked[name].outcomes
        if outcome.status_code not in REFUSALS:
            yield f"it was answered {outcome.status_code}" if outcome.status_code else str(outcome.error)


_must_be_refused("authorization", "stranger")
_must_be_refused("signature", "forged")
_must_be_refused("old_timestamp", "old")


@_judges_row("refused_silently")
def _refused_silently(trial: Trial) -> Complaints:
    tried = [name for name in ("stranger", "forged", "old") if name in trial.asked]
    refused = [name for name in tried if trial.asked[name].outcomes[0].status_code in REFUSALS]
    if not refused:
        raise NotJudged("nothing was refused")
    for name in refused:
        for heard in trial.heard_of(name):
            yield f"a webhook that was answered {trial.asked[name].outcomes[0].status_code} brought {shown(heard)}"


@_judges_row("accepted")
def _accepted(trial: Trial) -> Complaints:
    for name in ("good", "bad", "unreachable", *SYNCS):
        if name in trial.asked and not trial.accepted(name):
            yield f"{words_for(trial, name)}: {trial.asked[name].outcomes[0].error}"


@_judges_row("unknown_keys")
def _unknown_keys(trial: Trial) -> Complaints:
    _need(trial, "good")
    if not trial.accepted("grown"):
        yield f"with one more key: {trial.asked['grown'].outcomes[0].error}"


@_judges_row("repeated_answer")
def _repeated_answer(trial: Trial) -> Complaints:
    for name in _repeated(trial):
        outcome = trial.asked[name].outcomes[-1]
        if outcome.verdict is not RetryVerdict.DONE:
            yield f"{words_for(trial, name)}, once more: {outcome.error}"


@_judges_row("acted_once")
def _acted_once(trial: Trial) -> Complaints:
    for name in _repeated(trial):
        ends = [heard for heard in trial.heard_of(name) if _is_end(heard, trial.asked[name].kind)]
        # A verification has no time in it, so that a second one looks like a copy; a sync's copy is one to the letter.
        more = ends[1:] if trial.asked[name].kind == "verification" else _since_the_end(trial, name)
        for heard in more:
            yield f"{words_for(trial, name)}: the repeated webhook brought {shown(heard)} again"


def _since_the_end(trial: Trial, name: str) -> list[Heard]:
    """Return what happened after a sync had ended, by the service's own clock."""
    heard_of = trial.heard_of(name)
    end = next((_moment(heard.said.get("timestamp")) for heard in heard_of if _is_end(heard, "sync")), None)
    moments = ((heard, _moment(heard.said.get("timestamp"))) for heard in heard_of)
    return [heard for heard, moment in moments if end is not None and moment is not None and moment > end]


@_judges_row("own_credentials")
def _own_credentials(trial: Trial) -> Complaints:
    if not trial.material.needs_credentials:
        raise NotJudged("this type needs no credentials")
    _need(trial, "foreign")
    for heard in _ends(trial, "foreign"):
        if heard.said["status"] in ("sync_completed", "completed"):
            yield "a tenant that never gave credentials was synced"


@_judges_row("queue")
def _queue(trial: Trial) -> Complaints:
    if not trial.accepted(*VERIFICATIONS):
        raise NotJudged("no webhook was accepted")
    wrong = trial.listener.declaration()
    if wrong is not None:
        yield wrong


@_judges_row("persistent")
def _persistent(trial: Trial) -> Complaints:
    for heard in _all(trial):
        if not heard.persistent:
            yield f"{shown(heard)} is not persistent"
        if heard.exchange:
            yield f"{shown(heard)} came through the exchange {heard.exchange}"


@_judges_row("shape")
def _shape(trial: Trial) -> Complaints:
    for heard in _all(trial):
        kind = heard.said.get("type")
        if kind not in status_messages.REPORT_MODELS_BY_TYPE:
            older = "; the older dialect of 3.6 is understood, but not to start with" if _is_older(heard.said) else ""
            yield f"{shown(heard)}: type must be {' or '.join(status_messages.REPORT_MODELS_BY_TYPE)}{older}"
            continue
        validator = Draft202012Validator(schemas.message(str(kind)), format_checker=schemas.FORMATS)
        for error in validator.iter_errors(heard.said):
            # Never the value: it may be anything.
            place = ".".join(map(str, error.absolute_path)) or "the message"
            yield f"{shown(heard)}: {place} does not fit `{error.validator}` of its schema"


def _is_older(said: dict[str, Any]) -> bool:
    older = (Draft202012Validator(schemas.old_message(kind)) for kind in status_messages.REPORT_MODELS_BY_TYPE)
    return any(validator.is_valid(said) for validator in older)


@_judges_row("address")
def _address(trial: Trial) -> Complaints:
    for heard in _all(trial):
        owner = next((asked for asked in trial.asked.values() if asked.owns(heard)), None)
        if owner is None and heard.said.get("type") not in status_messages.REPORT_MODELS_BY_TYPE:
            # That is a matter of the shape.
            continue
        if owner is None:
            yield f"{shown(heard)} is about nothing that was asked"
            continue
        for key in ("tenant_id", "connection_id"):
            if str(heard.said.get(key)) != str(owner.body[key]):
                yield f"{shown(heard)}: {key} is not the webhook's"


@_judges_row("no_credentials")
def _no_credentials(trial: Trial) -> Complaints:
    material = trial.material
    given = [*material.good.items(), *material.bad.items(), *material.unreachable.items()]
    texts = {text for key, value in given if is_credential_field_name(key) for text in texts_in(value)}
    secrets = {text for text in texts if len(text) >= SHORTEST_SECRET}
    for heard in _all(trial):
        if any(secret in text for secret in secrets for text in (heard.body, *texts_in(heard.said))):
            yield f"{shown(heard)} repeats a credential"


def _must_end(row_id: str, name: str, *, good: bool) -> None:
    @_judges_row(row_id)
    def judging(trial: Trial) -> Complaints:
        _need(trial, name)
        for heard in _ends(trial, name)[:1]:
            said = heard.said
            succeeded = said["status"] in ("success", "sync_completed", "completed")
            if succeeded is not good:
                reason = said.get("error") or said.get("error_message") or "without a reason"
                yield "it succeeded" if succeeded else f"it failed: {reason}"
            elif not good and not (said.get("error") or said.get("error_message")):
                yield "there is no `error` to show"


_must_end("good_credentials", "good", good=True)
_must_end("bad_credentials", "bad", good=False)
_must_end("unreachable", "unreachable", good=False)
_must_end("sync_completes", "sync", good=True)


def _must_be_in_time(row_id: str, names: tuple[str, ...]) -> None:
    @_judges_row(row_id)
    def judging(trial: Trial) -> Complaints:
        if not trial.accepted(*names):
            raise NotJudged("no webhook of this kind was accepted")
        patience = trial.patience.verification if names is VERIFICATIONS else trial.patience.sync
        for name in trial.accepted(*names):
            if not trial.ended(name):
                yield f"{words_for(trial, name)}: no end within {patience.total_seconds():g} s"


_must_be_in_time("verification_in_time", VERIFICATIONS)
_must_be_in_time("sync_in_time", SYNCS)


@_judges_row("echo")
def _echo(trial: Trial) -> Complaints:
    for heard in _all(trial):
        owner = next((asked for asked in trial.asked.values() if asked.owns(heard)), None)
        if owner is not None and str(heard.said.get("operation_id")) != owner.operation_id:
            yield f"{shown(heard)} does not echo operation_id"


@_judges_row("order")
def _order(trial: Trial) -> Complaints:
    _need(trial, "sync")
    # Only what came before the webhook was repeated, each once.
    repeated_at = trial.asked["sync"].repeated_at
    bodies = {heard.body: heard for heard in trial.heard_of("sync") if repeated_at is None or heard.at < repeated_at}
    told = [heard.said for heard in bodies.values()]
    if not told:
        raise NotJudged("the sync brought no message")
    if any(said.get("status") in ENDS["sync"] for said in told[:-1]):
        yield "an end came before other messages of its sync"
    if told[0].get("status") == "sync_completed":
        yield "it completed without sync_started"
    moments = [moment for said in told if (moment := _moment(said.get("timestamp"))) is not None]
    earliest, latest = status_messages.EARLIEST_TIMESTAMP, datetime.now(UTC) + status_messages.MAX_CLOCK_AHEAD
    if not all(earliest <= moment <= latest for moment in moments):
        yield "a timestamp is before the year 2000 or more than a day ahead: its message would be a dead letter"
        return
    for earlier, later in pairwise(told):
        before, after = _moment(earlier.get("timestamp")), _moment(later.get("timestamp"))
        if before is None or after is None:
            continue
        # Of one instant only an end can be told from what came before it.
        if after < before or (after == before and later.get("status") == "sync_started"):
            yield "the timestamps do not rise"


def _moment(value: Any) -> datetime | None:
    # What is no moment is a matter of the shape.
    return datetime.fromisoformat(value) if isinstance(value, str) and schemas.is_timestamp(value) else None


def _need(trial: Trial, name: str) -> None:
    if not trial.accepted(name):
        raise NotJudged("its webhook was not accepted")


def _repeated(trial: Trial) -> list[str]:
    asked = {name: trial.asked[name] for name in ("good", "sync") if name in trial.asked}
    names: list[str] = [name for name, operation in asked.items() if operation.repeated_at is not None]
    if not names:
        raise NotJudged("no webhook was accepted")
    return names


def _all(trial: Trial) -> list[Heard]:
    if not trial.listener.heard:
        raise NotJudged("no message came")
    return trial.listener.heard


def _ends(trial: Trial, name: str) -> list[Heard]:
    ends = [heard for heard in trial.heard_of(name) if _is_end(heard, trial.asked[name].kind)]
    if not ends:
        raise NotJudged("no end came")
    return ends


def _is_end(heard: Heard, kind: str) -> bool:
    return heard.said.get("status") in ENDS[kind]
