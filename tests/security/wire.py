"""HTTP below any client that would mend it."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit


def exchange(base_url: str, request: bytes) -> bytes:
    """Send bytes to the web server as they are, and return its answer as it is."""
    parts = urlsplit(base_url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as opened:
        opened.sendall(request)
        opened.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := opened.recv(65536):
            received += chunk
    return received
