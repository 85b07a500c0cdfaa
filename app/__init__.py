"""Rita Data Sources. Importing the package imports nothing else; `app/factory.py` says which process gets what."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.config import Settings

__all__ = ["create_app"]


def create_app(settings: Settings | None = None) -> Flask:
    """Build the web application, from the environment unless settings are given: what Flask and gunicorn look for.

    Raises SettingsError, which names all that is missing or unsafe.
    """
    from app import factory  # noqa: PLC0415 - a worker, beat and Flower load other parts of the package, or none

    return factory.web(settings)
