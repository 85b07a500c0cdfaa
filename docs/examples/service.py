"""An external service in miniature: takes Rita's two webhooks and answers over RabbitMQ. See docs/integration.md.

pip install flask pika standardwebhooks; RABBITMQ_URL, AUTOMATION_AUTH and WEBHOOK_SIGNING_SECRET in the environment.
"""

from __future__ import annotations

import hmac
import json
import os
import queue
import threading
from datetime import UTC, datetime
from typing import Any

import pika
from flask import Flask, request
from standardwebhooks import Webhook, WebhookVerificationError

QUEUE = os.environ.get("STATUS_QUEUE", "data_source_status")
BROKER = pika.URLParameters(os.environ["RABBITMQ_URL"])
AUTHORIZATION = os.environ["AUTOMATION_AUTH"].encode()
SIGNATURES = Webhook(os.environ["WEBHOOK_SIGNING_SECRET"])
OPTIONS = {
    "confluence": {"spaces": "ENG,PROD"},
    "servicenow": {"tables": "incident"},
    "sharepoint": {"sites": "Intranet"},
}
# Between two tries to reach the broker, in seconds.
PAUSE = 2

app = Flask(__name__)
# A real service keeps these two and the work in its database: ids with a unique index, credentials encrypted.
seen: set[str] = set()
credentials: dict[tuple[str, str, str], dict[str, Any]] = {}
work: queue.Queue[dict[str, Any]] = queue.Queue()
lock = threading.Lock()


@app.post("/webhook")
def webhook() -> tuple[dict[str, str], int]:
    """Let in who may call, take each operation once, and answer at once (2.2 to 2.4)."""
    if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), AUTHORIZATION):
        return {"error": "unauthorized"}, 401
    try:
        # Looks at the signature and at its age.
        body: Any = SIGNATURES.verify(request.get_data(), dict(request.headers))
    except (WebhookVerificationError, ValueError):
        return {"error": "not signed"}, 401
    if body["action"] not in ACTIONS:
        return {"error": "unknown action"}, 422
    with lock:
        is_new = body["operation_id"] not in seen
        seen.add(body["operation_id"])
    if is_new:
        work.put(body)
    return {"status": "accepted"}, 202


def verify(body: dict[str, Any], address: dict[str, str]) -> None:
    """Ask the source, keep what is good, and tell (3.2)."""
    error = complaint_about(body["connection_type"], body["credentials"])
    if error is None:
        # Only good ones replace those in use.
        credentials[key_of(body)] = body["credentials"]
    publish(
        {
            "type": "verification",
            **address,
            "status": "failed" if error else "success",
            "options": None if error else OPTIONS.get(body["connection_type"]),
            "error": error,
        }
    )


def sync(body: dict[str, Any], address: dict[str, str]) -> None:
    """Sync with the credentials of this tenant's connection, and tell how it goes (3.3)."""

    def report(status: str, **more: Any) -> None:
        # Microseconds, so that no two are of one instant (3.5).
        publish({"type": "sync", **address, "status": status, "timestamp": datetime.now(UTC).isoformat(), **more})

    if key_of(body) not in credentials and body["connection_type"] != "websearch":
        report("sync_failed", error_message="No credentials are stored: verify the connection again")
        return
    report("sync_started", documents_processed=0)
    for documents in (10, 25, 40):  # here the source is read
        report("sync_started", documents_processed=documents)
    report("sync_completed", documents_processed=40)


ACTIONS = {"verify_credentials": verify, "data_source_sync_requested": sync}


def key_of(body: dict[str, Any]) -> tuple[str, str, str]:
    """Name the place of a connection's credentials (2.5)."""
    return body["tenant_id"], body["connection_id"], body["connection_type"]


def complaint_about(connection_type: str, given: dict[str, Any]) -> str | None:
    """Return what a person should read, or None for good credentials. This one makes it up; never quote a secret."""
    words = json.dumps(given).lower()
    if "unreachable" in words:
        return f"{connection_type} could not be reached"
    if "bad" in words or (not given and connection_type != "websearch"):
        return f"{connection_type} refused the credentials"
    return None


def publish(message: dict[str, Any]) -> None:
    """Send until the broker confirms; the queue is durable and nothing else (3.1)."""
    while True:
        try:
            with pika.BlockingConnection(BROKER) as connection:
                channel = connection.channel()
                channel.queue_declare(QUEUE, durable=True)
                channel.confirm_delivery()
                channel.basic_publish(
                    exchange="",
                    routing_key=QUEUE,
                    body=json.dumps(message),
                    properties=pika.BasicProperties(delivery_mode=2, content_type="application/json"),
                    mandatory=True,
                )
                return
        except (pika.exceptions.AMQPError, OSError) as problem:
            app.logger.warning("the broker does not take the message: %r", problem)
            threading.Event().wait(PAUSE)


def run() -> None:
    """Do the work, one after the other: that keeps the messages in order."""
    while True:
        body = work.get()
        address = {key: body[key] for key in ("connection_id", "tenant_id", "operation_id")}
        ACTIONS[body["action"]](body, address)


if __name__ == "__main__":
    threading.Thread(target=run, daemon=True).start()
    app.run(host="127.0.0.1", port=int(os.environ.get("PORT", "8090")))
