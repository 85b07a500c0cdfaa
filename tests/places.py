"""Every place where something may be left behind, as text: for tests that look for what must not be there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing

import psycopg2
from redis import Redis


def of_redis(redis: Redis) -> dict[str, str]:
    """Return every value of every type, as text; what expires while we look is no longer there."""
    readers = {
        b"string": redis.get,
        b"hash": redis.hgetall,
        b"list": lambda key: redis.lrange(key, 0, -1),
        b"set": redis.smembers,
        b"zset": lambda key: redis.zrange(key, 0, -1),
        b"stream": redis.xrange,
    }
    types = {key: redis.type(key) for key in redis.scan_iter()}
    return {key.decode(): repr(readers[kind](key)) for key, kind in types.items() if kind != b"none"}


def of_database(superuser_url: str) -> dict[str, list[str]]:
    """Return every row of every table as text, all its columns in it, by table; and what sessions ask."""
    with closing(psycopg2.connect(superuser_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'")
        tables = [name for (name,) in cursor.fetchall()]
        found = {}
        for table in tables:
            cursor.execute(f"SELECT t::text FROM {table} t ORDER BY 1")  # noqa: S608 - names from the catalogue
            found[table] = [text for (text,) in cursor.fetchall()]
        cursor.execute("SELECT a::text FROM pg_stat_activity a WHERE datname = current_database()")
        found["pg_stat_activity"] = [text for (text,) in cursor.fetchall()]
    return found


def holding(word: str, places: dict[str, Iterable[str]]) -> list[tuple[str, str]]:
    """Return where a word is, each time with the text that holds it."""
    return list(_holding(word, places))


def _holding(word: str, places: dict[str, Iterable[str]]) -> Iterator[tuple[str, str]]:
    for place, texts in places.items():
        for text in texts:
            if word in text:
                yield place, text[:300]
