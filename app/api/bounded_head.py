"""A request's head that is no longer than any honest one, and its trailers: until they end, all of it is in our memory.

gunicorn bounds each line and how many there are, eight hundred kilobytes in all, and looks through what has come anew
with every piece, however small. Who sends so much, and then a byte at a time, had the process to themselves.

Used by the web server alone (`gunicorn.conf.py`).
"""

from __future__ import annotations

from typing import Any

from gunicorn.http.message import Request

# The longest honest line is a token's. nginx and HAProxy pass on half as much in all.
MAX_HEAD_BYTES = 64 * 1024


class BoundedRequest(Request):  # type: ignore[misc]
    """gunicorn's request: each line may be as long as its settings say, but not all of them."""

    # What gunicorn makes of its settings.
    max_buffer_headers: int

    def parse(self, unreader: Any) -> Any:
        """Read the head. Raises LimitRequestHeaders, as reading longer trailers does later."""
        self.max_buffer_headers = min(self.max_buffer_headers, MAX_HEAD_BYTES)
        return super().parse(unreader)
