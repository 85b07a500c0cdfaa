"""What passes through the application's Redis touches no disk on a laptop either; what waits in a broker does."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from redis import Redis

from devstack.servers import Servers, servers
from devstack.valkey import Valkey


@pytest.fixture
def environ(tmp_path: Path) -> Mapping[str, str]:
    """Name the database alone; no RabbitMQ is found."""
    return {"PATH": str(tmp_path), "DATABASE_URL": "postgresql://elsewhere.example/rita"}


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rita-valkey-") as folder:
        yield Path(folder) / "servers"


def everything_in(directory: Path) -> bytes:
    return b"".join(file.read_bytes() for file in directory.rglob("*") if file.is_file())


def test_no_sealed_credential_of_make_run_reaches_a_disk_whatever_stands_in_for_the_broker(
    directory: Path, environ: Mapping[str, str]
) -> None:
    with servers(directory, environ=environ) as started:
        with Redis.from_url(started.redis_url) as redis:
            sealed = Fernet(Fernet.generate_key()).encrypt(b"a credential")
            redis.set("rita:sealed:of-a-verification", sealed, ex=120)
            assert {name: redis.config_get(name)[name] for name in ("save", "appendonly")} == {
                "save": "",
                "appendonly": "no",
            }
        with Redis.from_url(started.rabbitmq_url) as broker:
            broker.lpush("webhooks", "a job")
        assert _ports(started.redis_url) != _ports(started.rabbitmq_url)
    assert sealed[:40] not in everything_in(directory)

    with servers(directory, environ=environ) as started:
        kept = _contents(started)
    assert kept == {"redis": 0, "broker": 1}


def _ports(url: str) -> str:
    return url.rpartition(":")[2].partition("/")[0]


def _contents(started: Servers) -> dict[str, int]:
    found = {}
    for name, url in (("redis", started.redis_url), ("broker", started.rabbitmq_url)):
        with Redis.from_url(url) as asked:
            found[name] = int(asked.dbsize())
    return found


def test_what_an_earlier_release_has_written_is_removed(directory: Path) -> None:
    with Valkey(directory, keeps=True) as earlier, Redis.from_url(earlier.url) as redis:
        redis.set("rita:sealed", "encrypted")
    assert b"encrypted" in everything_in(directory)

    with Valkey(directory) as now, Redis.from_url(now.url) as redis:
        assert redis.dbsize() == 0
    assert b"encrypted" not in everything_in(directory)
    assert not os.path.lexists(directory / "appendonlydir")
