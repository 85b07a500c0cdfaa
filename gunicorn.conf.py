"""gunicorn's settings for the web process: greenlets, since requests wait for the database, Redis and the broker."""

from __future__ import annotations

# ruff: noqa: E402 - whatever is imported before the patch keeps blocking the whole process
import gc

# Until all is imported: of that nothing is garbage, and to look for some is an eighth of a start.
gc.disable()

from gevent import monkey

monkey.patch_all()

import errno
import re
import socket
import sys
from contextlib import suppress
from datetime import timedelta
from itertools import count
from typing import Any

import gevent
from gunicorn.glogging import Logger
from gunicorn.http.parser import RequestParser
from gunicorn.workers.ggevent import GeventWorker
from psycogreen.gevent import patch_psycopg

from app import create_app, extensions, logs, metrics_sharing, tracebacks, tracing
from app.api.bounded_body import TimeLimitedBody, yield_before_pipelined_request
from app.api.bounded_head import BoundedRequest
from app.config import Settings

settings = Settings.from_environment("web")

bind = f"{settings.listen_address}:{settings.port}"

# How long a client may take to read one piece of an answer, or to send one of its request, in seconds: what it has not
# read is in our memory until then. 5 MB in this time are a slow telephone's.
PATIENCE = 30
# What the kernel may keep of an answer that is not read, in bytes, of which it counts twice as many. By itself it takes
# megabytes for each connection, of the memory that all connections of the machine share, until long after PATIENCE.
KEPT = 128 * 1024
# How long all pieces of a request's body may take together: the longest is 320 KiB.
BODY_WITHIN = timedelta(seconds=60)


class worker_class(GeventWorker):  # noqa: N801 - the setting's name
    """Waits for greenlets' sockets, but for no client without end, nor at a stop for one that asks nothing.

    No client is answered alone while others wait.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # The connections on which no request is being answered.
        self._idle: set[Any] = set()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve a connection, one request after the other."""
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KEPT)
        self._idle.add(client)
        try:
            super().handle(listener, client, addr)
        finally:
            self._idle.discard(client)

    def handle_exit(self, sig: Any, frame: Any) -> None:
        """Stop: answer what has been asked, and wait for no further question."""
        super().handle_exit(sig, frame)
        # As gunicorn does: in a signal's handler nothing may wait.
        gevent.spawn(self._ask_for_no_more)

    def notify(self) -> None:
        """Say that the process lives; while it stops, also let go of who came meanwhile."""
        super().notify()
        if not self.alive:
            self._ask_for_no_more()

    def _ask_for_no_more(self) -> None:
        for client in list(self._idle):
            # What has arrived is still read, and then there is no more. By another descriptor: gevent would break off
            # the one that waits with an error.
            with suppress(OSError), client.dup() as same:
                same.shutdown(socket.SHUT_RD)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        """Answer, within each wait's PATIENCE; an event stream sets a shorter one for itself."""
        sock.settimeout(PATIENCE)
        self._idle.discard(sock)
        req.body = TimeLimitedBody(req.body, time_limit=BODY_WITHIN)
        try:
            with yield_before_pipelined_request():
                return super().handle_request(listener_name, req, sock, addr)
        except TimeoutError:
            # What gunicorn takes for a client that has left.
            raise BrokenPipeError(errno.EPIPE, "the client does not read") from None
        finally:
            self._idle.add(sock)
            sock.settimeout(None)


workers = settings.web_processes
worker_connections = 10_000
# A greenlet that waits is no worker that hangs; gevent's own heartbeat tells a stuck process within this.
timeout = 60
# A stop waits this long for requests, and not for streams: their browsers reconnect.
graceful_timeout = 5
keepalive = 65
# No header says here where a request came from, or which path it is for: see `app/api/trusted_proxies.py`. What a proxy
# leaves of a client's headers would lead past the proxy's own rules.
forwarded_allow_ips = ""
forwarder_headers = ""
# Of a head in all; gunicorn has settings for each of its lines.
RequestParser.mesg_class = BoundedRequest
# It would listen in the home directory, which a container may not write.
control_socket_disable = True


class logger_class(Logger):  # noqa: N801 - the setting's name
    """Leaves the line of each request to the application, which knows whose it is, and repeats no request.

    What gunicorn says while it handles an exception holds that exception's text, and so what could not be read: a
    request line with its ticket, a header with its token, a chunk of a body.
    """

    def access(self, *_: Any, **__: Any) -> None:
        """Say nothing, without putting it together first."""

    def critical(self, msg: Any, *args: Any, **options: Any) -> None:
        """Say it, of an exception its kind alone; so do the others."""
        super().critical(*_told(msg, args), **options)

    def error(self, msg: Any, *args: Any, **options: Any) -> None:
        """See `critical`."""
        super().error(*_told(msg, args), **options)

    def warning(self, msg: Any, *args: Any, **options: Any) -> None:
        """See `critical`."""
        super().warning(*_told(msg, args), **options)

    def info(self, msg: Any, *args: Any, **options: Any) -> None:
        """See `critical`."""
        super().info(*_told(msg, args), **options)

    def debug(self, msg: Any, *args: Any, **options: Any) -> None:
        """See `critical`."""
        super().debug(*_told(msg, args), **options)

    def exception(self, msg: Any, *args: Any, **options: Any) -> None:
        """See `critical`."""
        super().exception(*_told(msg, args), **options)


def _told(msg: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what is logged: the words as they are, or, of an exception under way, their beginning and its kind."""
    problem = sys.exc_info()[1]
    if problem is None:
        return msg, *args
    words = re.split("[:=%]", msg, maxsplit=1)[0].strip() if isinstance(msg, str) else "Exception"
    return "%s: %s", words, tracebacks.describe_exception(problem)


logconfig_dict = logs.logging_config(settings.log_level)


def pre_fork(server: Any, worker: Any) -> None:
    """Give a process the first place in the group that no living one has."""
    taken = {other.place for other in server.WORKERS.values()}
    worker.place = next(place for place in count() if place not in taken)


def post_fork(_server: Any, worker: Any) -> None:
    """Let psycopg2 wait in greenlets instead of stopping them all."""
    patch_psycopg()
    metrics_sharing.continue_counts_of_slot(worker.place)
    tracing.start_sending_spans(settings)


def post_worker_init(_worker: Any) -> None:
    """Keep the garbage collector from walking through every module again and again."""
    gc.freeze()
    gc.enable()


def child_exit(_server: Any, worker: Any) -> None:
    """Forget the browsers and connections of a process that has ended."""
    metrics_sharing.drop_gauges_of_slot(worker.place)


def on_starting(_server: Any) -> None:
    """Refuse to serve through a role that row-level security does not bind, or that owns the tables."""
    with create_app(settings).app_context():
        extensions.check_database_role()
    metrics_sharing.share_with_forked_processes()
