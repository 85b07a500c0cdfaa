"""Over TLS, a connection to the broker is one to the host that its address names.

Left to themselves, amqp looks whether anybody vouches for a certificate and not whose it is, and kombu's Redis
transport at neither: whoever stands in between with a certificate of their own is told the password.
"""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import urlsplit


def broker_tls_options(broker_url: str) -> dict[str, Any] | None:
    """Return kombu's `ssl`, and Celery's `broker_use_ssl`, for a broker's address: None where there is no TLS.

    The authorities are the system's store: docs/decisions/0026.
    """
    parts = urlsplit(broker_url)
    if parts.scheme == "amqps":
        return {"server_hostname": parts.hostname or "localhost"}
    if parts.scheme == "rediss":
        return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    return None
