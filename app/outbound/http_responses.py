"""The final answer to a request, past the interim ones that may come before it (RFC 9110, section 15.2).

Python's http.client passes over 100 alone and takes 102 and 103 for the answer itself. Of a body in chunks, whoever
answers says how much is read: here no chunk is smaller than nothing, and what follows the last one is left unread.
"""

from __future__ import annotations

import http.client
from typing import Any

# Servers send one or two. Who never comes to an end is no server that answers.
MAX_INTERIM_RESPONSES = 20


class FinalHttpResponse(http.client.HTTPResponse):
    """An answer of http.client's; 101 is a final one, which nobody asked for."""

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(MAX_INTERIM_RESPONSES + 1):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status == http.HTTPStatus.SWITCHING_PROTOCOLS or not 100 <= status < 200:  # noqa: PLR2004 - the hundred
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException("nothing but interim answers")

    def _read_next_chunk_size(self) -> int:
        size = int(super()._read_next_chunk_size())  # type: ignore[misc]
        if size < 0:
            # What its caller takes for a body that ends early.
            raise ValueError("a chunk of less than nothing")
        return size

    def _read_and_discard_trailer(self) -> None:
        """Leave what follows the last chunk unread: the connection is closed, and nobody looks at it."""


class UnreadableHeaders(http.client.HTTPException):
    """What comes after the status of a final answer is no HTTP, too long, or does not come."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}, and headers that cannot be read")
        self.final_status = status


class StatusOnlyResponse(FinalHttpResponse):
    """An answer of which the status alone counts, and when to come again: it keeps no other header.

    What headers say of each other, of the body or of cookies is looked at by nobody, and so nobody stumbles over it.
    """

    _final_status: int | None = None

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()
        self._final_status = status
        return version, status, reason

    def begin(self, **options: Any) -> None:
        """Read the status and the headers. Raises UnreadableHeaders where the status was read."""
        try:
            super().begin(**options)
        except (OSError, http.client.HTTPException) as problem:
            if self._final_status is None:
                raise
            raise UnreadableHeaders(self._final_status) from problem
        again = self.headers["Retry-After"]
        self.headers = self.msg = http.client.HTTPMessage()
        if again is not None:
            self.headers["Retry-After"] = again
