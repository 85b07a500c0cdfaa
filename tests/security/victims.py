"""Two organizations: Ada, who has everything that could be taken, and Eve, who tries to."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest
from flask import Flask
from redis import Redis

from app.api.rate_limits import REDIS_KEY_PREFIX
from tests.factories import Browser
from tests.places import of_database, of_redis

PATH = "/api/data-sources"
Snapshot = dict[str, list[str]]


class Victim(Browser):
    """Ada: a running sync, a verification under way with its credentials sealed, and words to know her by."""

    def __init__(self, app: Flask) -> None:
        super().__init__(app)
        self.word = f"adas{uuid4().hex}"
        self.seeded()
        for name in ("websearch", "confluence", "jira"):
            self.put(f"{PATH}/{name}", {"name": self.word, "config": {"note": self.word}})
        name = {"headers": {"Idempotency-Key": self.word}}
        sync = self.post(f"{PATH}/{self.connection('websearch')['id']}/sync", **name)
        verify = self.post(f"{PATH}/{self.connection()['id']}/verify", {"credentials": {"api_token": "x"}})
        self.operations = [sync.json["data"]["operation_id"], verify.json["operation_id"]]
        self.connections = [self.connection(name)["id"] for name in ("websearch", "confluence", "jira")]
        self.ids = [str(self.organization_id), str(self.user_id), *self.operations, *self.connections]

    def named_in(self, text: str) -> list[str]:
        """Return what of hers a text tells."""
        return [word for word in (self.word, *self.ids) if word in text]


@pytest.fixture
def ada(web: Flask) -> Victim:
    return Victim(web)


@pytest.fixture
def eve(web: Flask, ada: Victim) -> Browser:
    """Somebody of another organization, as powerful there as one can be."""
    assert ada
    eve = Browser(web, role="owner")
    eve.seeded()
    return eve


@pytest.fixture
def snapshot(ada: Victim, superuser: str, redis: Redis) -> Callable[[], Snapshot]:
    """Take a picture of everything that is Ada's: her rows, her events, her sealed credentials."""

    def take() -> Snapshot:
        kept = of_database(superuser)
        del kept["pg_stat_activity"]
        tables = {table: [row for row in found if ada.named_in(row)] for table, found in kept.items()}
        # Her own rate limits' accounts pass by themselves.
        keys = {key: value for key, value in of_redis(redis).items() if not key.startswith(REDIS_KEY_PREFIX)}
        return tables | {"redis": [f"{key}={keys[key]}" for key in sorted(keys) if ada.named_in(key)]}

    return take
