"""A database and a role whose defaults are not what Rita goes by: each connection says what it needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg2
import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.engine import make_url

from app.unit_of_work import unit_of_work
from tests.factories import Browser, in_parallel

# As a role or a database has them from `ALTER … SET`.
ODD = {
    "timezone": "Asia/Kathmandu",
    "default_transaction_isolation": "repeatable read",
    "datestyle": "German, DMY",
    "intervalstyle": "sql_standard",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "client_encoding": "LATIN1",
    "row_security": "off",
    "statement_timeout": "1",
    "lock_timeout": "1",
}
PATH = "/api/data-sources"


@pytest.fixture(params=["DATABASE", "ROLE"])
def odd(
    request: pytest.FixtureRequest, another_app: Callable[..., Flask], web: Flask, admin_database_url: str
) -> Iterator[Flask]:
    """An application whose database, or whose role, has other defaults than PostgreSQL's."""
    url = make_url(web.extensions["settings"].database_url)
    name = url.database if request.param == "DATABASE" else url.username
    with closing(psycopg2.connect(admin_database_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for setting, value in ODD.items():
                cursor.execute(f'ALTER {request.param} "{name}" SET {setting} = {value!r}')
            yield another_app()
            cursor.execute(f'ALTER {request.param} "{name}" RESET ALL')


def test_moments_are_told_in_utc_and_texts_come_back_whole(odd: Flask) -> None:
    ada = Browser(odd)
    path = f"{PATH}/{ada.seeded()}"

    shown = ada.patch(path, {"name": "Wiki 維基 \\ '", "config": {"a": "\\n💻"}}).json["data"]

    assert shown == ada.get(path).json["data"]
    assert (shown["name"], shown["config"]) == ("Wiki 維基 \\ '", {"a": "\\n💻"})
    for moment in (shown["created_at"], shown["updated_at"]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", moment), moment


def test_presses_that_come_together_wait_for_each_other_instead_of_failing(odd: Flask) -> None:
    ada = Browser(odd)
    path = f"{PATH}/{ada.put(f'{PATH}/websearch', {}).json['data']['id']}"

    answers = in_parallel(12, lambda _: ada.post(f"{path}/sync", {"force": True}).status_code)

    assert answers == [200] * 12


def test_what_a_connection_goes_by_is_what_it_says(odd: Flask) -> None:
    with odd.app_context(), unit_of_work() as work:
        found = {name: work.session.scalar(text(f"SHOW {name}")) for name in (*ODD, "transaction_isolation")}

    assert found == {
        "timezone": "UTC",
        "default_transaction_isolation": "repeatable read",
        "transaction_isolation": "read committed",
        "datestyle": "ISO, MDY",
        "intervalstyle": "postgres",
        "bytea_output": "hex",
        "standard_conforming_strings": "on",
        "client_encoding": "UTF8",
        "row_security": "on",
        "statement_timeout": "30s",
        "lock_timeout": "10s",
    }
