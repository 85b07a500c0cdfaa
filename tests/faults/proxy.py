"""A TCP proxy between one process and one server, which can do to a connection what networks do."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self

from devstack.child import LOOPBACK
from devstack.ports import free_port

CHUNK = 64 * 1024


class _Link:
    """One connection through the proxy: the client's socket, the server's, and a gate that bytes wait at."""

    def __init__(self, client: socket.socket, server: socket.socket, *, flows: bool) -> None:
        self.client = client
        self.server = server
        self.gate = threading.Event()
        self.abandoned = False
        # How many of the server's next bytes pass before the gate closes.
        self.torn_after = 0
        self._finished = 0
        self._lock = threading.Lock()
        if flows:
            self.gate.set()
        for source, sink in ((client, server), (server, client)):
            threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(CHUNK):
                self.gate.wait()
                if source is self.server and (passing := self.torn_after):
                    sink.sendall(data[:passing])
                    data, self.torn_after = data[passing:], 0
                    self.gate.clear()
                    self.gate.wait()
                sink.sendall(data)
            self.gate.wait()
            sink.shutdown(socket.SHUT_WR)
            with self._lock:
                self._finished += 1
                has_ended = self._finished == len((source, sink))
        except OSError:
            # A side that is gone, however it went, is gone for the other one, too.
            self.gate.wait()
            has_ended = True
        if has_ended and not self.abandoned:
            self.close()

    def close(self) -> None:
        for side in (self.client, self.server):
            _close(side)
        self.gate.set()


class Proxy:
    """Listens on a port of its own for a server on another; passes everything until it is told otherwise."""

    def __init__(self, upstream_port: int) -> None:
        self.port = free_port()
        self._upstream_port = upstream_port
        self._listener: socket.socket | None = None
        self._links: list[_Link] = []
        self._kept: list[socket.socket] = []
        self._lock = threading.Lock()
        self._flows = True

    def __enter__(self) -> Self:
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        self.cut()

    @property
    def links(self) -> int:
        """How many connections there were since the last cut."""
        return len(self._links)

    def listen(self) -> None:
        """Take connections."""
        listener = socket.create_server((LOOPBACK, self.port))
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def refuse(self) -> None:
        """Take no connection any more; those that stand go on."""
        if self._listener is not None:
            _close(self._listener)
            self._listener = None

    def freeze(self) -> None:
        """Pass no byte in either direction, on no connection, old or new; nobody is told."""
        with self._lock:
            self._flows = False
            for link in self._links:
                link.gate.clear()

    def thaw(self) -> None:
        """Pass on what has waited, and all that follows."""
        with self._lock:
            self._flows = True
            for link in self._links:
                link.gate.set()

    def tear(self, *, after: int) -> None:
        """Close each connection's gate within the server's next answer: behind that many of its bytes, until `thaw`."""
        with self._lock:
            for link in self._links:
                link.torn_after = after

    @property
    def is_torn(self) -> bool:
        """Tell whether an answer has been torn on every connection."""
        return all(not link.gate.is_set() for link in self._links)

    def cut(self) -> None:
        """End every connection on both sides; let go of what was abandoned, too."""
        with self._lock:
            for link in self._links:
                link.close()
            for side in self._kept:
                _close(side)
            self._links, self._kept = [], []

    def abandon(self, side: str) -> None:
        """Close one side (`client` or `server`) of every connection; to the other it seems to stand, until `cut`."""
        with self._lock:
            for link in self._links:
                if -1 in (link.client.fileno(), link.server.fileno()):
                    # Ended long ago.
                    continue
                link.abandoned = True
                link.gate.clear()
                gone, stays = (link.client, link.server) if side == "client" else (link.server, link.client)
                # A second descriptor, so that the pump's end does not end the connection.
                self._kept.append(stays.dup())
                _close(gone)
            self._links = []

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((LOOPBACK, self._upstream_port), timeout=5)
            except OSError:
                _close(client)
                continue
            server.settimeout(None)
            with self._lock:
                self._links.append(_Link(client, server, flows=self._flows))


def _close(side: socket.socket) -> None:
    with contextlib.suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)
    side.close()
