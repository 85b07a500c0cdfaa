"""How operations and messages are named to a person who reads the table."""

from __future__ import annotations

from devstack.conformance.listener import Heard
from devstack.conformance.trial import ENDS, Trial


def words_for(trial: Trial, name: str) -> str:
    """Name an operation of the trial for a person."""
    words = {
        "good": "the verification of good credentials",
        "bad": "the verification of bad credentials",
        "unreachable": "the verification of a source out of reach",
        "grown": "the verification with one more key",
        "sync": "the sync",
        "foreign": "the sync without credentials",
    }
    return words.get(name, trial.asked[name].kind)


def shown(heard: Heard) -> str:
    """Name a message without repeating what is in it."""
    kind, status = heard.said.get("type"), heard.said.get("status")
    known = {"sync", "verification", *ENDS["sync"], *ENDS["verification"], "sync_started"}
    named = " ".join(str(word) for word in (kind, status) if isinstance(word, str) and word in known)
    return f"a message ({named})" if named else "a message"
