"""The faults themselves, by what they happen to; importing a module registers its faults."""

from __future__ import annotations

import importlib

FAMILIES = ("processes", "broker", "returns", "stores", "receiver", "messages", "stopping")


def load() -> None:
    """Register every fault, in the order of the table."""
    for family in FAMILIES:
        importlib.import_module(f"{__name__}.{family}")
