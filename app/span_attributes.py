"""Attributes of spans that more than one module writes."""

from __future__ import annotations

OPERATION_ID_ATTRIBUTE = "rita.operation_id"
