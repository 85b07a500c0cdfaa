"""Rita Data Sources. Importing the package imports nothing else; `app/factory.py` says which process gets what."""

from __future__ import annotations

from typing import TYPE_CHECKING

# A worker, beat and Flower load other parts of the package, or none.
# ruff: noqa: PLC0415

if TYPE_CHECKING:
    from flask import Flask

    from app.config import Settings

__all__ = ["create_app", "create_web"]


def create_app(settings: Settings | None = None) -> Flask:
    """Build the application for the operators' commands, `flask --app app …`, or of the given settings.

    Of the environment a command demands what it uses. Raises SettingsError, which names all that is missing or unsafe.
    """
    from app import config, factory, process_settings

    return factory.create_web_app(settings or config.Settings.from_environment(process_settings.COMMANDS_PROCESS))


def create_web() -> Flask:
    """Build the application that answers requests: what gunicorn looks for.

    Raises SettingsError, which names all that is missing or unsafe.
    """
    from app import config, factory

    return factory.create_web_app(config.Settings.from_environment("web"))
