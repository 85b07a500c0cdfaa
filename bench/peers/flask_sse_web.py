"""Stock flask-sse, as its documentation shows it."""

from __future__ import annotations

import os

from flask import Flask
from flask_sse import sse

app = Flask(__name__)
app.config["REDIS_URL"] = os.environ["REDIS_URL"]
app.register_blueprint(sse, url_prefix="/api/sse")


@app.get("/")
def index() -> str:
    """Answer that it serves."""
    return "ready"
