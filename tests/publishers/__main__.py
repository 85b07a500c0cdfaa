"""What real clients publish when they do as their READMEs say, and what Rita makes of it: see docs/integration.md.

    python -m tests.publishers --rabbitmq-url amqp://guest:guest@127.0.0.1:5672

Node's and Python's clients are installed into a temporary folder, the others are Debian's: ruby-bunny, php-cli and
php-amqplib, golang-go and golang-github-rabbitmq-amqp091-go-dev, default-jdk-headless and librabbitmq-client-java. What
is not there is left out and named. Each client has a queue of its own, which is deleted in the end.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import amqp

from app.domain.status_messages import MessageRefused, decode_body, parse_report
from tests.e2e.service import Service, body_of, channel

CLIENTS = Path(__file__).parent / "clients"
WITHIN = 300
MESSAGE = {
    "type": "sync",
    "connection_id": str(UUID(int=1)),
    "tenant_id": str(UUID(int=2)),
    "status": "sync_failed",
    "error_message": "Grüße ☃",
}
JARS = ("rabbitmq-client.jar", "amqp-client.jar", "slf4j-api.jar")
Run = Callable[[Path, Mapping[str, str]], None]


@dataclass(frozen=True)
class Client:
    """A client by its name; `needs` are programs, `run` publishes."""

    name: str
    needs: tuple[str, ...]
    run: Run


def _call(*words: str | Path, **options: object) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=WITHIN, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)


def _node(source: str, *packages: str) -> Run:
    def run(folder: Path, environ: Mapping[str, str]) -> None:
        shutil.copy(CLIENTS / source, folder)
        _call("npm", "install", "--silent", "--no-audit", "--no-fund", *packages, cwd=folder, env=environ)
        _call("node", source, cwd=folder, env=environ)

    return run


def _python(source: str, *packages: str) -> Run:
    def run(folder: Path, environ: Mapping[str, str]) -> None:
        _call(sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, *packages, env=environ)
        _call(sys.executable, CLIENTS / source, env={**environ, "PYTHONPATH": str(folder)})

    return run


def _script(*words: str) -> Run:
    return lambda folder, environ: _call(*words, cwd=folder, env=environ)


def _go(folder: Path, environ: Mapping[str, str]) -> None:
    # Debian's packages of Go are sources below a folder of their own.
    debian = {"GOPATH": "/usr/share/gocode", "GO111MODULE": "off", "GOCACHE": str(folder), "GOFLAGS": "-mod="}
    _call("go", "run", CLIENTS / "amqp091.go", cwd=folder, env={**environ, **debian})


def _java(folder: Path, environ: Mapping[str, str]) -> None:
    path = ":".join(["/usr/share/java/" + jar for jar in JARS] + [str(folder)])
    _call("javac", "-cp", path, "-d", folder, CLIENTS / "Publish.java", env=environ)
    _call("java", "-cp", path, "Publish", cwd=folder, env=environ)


ALL = (
    Client("amqplib 0.10 (Node)", ("npm",), _node("amqplib.mjs", "amqplib@0.10.9")),
    Client("NestJS 11", ("npm",), _node(
        "nestjs.mjs", "@nestjs/microservices@11", "@nestjs/common@11", "@nestjs/core@11", "amqplib@0.10.9",
        "amqp-connection-manager@4", "rxjs@7", "reflect-metadata@0.2",
    )),
    Client("pika 1.3 (Python)", (), _python("publish_pika.py", "pika==1.3.2")),
    Client("aio-pika 9 (Python)", (), _python("publish_aio_pika.py", "aio-pika>=9,<10")),
    Client("kombu (Python)", (), _python("publish_kombu.py", "kombu==5.7.0")),
    Client("bunny (Ruby)", ("ruby",), _script("ruby", str(CLIENTS / "bunny.rb"))),
    Client("php-amqplib (PHP)", ("php",), _script("php", str(CLIENTS / "php_amqplib.php"))),
    Client("amqp091-go (Go)", ("go",), _go),
    Client("amqp-client (Java)", ("javac", "java"), _java),
)  # fmt: skip


def _arrived(url: str, queue: str) -> Iterator[amqp.Message]:
    with channel(url) as opened:
        while (message := opened.basic_get(queue, no_ack=True)) is not None:
            yield message


def _row(client: Client, message: amqp.Message) -> str:
    properties, body = message.properties, body_of(message)
    mode = {1: "transient", 2: "persistent", None: "transient"}[properties.get("delivery_mode")]
    try:
        written = str(json.loads(body).get("timestamp"))
    except (ValueError, AttributeError):
        written = "?"
    try:
        report = parse_report(decode_body(body), queue_name="data_source_status")
        became = f"{report.timestamp:%Y-%m-%dT%H:%M:%S.%fZ}" if report.timestamp else "undated"
    except MessageRefused as refusal:
        became = f"{refusal.reason}: {refusal.detail}"
    return f"| {client.name} | {mode} | {properties.get('content_type', 'none')} | `{written}` | {became} |"


def _publish(client: Client, url: str) -> list[str]:
    queue = f"publishers.{uuid4().hex[:8]}"
    environ = {**os.environ, "RABBITMQ_URL": url, "QUEUE": queue, "MESSAGE": json.dumps(MESSAGE), "TZ": "Europe/Berlin"}
    with tempfile.TemporaryDirectory() as folder:
        try:
            client.run(Path(folder), environ)
            return [_row(client, message) for message in _arrived(url, queue)]
        finally:
            Service(url).delete(queue)


def _of_clients(url: str) -> str:
    """Return a broker's address without the default virtual host, which clients read in different ways where it is."""
    parts = urlsplit(url)
    return parts._replace(path="").geturl() if parts.path.lower() in ("/", "//", "/%2f") else url


def main() -> int:
    """Let every client that is there publish, and print the table."""
    arguments = argparse.ArgumentParser(prog="python -m tests.publishers", description=__doc__)
    arguments.add_argument(
        "--rabbitmq-url", default="amqp://guest:guest@127.0.0.1:5672", help="the broker (%(default)s)"
    )
    arguments.add_argument("--only", default="", help="clients with this in their names")
    given = arguments.parse_args()
    print("| client | delivery mode | content type | timestamp as written | as Rita reads it |\n|---|---|---|---|---|")
    failed = 0
    for client in ALL:
        missing = [program for program in client.needs if shutil.which(program) is None]
        if given.only not in client.name:
            continue
        if missing:
            print(f"{client.name}: no {', '.join(missing)} here", file=sys.stderr)
            continue
        try:
            print(*_publish(client, _of_clients(given.rabbitmq_url)), sep="\n", flush=True)
        except RuntimeError as problem:
            failed += 1
            print(f"{client.name}: {problem}", file=sys.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
