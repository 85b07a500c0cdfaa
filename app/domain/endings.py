"""Every way in which an operation can end, who must act then, and what the next step is. Pure data.

`display` shows it, and docs/client/README.md publishes it; tests hold them together.
"""

from __future__ import annotations

from dataclasses import dataclass

VERIFY_KIND, SYNC_KIND = "verify", "sync"


@dataclass(frozen=True, slots=True)
class Ending:
    """One way to end.

    `state` is the operation's, `actor` one of user, operator, service and None (nobody has to act), `actions` the next
    step after each kind of operation that can end so, `advice` what to tell a person beside the reason, by kind.
    """

    about: str
    state: str
    actor: str | None
    actions: dict[str, str | None]
    advice: dict[str, str]


def _repeat_same_kind(*kinds: str) -> dict[str, str | None]:
    return {kind: kind for kind in kinds or (VERIFY_KIND, SYNC_KIND)}


# What is true of every verification that got no verdict.
_CREDENTIALS_NOT_CHECKED = "Nobody has checked the credentials."
_ADVICE_TRY_LATER = {
    VERIFY_KIND: f"{_CREDENTIALS_NOT_CHECKED} Verify again when the external service is back.",
    SYNC_KIND: "There is nothing wrong with what you entered. Sync again when the external service is back.",
}
_ADVICE_TELL_OPERATOR = {
    VERIFY_KIND: f"{_CREDENTIALS_NOT_CHECKED} Tell whoever runs Rita or the external service.",
    SYNC_KIND: "Tell whoever runs Rita or the external service; a new sync ends the same way until then.",
}
_ADVICE_UNANSWERED = {
    VERIFY_KIND: f"{_CREDENTIALS_NOT_CHECKED} If this goes on, tell whoever runs the external service.",
    SYNC_KIND: "If this goes on, tell whoever runs the external service.",
}
_ADVICE_REFUSED = {
    VERIFY_KIND: "Correct the credentials and verify them again.",
    SYNC_KIND: "Sync again. If the credentials have expired or were changed, verify new ones first.",
}

ENDINGS: dict[str, Ending] = {
    "succeeded": Ending(
        "The external service said that it went well.",
        "succeeded", None, {VERIFY_KIND: "enable", SYNC_KIND: "sync"}, {},
    ),
    "succeeded_late": Ending(
        "The same, after Rita had stopped waiting: the answer was taken.",
        "succeeded", None, {VERIFY_KIND: "enable", SYNC_KIND: "sync"}, {},
    ),
    "failed": Ending(
        "The external service said no: the reason is its own.",
        "failed", "user", _repeat_same_kind(), _ADVICE_REFUSED,
    ),
    "failed_late": Ending(
        "The same, after Rita had stopped waiting: the answer was taken.",
        "failed", "user", _repeat_same_kind(), _ADVICE_REFUSED,
    ),
    "service_down": Ending(
        "The external service did not take the request (no answer, 408, 425, 429 or 5xx), however often it was tried.",
        "undelivered", "service", _repeat_same_kind(), _ADVICE_TRY_LATER,
    ),
    "request_refused": Ending(
        "The external service refused the request itself (TLS, 3xx or 4xx): an address or a secret is wrong.",
        "undelivered", "operator", _repeat_same_kind(), _ADVICE_TELL_OPERATOR,
    ),
    "credentials_lost": Ending(
        "The credentials were no longer held when they should have been sent.",
        "undelivered", "user", _repeat_same_kind(VERIFY_KIND),
        {VERIFY_KIND: f"{_CREDENTIALS_NOT_CHECKED} Enter them once more."},
    ),
    "credentials_unreadable": Ending(
        "What was held of the credentials could not be read, or is not what was entered.",
        "undelivered", "operator", _repeat_same_kind(VERIFY_KIND), _ADVICE_TELL_OPERATOR,
    ),
    "not_sent": Ending(
        "Rita itself made no attempt in time: a worker or the broker is away.",
        "expired", "operator", _repeat_same_kind(), _ADVICE_TELL_OPERATOR,
    ),
    "not_delivered": Ending(
        "The request could not be delivered before its deadline.",
        "expired", "service", _repeat_same_kind(), _ADVICE_TRY_LATER,
    ),
    "unanswered": Ending(
        "The external service took the request and did not answer in time.",
        "expired", "service", _repeat_same_kind(VERIFY_KIND), _ADVICE_UNANSWERED,
    ),
    "not_started": Ending(
        "The external service took the request and did not start the sync in time.",
        "expired", "service", _repeat_same_kind(SYNC_KIND), _ADVICE_UNANSWERED,
    ),
    "silent": Ending(
        "The external service started the sync and stopped reporting on it.",
        "expired", "service", _repeat_same_kind(SYNC_KIND), _ADVICE_UNANSWERED,
    ),
    "unreadable": Ending(
        "The external service's answer could not be read: it is a dead letter.",
        "expired", "operator", _repeat_same_kind(),
        {VERIFY_KIND: f"{_CREDENTIALS_NOT_CHECKED} Tell whoever runs the external service.",
         SYNC_KIND: "Tell whoever runs the external service."},
    ),
    "ended": Ending(
        "An admin stopped waiting and marked it as failed.",
        "expired", "user", _repeat_same_kind(),
        {VERIFY_KIND: f"{_CREDENTIALS_NOT_CHECKED} An answer that still comes is taken.",
         SYNC_KIND: "An answer that still comes is taken."},
    ),
    "disabled": Ending(
        "The data source was switched off before the external service was told of the sync.",
        "expired", "user", {SYNC_KIND: "enable"}, {},
    ),
    "replaced": Ending(
        "A newer request took its place.",
        "replaced", None, {VERIFY_KIND: "wait", SYNC_KIND: "wait"}, {},
    ),
}  # fmt: skip

# A release before this one wrote none beside its errors, which were mostly the service's own.
UNKNOWN_ENDING = ENDINGS["failed"]


def ending_by_name(ending_name: str | None) -> Ending:
    """Return an ending by its name; one that an earlier or later release wrote is taken for the service's own no."""
    return UNKNOWN_ENDING if ending_name is None else ENDINGS.get(ending_name, UNKNOWN_ENDING)


def ending_name_for_answer(trigger: str, *, is_late: bool) -> str:
    """Return the name of an ending by an answer, `succeeded` or `failed`."""
    return f"{trigger}_late" if is_late else trigger


def was_answered_by_service(ending_name: str | None) -> bool:
    """Tell whether the external service has answered: of what ended otherwise nobody knows."""
    return ending_by_name(ending_name).state in ("succeeded", "failed")
