"""requests' transport with the trust store that all of Rita has: see `trust_store.py`."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import cache
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from app.outbound import trust_store


class TrustStoreAdapter(HTTPAdapter):
    """A transport whose connections are verified by a context of ours, which is asked for only where there is TLS."""

    def __init__(self, create_ssl_context: Callable[[], ssl.SSLContext], **options: Any) -> None:
        self._create_ssl_context = create_ssl_context
        super().__init__(**options)

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> tuple[Any, Any]:
        """Have connections verified by our context alone; a client's own certificate stays."""
        host, tls = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] != "https":
            return host, {}
        own = {name: tls[name] for name in ("cert_file", "key_file") if name in tls}
        return host, {"ssl_context": self._create_ssl_context(), **own}

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """Leave connections as they are; requests would add the authorities that it brings along."""


def create_session() -> requests.Session:
    """Return a session that trusts the system's store, or only the file that its `verify` has been set to."""
    created = requests.Session()

    @cache
    def ssl_context() -> ssl.SSLContext:
        return trust_store.create_ssl_context(created.verify if isinstance(created.verify, str) else None)

    created.mount("https://", TrustStoreAdapter(ssl_context))
    return created
