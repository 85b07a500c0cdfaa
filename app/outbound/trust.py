"""Whose certificates are trusted: one store for whatever Rita sends, fetches and examines.

It is the system's, which operators add their own authorities to and which OpenSSL's SSL_CERT_FILE and SSL_CERT_DIR
replace; not the list that `requests` brings along. See `docs/decisions/0031-one-trust-store.md`.
"""

from __future__ import annotations

import ssl


def context(ca_file: str | None = None) -> ssl.SSLContext:
    """Return what verifies a server's certificate and name: by the system's authorities, or by a file's alone."""
    return ssl.create_default_context(cafile=ca_file)
