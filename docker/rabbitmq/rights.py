"""Make the external service's own user on the broker, with the rights of docs/operations.md and no more.

By the API of RabbitMQ's management page; run again, it sets the same. RABBITMQ_PASSWORD is that of the user `rita`.
"""

from __future__ import annotations

import base64
import json
import os
from urllib.request import Request, urlopen

USER = "external_service"
RIGHTS = {"configure": "^data_source_status$", "write": r"^amq\.default$", "read": "^$"}


def put(path: str, content: dict[str, str]) -> None:
    """Set what is at a path of the API. Raises OSError."""
    page = os.environ.get("RABBITMQ_PAGE", "http://rabbitmq:15672")
    word = base64.b64encode(f"rita:{os.environ['RABBITMQ_PASSWORD']}".encode()).decode()
    headers = {"Authorization": f"Basic {word}", "Content-Type": "application/json"}
    urlopen(Request(f"{page}/api/{path}", json.dumps(content).encode(), headers, method="PUT"), timeout=10).close()  # noqa: S310 - an address of the operator's


if __name__ == "__main__":
    put(f"users/{USER}", {"password": os.environ["EXTERNAL_SERVICE_PASSWORD"], "tags": ""})
    put(f"permissions/%2F/{USER}", RIGHTS)
