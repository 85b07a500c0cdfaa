"""A person at the page of what runs in containers, signed in by a link of the demo's."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import requests

from tests.waiting import eventually

# The stand-in answers within seconds; the machine may have other work.
WITHIN = 120.0

CREDENTIALS = {"email": "ada@acme.example", "api_token": "good", "url": "https://acme.example"}


class Person:
    """Presses by the API, and waits for what comes of it."""

    def __init__(self, link: str) -> None:
        parts = urlsplit(link)
        self._web = f"{parts.scheme}://{parts.netloc}"
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {parts.fragment.removeprefix('token=')}"

    def asks(self, method: str, path: str, body: dict[str, Any] | None = None, *, status: int = 200) -> Any:
        answer = self._session.request(method, f"{self._web}/api/data-sources{path}", json=body, timeout=20)
        assert answer.status_code == status, answer.text
        return answer.json()

    def sees_the_page(self) -> bool:
        return "<html" in self._session.get(f"{self._web}/", timeout=20).text

    @property
    def confluence(self) -> dict[str, Any]:
        (found,) = self.asks("GET", "?type=confluence")["data"]
        return dict(found)

    def begins(self) -> None:
        """Have the standard sources, and Confluence set up."""
        assert self.asks("POST", "/seed")["created"] == 4
        self.asks("PUT", "/confluence", {"config": {}})

    def presses(self, what: str, body: dict[str, Any] | None = None, *, status: int = 200) -> None:
        self.asks("POST", f"/{self.confluence['id']}/{what}", body or {}, status=status)

    def verifies(self) -> None:
        """Verify, and see it verified."""
        before = self.confluence["last_verification_at"]
        self.presses("verify", {"credentials": CREDENTIALS, "settings": {}})
        after = eventually(
            lambda: (found := self.confluence)["last_verification_at"] != before and found, within=WITHIN
        )
        assert (after["status"], after["last_verification_error"]) == ("idle", None)

    def syncs(self) -> None:
        """Sync, and see it completed."""
        self.presses("sync")
        assert self.sees_it_end()["last_sync_status"] == "completed"

    def sees_it_end(self) -> dict[str, Any]:
        return eventually(lambda: (found := self.confluence)["status"] == "idle" and found, within=WITHIN)
