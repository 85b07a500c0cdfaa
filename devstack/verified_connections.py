"""Which connections the stand-in has found good credentials for: no credential, so that it may be kept in a file."""

from __future__ import annotations

import json
from pathlib import Path

from devstack.reports import Key


class VerifiedConnections:
    """A set of connections; with a file it outlives the process. Each is (tenant, connection, type)."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        known = json.loads(file.read_text()) if file is not None and file.exists() else []
        self._keys: set[Key] = {(tenant, connection, type_name) for tenant, connection, type_name in known}

    def __contains__(self, key: Key) -> bool:
        return key in self._keys

    def add(self, key: Key) -> None:
        """Remember a connection."""
        if key in self._keys:
            return
        self._keys.add(key)
        if self._file is not None:
            # Whole or not at all, whenever the process ends.
            written = self._file.with_suffix(".new")
            written.write_text(json.dumps(sorted(self._keys)))
            written.replace(self._file)
