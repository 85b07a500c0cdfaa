"""What Prometheus would read from the pages of the processes."""

from __future__ import annotations

from collections.abc import Callable

import requests
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.e2e.processes import METRICS_TOKEN
from tests.waiting import eventually

AUTHORIZED = {"Authorization": f"Bearer {METRICS_TOKEN}"}


class Page:
    """One page of figures; a figure is asked for by its name and its labels."""

    def __init__(self, port: str) -> None:
        self.port = int(port)
        self.url = f"http://127.0.0.1:{port}/metrics"

    def text(self) -> str:
        answer = requests.get(self.url, headers=AUTHORIZED, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.text

    def __call__(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of this name that have these labels; there must be one at least."""
        samples = [sample for family in parse(self.text()) for sample in family.samples if sample.name == name]
        found = [sample.value for sample in samples if labels.items() <= sample.labels.items()]
        assert found, f"{name} {labels} is not there"
        return sum(found)

    def samples(self) -> set[str]:
        """Return every sample's name, alone and with each of its labels: `name`, `name{label="value"}`."""
        samples = [sample for family in parse(self.text()) for sample in family.samples]
        named = {sample.name for sample in samples}
        return named | {f'{s.name}{{{key}="{value}"}}' for s in samples for key, value in s.labels.items()}

    def since(self, name: str, **labels: str) -> Callable[[], float]:
        """Return what tells how much a figure has grown since now."""
        before = self(name, **labels)
        return lambda: self(name, **labels) - before

    def becomes(self, value: float, name: str, **labels: str) -> None:
        eventually(lambda: self(name, **labels) == value)
