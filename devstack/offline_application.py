"""The application where nothing of it is used but what it knows of itself: no server is asked anything."""

from __future__ import annotations

import secrets
from typing import Any

from cryptography.fernet import Fernet
from flask import Flask

from app import create_app
from app.config import Settings
from devstack.child import LOOPBACK


def create_offline_application(**changes: Any) -> Flask:
    """Make the application with settings that lead nowhere, but for the changes."""
    unused: dict[str, Any] = {
        "environment": "development",
        "log_level": "WARNING",
        "database_url": f"postgresql://{LOOPBACK}/unused",
        "redis_url": f"redis://{LOOPBACK}",
        "rabbitmq_url": f"amqp://{LOOPBACK}",
        "automation_webhook_url": f"http://{LOOPBACK}",
        "automation_auth": "unused",
        "jwt_secret": secrets.token_hex(32),
        "jwt_public_key": None,
        "jwt_jwks_url": None,
        "seal_keys": (Fernet.generate_key().decode(),),
    }
    return create_app(Settings(**unused | changes))
