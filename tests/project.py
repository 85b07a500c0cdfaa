"""Where the project is, for tests that read its files or start its processes there."""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
