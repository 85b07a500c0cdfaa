from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from tests.factories import Browser, rows

PATH = "/api/data-sources"
SECRET = "correct-horse-battery-staple"

HIDDEN = [
    ({"config": {"password": SECRET}}, "config.password"),
    ({"config": {"api_token": SECRET}}, "config.api_token"),
    ({"config": {"apiToken": SECRET}}, "config.apiToken"),
    ({"config": {"API-KEY": SECRET}}, "config.API-KEY"),
    ({"config": {"client_secret": SECRET}}, "config.client_secret"),
    ({"config": {"access_token": SECRET}}, "config.access_token"),
    ({"config": {"refresh_token": SECRET}}, "config.refresh_token"),
    ({"config": {"bot_token": SECRET}}, "config.bot_token"),
    ({"config": {"AWS_SECRET_ACCESS_KEY": SECRET}}, "config.AWS_SECRET_ACCESS_KEY"),
    ({"config": {"credentials": {"anything": SECRET}}}, "config.credentials"),
    ({"config": {"a": {"b": {"c": {"password": SECRET}}}}}, "config.a.b.c.password"),
    ({"config": {"sites": [{"name": "x"}, {"db_password": SECRET}]}}, "config.sites[1].db_password"),
    ({"config": {"note": f"password: {SECRET}"}}, "config.note"),
    ({"config": {"url": f"https://rita:{SECRET}@wiki.example.org/"}}, "config.url"),
    ({"config": {"header": f"Bearer {SECRET}"}}, "config.header"),
    ({"config": {"deep": [[[[{"x": f"api_key={SECRET}"}]]]]}}, "config.deep[0][0][0][0].x"),
    ({"config": {"fields": [{"name": "api_token", "value": SECRET}]}}, "config.fields[0].value"),
    ({"config": {"db_pwd": SECRET}}, "config.db_pwd"),
    ({"config": {"spaces": "ATA" + "TT3x" + SECRET}}, "config.spaces"),
    ({"config": {"baseUrl": "https://wiki.example.org/?token=1" + SECRET}}, "config.baseUrl"),
    ({"config": {"a": {f"password: {SECRET}": 1}}}, "config.a"),
    ({"name": f"password={SECRET}"}, "name"),
    ({"description": f"Log in with client_secret: {SECRET}"}, "description"),
]


@pytest.mark.parametrize(("body", "place"), HIDDEN)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_credential_outside_verify_is_refused_by_its_place_and_not_repeated(
    web: Flask, method: str, body: Any, place: str
) -> None:
    ada = Browser(web)
    path = f"{PATH}/{ada.seeded()}"

    answer = ada.call(method, path, body)

    assert (answer.status_code, answer.json["code"]) == (422, "secret_refused")
    assert [error["field"] for error in answer.json["errors"]] == [place]
    assert place in answer.json["message"]
    assert "verify" in answer.json["message"]
    assert SECRET not in answer.text
    assert SECRET not in str(rows(web, "SELECT * FROM data_source_connections"))


@pytest.mark.parametrize(("method", "path"), [("PUT", f"{PATH}/sharepoint"), ("POST", PATH)])
def test_creating_refuses_credentials_too(web: Flask, method: str, path: str) -> None:
    ada = Browser(web)

    answer = ada.call(method, path, {"config": {"password": SECRET}} | ({"type": "jira"} if method == "POST" else {}))

    assert (answer.status_code, answer.json["code"]) == (422, "secret_refused")
    assert ada.get(PATH).json["data"] == []


def test_every_place_is_named_at_once(web: Flask) -> None:
    ada = Browser(web)

    answer = ada.patch(
        f"{PATH}/{ada.seeded()}",
        {"name": f"password={SECRET}", "config": {"api_key": SECRET, "a": [{"secret": SECRET}], "spaces": "ENG"}},
    )

    assert {error["field"] for error in answer.json["errors"]} == {"name", "config.api_key", "config.a[0].secret"}


@pytest.mark.parametrize(
    "config",
    [
        {"tokenizer": "word", "secretary": "Max", "passwordPolicy": "none", "keys": ["a"], "author": "Max"},
        {"projectKeys": "ENG,PROD", "baseUrl": "https://jira.example.org", "recursive": True},
        {"note": "The password is kept elsewhere"},
    ],
)
def test_what_only_sounds_like_a_credential_is_configuration(web: Flask, config: dict[str, Any]) -> None:
    ada = Browser(web)

    answer = ada.patch(f"{PATH}/{ada.seeded()}", {"config": config})

    assert (answer.status_code, answer.json.get("data", {}).get("config")) == (200, config)
