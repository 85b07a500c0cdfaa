"""What the stand-in is told to do: scenarios by word, built in (`scenarios.yaml`) or from a file of one's own.

The words come from a key `simulate` in the settings or config ("slow", "flaky,duplicate", 500, a list), from any
credential value that contains `simulate:word,word`, or else from the file's script. Several act together, in the order
in which they are defined.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from devstack import report_variations
from devstack.reports import SOURCES, Kind, Report, texts_in
from devstack.strict_yaml import InvalidYaml, read_yaml

BUILT_IN = Path(__file__).with_name("scenarios.yaml")
NOT_KNOWN = "not known"
# In a script: whatever the connection's type is.
ANY_TYPE = "any"
_IN_A_CREDENTIAL = re.compile(r"simulate:([\w,]+)")

Said = TypeVar("Said")
# A rehearsal is for somebody who waits.
Seconds = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]
Word = Annotated[str, Field(pattern=r"^[a-z0-9_]+$", max_length=40)]
# A word, several with commas between them, or nothing out of the ordinary.
Turn = Annotated[tuple[Word, ...], BeforeValidator(lambda said: _words_of(str(said or "")))]


def _words_of(text: str) -> list[str]:
    return [word for word in text.lower().replace(" ", "").split(",") if word]


class ScenarioError(Exception):
    """A file of scenarios that cannot be used; the text names the file and the place."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class Refusal(_Part):
    """An HTTP answer other than 2xx."""

    status: Annotated[int, Field(ge=300, le=599)]
    retry_after: Annotated[int, Field(ge=0)] | None = None


class WebhookBehaviour(_Part):
    """What the webhook's caller gets: refusals at first, or for ever, or an acceptance that comes late."""

    answers: tuple[Annotated[Refusal, BeforeValidator(lambda a: {"status": a} if isinstance(a, int) else a)], ...] = ()
    forever: bool = False
    delay: Seconds = 0

    def refusal(self, attempt: int) -> Refusal | None:
        """Return the answer to this attempt (counted from 1), or None to accept it."""
        if attempt <= len(self.answers):
            return self.answers[attempt - 1]
        return self.answers[-1] if self.answers and self.forever else None


class VerificationBehaviour(_Part):
    """How a verification ends, what it finds to choose from, and after how long."""

    error: Text | None = None
    options: dict[Text, str | list[str]] | None = None
    after: Seconds | None = None


class SyncBehaviour(_Part):
    """How a sync ends, the counts that it reports one after another, and the pause between them."""

    error: Text | None = None
    documents: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] | None = None
    pace: Seconds | None = None


class ReportingBehaviour(_Part):
    """How the messages differ from honest ones."""

    dialect: Literal["current", "old"] = "current"
    leave_out: tuple[Text, ...] = ()
    replace: dict[Text, Any] = {}
    first: tuple[dict[str, Any], ...] = ()
    backwards: bool = False
    copies: Annotated[int, Field(ge=1, le=100)] = 1
    delay: Seconds = 0
    send: Literal["all", "first", "none"] = "all"

    def retell(self, reports: list[Report]) -> list[Report]:
        """Return the reports as they are to be sent."""
        if self.dialect == "old":
            reports = report_variations.translate_to_old_dialect(reports)
        reports = report_variations.rewrite_fields(reports, leave_out=self.leave_out, instead=self.replace)
        reports = report_variations.prepend_messages(reports, messages=self.first)
        if self.backwards:
            reports = report_variations.reverse_reports(reports)
        reports = [copy for report in reports for copy in [report] * self.copies]
        reports = report_variations.delay_reports(reports, delay=timedelta(seconds=self.delay))
        return reports[: {"all": None, "first": 1, "none": 0}[self.send]]


class Scenario(_Part):
    """One thing to rehearse: at the webhook, in the outcome, or in the telling of it."""

    about: Text
    webhook: WebhookBehaviour = WebhookBehaviour()
    verification: VerificationBehaviour = VerificationBehaviour()
    sync: SyncBehaviour = SyncBehaviour()
    messages: ReportingBehaviour = ReportingBehaviour()


class Script(_Part):
    """What each connection of a type meets without a word: its first operation, its second …; the last one stays."""

    verification: tuple[Turn, ...] = ()
    sync: tuple[Turn, ...] = ()


class _File(_Part):
    scenarios: dict[Word, Scenario] = {}
    script: dict[Annotated[str, Field(pattern=f"^({'|'.join((ANY_TYPE, *SOURCES))})$")], Script] = {}


@dataclass(frozen=True)
class Rehearsal:
    """The scenarios asked for, acting as one."""

    words: tuple[str, ...]
    scenarios: tuple[Scenario, ...]
    known: tuple[str, ...]

    def refusal(self, attempt: int) -> Refusal | None:
        """Return the answer to this attempt (counted from 1), or None to accept it."""
        return self._first(lambda each: each.webhook.refusal(attempt))

    @property
    def answer_after(self) -> timedelta:
        """How long the webhook's caller waits for an answer."""
        return timedelta(seconds=sum(each.webhook.delay for each in self.scenarios))

    def error(self, kind: Kind) -> str | None:
        """Return why this kind of work fails, or None."""
        if NOT_KNOWN in self.words:
            # The word itself may be part of a secret, so it is not repeated.
            return f"Nothing to simulate by that name; known are {', '.join(sorted(self.known))}"
        return self._first(lambda each: each.verification.error if kind == "verification" else each.sync.error)

    @property
    def verification(self) -> VerificationBehaviour:
        """What was said of a verification; the first word for each thing counts."""
        return VerificationBehaviour(
            options=self._first(lambda each: each.verification.options),
            after=self._first(lambda each: each.verification.after),
        )

    @property
    def sync(self) -> SyncBehaviour:
        """What was said of a sync; the first word for each thing counts."""
        return SyncBehaviour(
            documents=self._first(lambda each: each.sync.documents), pace=self._first(lambda each: each.sync.pace)
        )

    def retell(self, reports: list[Report]) -> list[Report]:
        """Return the reports as these scenarios would have them sent."""
        return reduce(lambda told, each: each.messages.retell(told), self.scenarios, reports)

    def _first(self, look: Callable[[Scenario], Said | None]) -> Said | None:
        return next((said for each in self.scenarios if (said := look(each)) is not None), None)


@dataclass(frozen=True)
class ScenarioBook:
    """The scenarios by word, and the script for those who say none."""

    scenarios: Mapping[str, Scenario]
    script: Mapping[str, Script]

    def asked_for(self, settings: Mapping[str, object], *, credentials: Mapping[str, object]) -> Rehearsal | None:
        """Read the words; all that the book does not have become one NOT_KNOWN. None when nothing is said."""
        told = settings.get("simulate") or []
        sources = [str(each) for each in told] if isinstance(told, list) else [str(told)]
        sources += [match for text in texts_in(credentials) for match in _IN_A_CREDENTIAL.findall(text)]
        words = {word.strip().lower() for text in sources for word in text.split(",")} - {""}
        return self.rehearsal(words) if words else None

    def scripted(self, connection_type: str, *, kind: Kind, turn: int) -> Rehearsal:
        """Return what a connection meets in its n-th operation of a kind (counted from 0) when nothing is said."""
        script = self.script.get(connection_type) or self.script.get(ANY_TYPE) or Script()
        turns = script.verification if kind == "verification" else script.sync
        return self.rehearsal(set(turns[min(turn, len(turns) - 1)]) if turns else set())

    def rehearsal(self, words: set[str]) -> Rehearsal:
        """Return the scenarios of these words, in the book's order."""
        known = tuple(word for word in self.scenarios if word in words)
        named = known if len(known) == len(words) else (*known, NOT_KNOWN)
        return Rehearsal(named, tuple(self.scenarios[word] for word in known), tuple(self.scenarios))


def load(file: Path | None = None) -> ScenarioBook:
    """Return the built-in scenarios and those of a file, which may replace built-in ones. Raises ScenarioError."""
    book = ScenarioBook(_read(BUILT_IN).scenarios, {})
    if file is None:
        return book
    own = _read(file)
    book = ScenarioBook({**book.scenarios, **own.scenarios}, own.script)
    for type_name, script in own.script.items():
        for kind, turns in (("verification", script.verification), ("sync", script.sync)):
            for number, turn in enumerate(turns):
                for word in set(turn) - set(book.scenarios):
                    place = f"script.{type_name}.{kind}.{number}"
                    known = ", ".join(sorted(book.scenarios))
                    raise ScenarioError(f"{file}: {place}: no scenario is called {word!r}; known are {known}")
    return book


def _read(file: Path) -> _File:
    try:
        return _File.model_validate(read_yaml(file))
    except InvalidYaml as invalid:
        raise ScenarioError(f"{file}: {invalid}") from None
    except ValidationError as invalid:
        details = invalid.errors(include_input=False, include_url=False, include_context=False)
        raise ScenarioError("\n".join(f"{file}: {_problem_text(each)}" for each in details)) from None


def _problem_text(detail: ErrorDetails) -> str:
    words = "there is no such key" if detail["type"] == "extra_forbidden" else detail["msg"]
    return f"{'.'.join(map(str, detail['loc'])) or 'the file'}: {words}"
