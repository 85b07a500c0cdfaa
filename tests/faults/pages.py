"""A page that stays open: an `EventSource` that reconnects by itself and believes what it is told."""

from __future__ import annotations

import http.client
import threading

from tests.e2e.browser import Event, Person, Stream

RECONNECT = 0.3


class Page:
    """Reads one organization's events, through every interruption."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self._streams: list[Stream] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read_for_ever, name="page", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        for stream in self._streams[-1:]:
            stream.close()
        self._thread.join(5)

    @property
    def events(self) -> list[Event]:
        """All that came, in order; what was replayed, once."""
        found: dict[tuple[str, str], Event] = {}
        for stream in list(self._streams):
            for event in list(stream.events):
                key = (event.type, event.id)
                if event.type != "data_source_update" or key not in found:
                    # A later snapshot takes the place of an earlier one.
                    found.pop(key, None)
                    found[key] = event
        return list(found.values())

    @property
    def shown(self) -> dict[str, str]:
        """Return the status that the page shows of each connection."""
        statuses: dict[str, str] = {}
        for event in self.events:
            if event.type == "data_source_snapshot":
                statuses |= {row["id"]: row["status"] for row in event.data["data"]}
            elif event.type == "data_source_update":
                statuses[event.data["connectionId"]] = event.data["status"]
        return statuses

    def _read_for_ever(self) -> None:
        last_id: str | None = None
        while not self._over.is_set():
            try:
                stream = self._person.stream(after=last_id).open()
            except (OSError, http.client.HTTPException):
                # Nobody is there to stream; the page tries again, as browsers do.
                self._over.wait(RECONNECT)
                continue
            if stream.status == http.client.OK:
                self._streams.append(stream)
                while not stream.ended.wait(RECONNECT) and not self._over.is_set():
                    pass
                last_id = stream.last_id if stream.events else last_id
            stream.close()
            self._over.wait(RECONNECT)
