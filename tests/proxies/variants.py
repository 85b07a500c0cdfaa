"""What people commonly change in a proxy's file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.proxies.fronts import CADDY, HAPROXY, Changes

REDIRECTS = "http-request redirect scheme https code 301 unless { ssl_fc }"


def changed(changes: Changes, shown: str, used: str, *, is_added: bool = False) -> Changes:
    """Return changes with another one, or with more of one that there is."""

    def all_of(*given: Any) -> dict[str, str]:
        made = dict(changes(*given))
        return made | {shown: made[shown] + used if is_added else used}

    return all_of


def under_path(changes: Changes, path: str) -> Changes:
    """Return nginx' changes with those of docs/deploy.md for a path."""
    found = changed(changes, "location / {", f"location {path} {{")
    found = changed(found, "proxy_pass http://rita;", "proxy_pass http://rita/;")
    return changed(found, 'X-Forwarded-Prefix ""', f"X-Forwarded-Prefix {path.rstrip('/')}")


COMPRESSING = replace(
    CADDY,
    name="Caddy with encode",
    changes=changed(CADDY.changes, "rita.example {", "\n\tencode gzip", is_added=True),
)
# Where TLS has ended before.
PLAIN = replace(HAPROXY, name="HAProxy without TLS", changes=changed(HAPROXY.changes, REDIRECTS, ""))
