"""A stand-in for the external service: takes Rita's two webhooks on loopback and answers on the status queue.

Run it with `python -m devstack.external_service`. It verifies nothing and syncs nothing, but behaves like one that
does, in short real time: a credential that contains "bad", "invalid" or "wrong" is refused, one that contains
"unreachable" finds nobody there, and a scenario makes it behave otherwise (`--list` names them, `--scenarios FILE` adds
some). Credentials are kept in memory only and never logged; which connections were verified is kept in a file where
`--verified FILE` names one, so that their syncs go on after a restart.
"""

from __future__ import annotations

import argparse
import binascii
import hmac
import os
import signal
from collections import Counter, OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from threading import Event, Lock, Thread

import standardwebhooks
import structlog
from flask import Flask, Response, jsonify, request
from pydantic import ValidationError
from werkzeug.serving import WSGIRequestHandler, make_server

from devstack import reports, scenarios
from devstack.reports import Key, Report, VerifyCredentials, Webhook
from devstack.scenarios import Rehearsal, ScenarioBook
from devstack.status_queue import StatusQueue
from devstack.verified_connections import VerifiedConnections

LARGEST_WEBHOOK = 1_000_000
# Rita's last retry comes within hours; ten thousand deliveries are more than a laptop sees in a day.
REMEMBERED_DELIVERIES = 10_000
STOP_WITHIN = timedelta(seconds=5)

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


@dataclass(frozen=True)
class Settings:
    """What the environment says."""

    broker_url: str
    authorization: str = field(repr=False)
    signing_secret: str | None = field(repr=False)
    port: int
    status_queue: str
    # Said by /healthz: whoever started this process can tell its answer from a stranger's.
    instance_id: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read the settings; SystemExit names all that is missing or wrong."""
        problems = [f"{name} is missing" for name in ("RABBITMQ_URL", "AUTOMATION_AUTH") if not environment.get(name)]
        port = environment.get("EXTERNAL_SERVICE_PORT") or "8090"
        if not port.isdecimal():
            problems.append("EXTERNAL_SERVICE_PORT must be a number")
        secret = environment.get("WEBHOOK_SIGNING_SECRET") or None
        try:
            _signatures(secret)
        except (binascii.Error, standardwebhooks.webhooks.EmptyWebhookSecretError):
            problems.append("WEBHOOK_SIGNING_SECRET must be whsec_ and base64")
        if problems:
            raise SystemExit(f"The stand-in external service cannot start: {'; '.join(problems)}")
        return cls(
            broker_url=environment["RABBITMQ_URL"],
            authorization=environment["AUTOMATION_AUTH"],
            signing_secret=secret,
            port=int(port),
            status_queue=environment.get("STATUS_QUEUE") or "data_source_status",
            instance_id=environment.get("INSTANCE_ID", ""),
        )


@dataclass
class _Delivery:
    rehearsal: Rehearsal
    attempts: int = 0
    accepted: bool = False


@dataclass(frozen=True)
class Answer:
    """What the webhook's caller gets, and how late."""

    status: int
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)
    after: timedelta = timedelta(0)


class ExternalService:
    """The service's whole memory: credentials by connection, and the webhooks it has seen."""

    def __init__(
        self,
        status_queue: StatusQueue,
        *,
        book: ScenarioBook,
        chance: Random,
        verified: VerifiedConnections | None = None,
    ) -> None:
        self._status_queue = status_queue
        self._book = book
        self._chance = chance
        # For the words in them alone: whether a sync has credentials is a matter of having been verified.
        self._credentials: dict[Key, Mapping[str, object]] = {}
        self._verified = verified or VerifiedConnections()
        self._deliveries: OrderedDict[str, _Delivery] = OrderedDict()
        # How many operations of a kind a connection has had: the script goes by it.
        self._turns: Counter[tuple[Key, str]] = Counter()
        self._lock = Lock()

    def receive(self, webhook: Webhook, *, webhook_id: str) -> Answer:
        """Decide about one delivery and plan what will be reported; the same id is acted on once."""
        with self._lock:
            delivery = self._delivery(webhook, webhook_id=webhook_id)
            rehearsal = delivery.rehearsal
            delivery.attempts += 1
            if delivery.accepted:
                answer = Answer(200, "already accepted")
            elif refusal := rehearsal.refusal(delivery.attempts):
                pause = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
                answer = Answer(refusal.status, "refused, as it was asked to", pause)
            else:
                delivery.accepted = True
                answer = Answer(202, "accepted", after=rehearsal.answer_after)
                self._plan(self._reports(webhook, rehearsal))
        log.info(
            "webhook_received",
            action=webhook.action,
            connection_type=webhook.connection_type,
            connection_id=webhook.connection_id,
            tenant_id=webhook.tenant_id,
            operation_id=webhook.operation_id,
            attempt=delivery.attempts,
            answered=answer.status,
            simulate=rehearsal.words,
        )
        return answer

    def _reports(self, webhook: Webhook, rehearsal: Rehearsal) -> list[Report]:
        error = rehearsal.error(webhook.kind)
        if not isinstance(webhook, VerifyCredentials):
            told = rehearsal.sync
            honest = reports.sync(
                webhook,
                credentials_held=webhook.key in self._verified,
                error=error,
                chance=self._chance,
                documents=told.documents,
                pace=told.pace,
            )
            return rehearsal.retell(honest)
        error = error or reports.complaint_about(webhook.credentials, connection_type=webhook.connection_type)
        if error is None:
            # Only good credentials replace those in use.
            self._credentials[webhook.key] = webhook.credentials
            self._verified.add(webhook.key)
        found = rehearsal.verification
        verdict = reports.verification(
            webhook, error=error, chance=self._chance, options=found.options, after=found.after
        )
        return rehearsal.retell(verdict)

    def _plan(self, planned: list[Report]) -> None:
        accepted_at = datetime.now(UTC)
        for report in planned:
            self._status_queue.send(report.message(accepted_at=accepted_at), after=report.sent)

    def _delivery(self, webhook: Webhook, *, webhook_id: str) -> _Delivery:
        if webhook_id not in self._deliveries:
            self._deliveries[webhook_id] = _Delivery(self._rehearsal(webhook))
        self._deliveries.move_to_end(webhook_id)
        if len(self._deliveries) > REMEMBERED_DELIVERIES:
            self._deliveries.popitem(last=False)
        return self._deliveries[webhook_id]

    def _rehearsal(self, webhook: Webhook) -> Rehearsal:
        """Return what was asked for in words, else what the script has for this connection's turn."""
        turn = self._turns[webhook.key, webhook.kind]
        self._turns[webhook.key, webhook.kind] += 1
        if isinstance(webhook, VerifyCredentials):
            asked = self._book.asked_for(webhook.settings, credentials=webhook.credentials)
        else:
            asked = self._book.asked_for(webhook.config, credentials=self._credentials.get(webhook.key, {}))
        return asked or self._book.scripted(webhook.connection_type, kind=webhook.kind, turn=turn)


def create_app(service: ExternalService, *, settings: Settings, stopping: Event) -> Flask:
    """Make the HTTP entry point; `stopping` ends the answers that are being held back."""
    app = Flask("external_service", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_WEBHOOK
    signatures = _signatures(settings.signing_secret)

    @app.get("/healthz")
    def healthz() -> tuple[Response, Mapping[str, str]]:
        return jsonify(status="ok"), {"X-Instance-ID": settings.instance_id}

    @app.post("/webhook")
    def webhook() -> tuple[Response, int, Mapping[str, str]]:
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), settings.authorization.encode()):
            return _refusal_response(401, "the Authorization header is not the agreed one")
        body = request.get_data()
        if signatures and not _is_signed(body, signatures):
            return _refusal_response(401, "the Standard Webhooks signature does not verify")
        try:
            parsed = reports.WEBHOOK.validate_json(body)
        except ValidationError as invalid:
            details = invalid.errors(include_input=False, include_url=False, include_context=False)
            places = (f"{'.'.join(map(str, each['loc'])) or 'body'}: {each['msg']}" for each in details)
            return _refusal_response(422, "; ".join(places))
        webhook_id = request.headers.get("webhook-id") or parsed.operation_id
        answer = service.receive(parsed, webhook_id=webhook_id)
        if answer.after:
            stopping.wait(answer.after.total_seconds())
        return jsonify(status=answer.text, operation_id=parsed.operation_id), answer.status, answer.headers

    return app


def _signatures(secrets: str | None) -> list[standardwebhooks.Webhook]:
    """Return what verifies: any of the secrets that Rita signs with, of which there are two during a rotation."""
    return [standardwebhooks.Webhook(secret) for secret in (secrets or "").replace(" ", "").split(",") if secret]


def _is_signed(body: bytes, signatures: list[standardwebhooks.Webhook]) -> bool:
    for each in signatures:
        # The library lets a malformed signature or a body that is not UTF-8 out as a bare ValueError.
        with suppress(standardwebhooks.webhooks.WebhookVerificationError, ValueError):
            each.verify(body, dict(request.headers), json_parse=False)
            return True
    return False


def _refusal_response(status: int, reason: str) -> tuple[Response, int, Mapping[str, str]]:
    log.warning("webhook_turned_away", answered=status, reason=reason)
    return jsonify(error=reason), status, {}


class _QuietRequestHandler(WSGIRequestHandler):
    """Leave the logging to the two lines above: they carry ids, and never a query or a body."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


def main() -> None:
    """Serve until TERM or INT, then send what is due and stop; or list the scenarios."""
    parser = argparse.ArgumentParser(prog="python -m devstack.external_service", description=__doc__.splitlines()[0])
    about = "YAML file of more scenarios; or EXTERNAL_SERVICE_SCENARIOS"
    usual = os.environ.get("EXTERNAL_SERVICE_SCENARIOS") or None
    parser.add_argument("--scenarios", type=Path, default=usual, help=about)
    parser.add_argument("--verified", type=Path, help="keep in this file which connections were verified")
    parser.add_argument("--list", action="store_true", help="name the scenarios and stop")
    given = parser.parse_args()
    try:
        book = scenarios.load(given.scenarios)
    except scenarios.ScenarioError as wrong:
        raise SystemExit(f"The stand-in external service cannot start:\n{wrong}") from None
    if given.list:
        print(*(f"{word:16} {scenario.about}" for word, scenario in book.scenarios.items()), sep="\n")
        return
    serve(Settings.from_environment(os.environ), book=book, verified=VerifiedConnections(given.verified))


def serve(settings: Settings, *, book: ScenarioBook, verified: VerifiedConnections) -> None:
    """Serve until TERM or INT, then send what is due."""
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    structlog.configure(processors=[structlog.processors.add_log_level, stamp, structlog.processors.JSONRenderer()])
    # Blocked before any thread starts, so that all inherit it and sigwait below is the only one to see them.
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    stopping = Event()
    status_queue = StatusQueue(settings.broker_url, name=settings.status_queue)
    service = ExternalService(status_queue, book=book, chance=Random(), verified=verified)
    app = create_app(service, settings=settings, stopping=stopping)
    server = make_server("127.0.0.1", settings.port, app, threaded=True, request_handler=_QuietRequestHandler)
    status_queue.start()
    Thread(target=server.serve_forever, name="http", daemon=True).start()
    log.info("external_service_started", address=f"http://127.0.0.1:{server.port}/webhook")

    received = signal.sigwait(ends)
    stopping.set()
    server.shutdown()
    server.server_close()
    given_up = status_queue.stop(within=STOP_WITHIN)
    log.info("external_service_stopped", signal=signal.Signals(received).name, messages_given_up=given_up)


if __name__ == "__main__":
    main()
