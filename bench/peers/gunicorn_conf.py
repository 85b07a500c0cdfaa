"""The same server for every peer that serves HTTP as for the product: one process, greenlets."""

from __future__ import annotations

# ruff: noqa: E402 - whatever is imported before the patch keeps blocking the whole process
from gevent import monkey

monkey.patch_all()

import os
from typing import Any

from psycogreen.gevent import patch_psycopg

bind = f"127.0.0.1:{os.environ['PORT']}"
worker_class = "gevent"
workers = 1
worker_connections = 10_000
timeout = 60
graceful_timeout = 5
keepalive = 65
control_socket_disable = True


def post_fork(_server: Any, _worker: Any) -> None:
    """Let psycopg2 wait in greenlets."""
    patch_psycopg()
