"""The final answer to a request, past the interim ones that may come before it (RFC 9110, section 15.2).

Python's http.client passes over 100 alone and takes 102 and 103 for the answer itself.
"""

from __future__ import annotations

import http.client

# Servers send one or two. Who never comes to an end is no server that answers.
MOST_INTERIM = 20


class FinalResponse(http.client.HTTPResponse):
    """An answer of http.client's; 101 is a final one, which nobody asked for."""

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(MOST_INTERIM + 1):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status == http.HTTPStatus.SWITCHING_PROTOCOLS or not 100 <= status < 200:  # noqa: PLR2004 - the hundred
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException("nothing but interim answers")
