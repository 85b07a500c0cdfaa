"""requests' transport under a deadline: see `deadline.py`."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from app.outbound.deadline import TotalDeadline
from app.outbound.http_responses import StatusOnlyResponse
from app.outbound.trust_store_adapter import TrustStoreAdapter


class DeadlineAdapter(TrustStoreAdapter):
    """A transport whose every connection, before its TLS handshake, is put under one deadline.

    `trusted` gives what verifies the receiver's certificate; it is asked for only where there is one.
    """

    def __init__(self, deadline: TotalDeadline, *, create_ssl_context: Callable[[], ssl.SSLContext]) -> None:
        self._deadline = deadline
        super().__init__(create_ssl_context, pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools' connections watched ones."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {
            "http": partial(_DeadlineHttpPool, deadline=self._deadline),
            "https": partial(_DeadlineHttpsPool, deadline=self._deadline),
        }


class _DeadlineConnectionMixin:
    """What a connection, of either kind, does when it opens its socket, and what it takes for an answer."""

    response_class: Any = StatusOnlyResponse

    def __init__(self, *args: Any, deadline: TotalDeadline, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline = deadline

    def _new_conn(self) -> socket.socket:
        opened: socket.socket = super()._new_conn()  # type: ignore[misc]
        self._deadline.add_socket(opened)
        return opened


class _DeadlineHttpConnection(_DeadlineConnectionMixin, HTTPConnection):
    pass


class _DeadlineHttpsConnection(_DeadlineConnectionMixin, HTTPSConnection):
    pass


class _DeadlineHttpPool(HTTPConnectionPool):
    # Whatever a pool is given that it does not know goes to its connections.
    ConnectionCls = _DeadlineHttpConnection


class _DeadlineHttpsPool(HTTPSConnectionPool):
    ConnectionCls = _DeadlineHttpsConnection
