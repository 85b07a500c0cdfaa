"""Sign-in links of `make run` that fit a line, each of which leads to a fresh long one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from devstack import links
from devstack.child import LOOPBACK
from devstack.ports import free_port

# Where short links are tried first.
USUAL_PORT = 8001
# Of a short link: 48 random bits, so that nobody else on the machine guesses one.
CODE_BYTES = 6


@contextmanager
def serve_short_links(environ: Mapping[str, str]) -> Iterator[list[str]]:
    """Serve links that fit a line, each of which leads to a fresh long one; yield the lines that tell them.

    A code is good for as long as this runs. Nothing is served to whoever names another host, as a page does that has
    its own name point here.
    """
    people = {f"/{secrets.token_urlsafe(CODE_BYTES)}": person for person in links.PEOPLE}
    port = free_port(USUAL_PORT)
    address = f"{LOOPBACK}:{port}"

    class Redirect(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            person = people.get(self.path) if self.headers["Host"] == address else None
            self.send_response(HTTPStatus.FOUND if person else HTTPStatus.NOT_FOUND)
            if person:
                self.send_header("Location", links.link_or_reason(person, environ))
            self.send_header("Cache-Control", "no-store")
            self.send_header("Referrer-Policy", "no-referrer")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing: the path is a secret."""

    shown = {}
    for path, person in people.items():
        made = links.link_or_reason(person, environ)
        shown[person] = f"http://{address}{path}" if made.startswith("http") else made
    with ThreadingHTTPServer((LOOPBACK, port), Redirect) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            yield links.format_lines(shown)
        finally:
            server.shutdown()
            thread.join()
