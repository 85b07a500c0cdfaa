"""Whom we believe about where a request came from: the proxies that TRUSTED_PROXIES names, and nobody else.

Anybody can send `X-Forwarded-For`. A request that comes from one of these proxies is taken for that of the address that
stands last in it, by the scheme and under the path that the proxy tells.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from app import extensions

IpNetwork = IPv4Network | IPv6Network


def init_app(app: Flask) -> None:
    """Read what trusted proxies tell, where there are any."""
    if trusted := extensions.settings_of(app).trusted_proxies:
        app.wsgi_app = _TrustedProxyMiddleware(app.wsgi_app, trusted)  # type: ignore[method-assign]


class _TrustedProxyMiddleware:
    def __init__(self, application: Any, trusted_networks: Iterable[IpNetwork]) -> None:
        self._application = application
        self._application_behind_proxy = ProxyFix(application, x_for=1, x_proto=1, x_prefix=1)
        self._trusted_networks = tuple(trusted_networks)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        is_trusted = self._is_trusted(environ.get("REMOTE_ADDR", ""))
        return (self._application_behind_proxy if is_trusted else self._application)(environ, start_response)

    def _is_trusted(self, peer: str) -> bool:
        try:
            address = ip_address(peer)
        except ValueError:
            # A socket of this machine has no address.
            return False
        return any(address in network for network in self._trusted_networks)
