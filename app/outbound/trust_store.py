"""Whose certificates are trusted: one store for whatever Rita sends, fetches and examines.

It is the system's, which operators add their own authorities to and which OpenSSL's SSL_CERT_FILE and SSL_CERT_DIR
replace; not the list that `requests` brings along. See `docs/decisions/0026-one-trust-store.md`.
"""

from __future__ import annotations

import ssl
from pathlib import Path


def create_ssl_context(ca_file: str | None = None) -> ssl.SSLContext:
    """Return what verifies a server's certificate and name: by the system's authorities, or by a file's alone."""
    return ssl.create_default_context(cafile=ca_file)


def trust_store_paths(ca_file: str | None = None) -> list[Path]:
    """Return the file, or folder, or both, that the authorities are read from, as far as they are there."""
    usual = ssl.get_default_verify_paths()
    named = [ca_file] if ca_file else [usual.cafile, usual.capath]
    return [Path(name) for name in named if name and Path(name).exists()]
