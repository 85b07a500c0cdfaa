"""Pages of one browser over HTTP/2: Node's, for nothing of this project's speaks it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from devstack.certificates import Certificate
from tests.e2e.browser import Person
from tests.project import program

SCRIPT = Path(__file__).with_name("pages.mjs")


class Pages:
    """What the pages have told so far, and how to leave one."""

    def __init__(self, process: subprocess.Popen[str], output: Path) -> None:
        self._process = process
        self._output = output

    def told(self, what: str) -> list[dict[str, Any]]:
        *whole, _ = self._output.read_text().split("\n")
        return [line for line in map(json.loads, whole) if line["what"] == what]

    def events(self, count: int) -> list[dict[str, Any]]:
        """Return all events, once there are so many."""
        found = self.told("event")
        return found if len(found) == count else []

    def leave(self, page: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{page}\n")
        self._process.stdin.flush()


@contextmanager
def opened(count: int, person: Person, certificate: Certificate, *, output: Path) -> Iterator[Pages]:
    """Open pages of a person's; leaving closes what is left of them."""
    words = [person.base_url, person.headers["Authorization"], str(certificate.authority), str(count)]
    with output.open("w") as stdout:
        process = subprocess.Popen(
            [program("node"), str(SCRIPT), *words], stdin=subprocess.PIPE, stdout=stdout, stderr=stdout, text=True
        )
        try:
            yield Pages(process, output)
        finally:
            process.communicate()
