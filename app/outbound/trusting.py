"""requests' transport with the trust store that all of Rita has: see `trust.py`."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import cache
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from app.outbound import trust


class TrustingAdapter(HTTPAdapter):
    """A transport whose connections are verified by a context of ours, which is asked for only where there is TLS."""

    def __init__(self, trusted: Callable[[], ssl.SSLContext], **options: Any) -> None:
        self._trusted = trusted
        super().__init__(**options)

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> tuple[Any, Any]:
        """Have connections verified by our context alone; a client's own certificate stays."""
        host, tls = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] != "https":
            return host, {}
        own = {name: tls[name] for name in ("cert_file", "key_file") if name in tls}
        return host, {"ssl_context": self._trusted(), **own}

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """Leave connections as they are; requests would add the authorities that it brings along."""


def session() -> requests.Session:
    """Return a session that trusts the system's store, or only the file that its `verify` has been set to."""
    made = requests.Session()

    @cache
    def context() -> ssl.SSLContext:
        return trust.context(made.verify if isinstance(made.verify, str) else None)

    made.mount("https://", TrustingAdapter(context))
    return made
