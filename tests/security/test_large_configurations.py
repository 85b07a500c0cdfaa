"""A member with the largest configurations that are taken: nobody else waits while they are looked at, or read."""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
import unicodedata
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from flask import Flask

from app.api import read_limits, request_bodies, request_handling
from app.api.request_bodies import MAX_CONFIG_BYTES
from app.domain import credential_detection
from app.domain.json_values import JsonObject, canonical_json
from app.domain.large_values import summarize_if_large
from tests.e2e.browser import Person
from tests.e2e.processes import Processes
from tests.factories import Browser, rows

PATH = "/api/data-sources"
LARGE = "ENG," * (MAX_CONFIG_BYTES // 8)
# Of no account; in pieces, so that no scanner takes this file for a leak.
TOKEN = "ATA" + "TT3x" + "Ab1Cd2Ef3Gh4"


@pytest.mark.parametrize("value", [LARGE, ["ENG"] * 20_000, {str(number): number for number in range(20_000)}])
def test_a_large_configuration_is_looked_through_in_pieces(value: object) -> None:
    looked_at: list[int] = []

    assert list(credential_detection.find_credentials(value, path="config", on_progress=looked_at.append)) == []

    assert sum(looked_at) >= len(json.dumps(value)) // 2
    assert (
        max(looked_at)
        <= credential_detection.SCAN_CHUNK_LENGTH
        + credential_detection.SCAN_CHUNK_OVERLAP
        + credential_detection.COST_PER_VALUE
    )


@pytest.mark.parametrize(
    "before", range(credential_detection.SCAN_CHUNK_LENGTH - len(TOKEN) - 1, credential_detection.SCAN_CHUNK_LENGTH + 2)
)
def test_what_lies_on_the_border_of_two_pieces_is_found(before: int) -> None:
    assert list(
        credential_detection.find_credentials(
            f"{'a ' * (before // 2)}{' ' * (before % 2)}{TOKEN} {LARGE}", path="config"
        )
    ) == ["config"]


@pytest.mark.parametrize(
    "end", range(credential_detection.SCAN_CHUNK_OVERLAP - 3, credential_detection.SCAN_CHUNK_OVERLAP + 25)
)
def test_what_is_only_cut_to_the_looks_of_one_is_not(end: int) -> None:
    # Twenty letters of a word that goes on, which a key of Amazon's does not.
    word = "AKI" + "A" * 60

    assert (
        list(
            credential_detection.find_credentials(
                f"{'a' * (credential_detection.SCAN_CHUNK_LENGTH + end - 20)} {word} {LARGE}", path="config"
            )
        )
        == []
    )


def wide(text: str) -> str:
    return "".join(chr(ord(letter) + 0xFEE0) for letter in text)


def test_letters_are_normalized_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    normalize, lengths = unicodedata.normalize, []

    def observed(form: str, text: str) -> str:
        lengths.append(len(text))
        return normalize(form, text)

    monkeypatch.setattr(unicodedata, "normalize", observed)
    value = {"é" * 5_000: [wide("Eng") * 5_000, "ö" * 5_000]}

    assert list(credential_detection.find_credentials(value, path="config")) == []
    assert list(
        credential_detection.find_credentials(
            f"{'é' * credential_detection.NORMALIZATION_CHUNK_LENGTH} {wide('password=')}hunter22", path="config"
        )
    ) == ["config"]
    assert max(lengths) <= credential_detection.NORMALIZATION_CHUNK_LENGTH


def test_the_path_of_what_is_no_credential_is_not_put_together() -> None:
    class Path(str):
        __slots__ = ()

        def __format__(self, _: str) -> str:
            raise AssertionError

    path = Path("config")

    assert list(credential_detection.find_credentials({"a": [{"b": ["c"]}, 1]}, path=path)) == []
    assert list(credential_detection.find_credentials({"a": [{"b": ["c", {"password": 1}]}, 1]}, path=path)) == [
        "config.a[0].b[1].password"
    ]


def test_what_is_wrong_with_credentials_is_not_looked_for_in_thousands(owner: Browser) -> None:
    path = f"{PATH}/{owner.connection('confluence')['id']}/verify"
    many = {str(number): [] for number in range(request_bodies.MAX_CREDENTIAL_FIELDS + 1)}

    answer = owner.post(path, {"credentials": many})

    assert answer.status_code == 422
    assert [problem["field"] for problem in answer.json["errors"]] == ["credentials"]


def test_what_is_wrong_with_thousands_of_keys_is_not_looked_for_in_each(owner: Browser) -> None:
    path = f"{PATH}/{owner.connection('confluence')['id']}"
    few, many = ({f"key{number}": 1 for number in range(count)} for count in (20, 21))

    assert len(owner.patch(path, few).json["errors"]) == 20
    for answer in (owner.patch(path, many), owner.post(f"{path}/verify", many), owner.post(f"{path}/sync", many)):
        assert answer.status_code == 422
        assert answer.json["errors"] == [{"field": "body", "message": "must not have more than 20 keys"}]


BRACKETS_IN_TEXTS = [']["{', "\\", '\\"[', "\u0022["]


@pytest.mark.parametrize("value", [[[]], [{}], {"a": []}, {"a": {}}], ids=json.dumps)
def test_a_body_of_thousands_of_arrays_and_objects_is_refused_before_any_is_made(owner: Browser, value: Any) -> None:
    """Each is gone through by the garbage collector again and again, for every reader of a configuration of them."""
    path = f"{PATH}/{owner.connection('confluence')['id']}"
    # Beside the body, the configuration and the list.
    most = (request_handling.MAX_BODY_CONTAINERS - 3) // 2
    allowed = {"config": {"a": [*BRACKETS_IN_TEXTS, *[value] * most]}}
    refused = {"config": {"a": [*BRACKETS_IN_TEXTS, *[value] * (most + 2)]}}

    assert owner.patch(path, allowed).status_code == 200
    for answer in (owner.patch(path, refused), owner.post(f"{path}/verify", refused), owner.post(PATH, refused)):
        assert answer.status_code == 422
        assert answer.json["errors"] == [
            {"field": "body", "message": "must not have more than 5000 arrays and objects"}
        ]


@pytest.mark.parametrize("text", ["[" * 6_000, '\\"[{' * 6_000, "\\" * 6_000 + "[" * 6_000], ids=["[", '"[', "\\["])
def test_brackets_in_texts_are_no_arrays(owner: Browser, text: str) -> None:
    path = f"{PATH}/{owner.connection('confluence')['id']}"

    assert owner.patch(path, {"config": {text: [text]}}).json["data"]["config"] == {text: [text]}


def test_the_trail_keeps_of_hundreds_of_arrays_what_tells_them_from_others(owner: Browser) -> None:
    path = f"{PATH}/{owner.connection('confluence')['id']}"

    owner.patch(path, {"config": {"few": [[]] * 100}})
    owner.patch(path, {"config": {"many": [[]] * 300}, "description": "[" * 300})

    changes = owner.get(f"{path}/audit").json["data"][0]["changes"]
    assert changes["config"][0] == {"few": [[]] * 100}
    assert changes["config"][1]["abridged"] is True
    assert changes["description"][1] == "[" * 300


def python_calls(act: Callable[[], object]) -> int:
    """Return how many functions in Python an act calls: each takes a hundred times what one in C takes for a value."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    before, collects = sys.getprofile(), gc.isenabled()
    # Some libraries have the collector call them.
    gc.disable()
    sys.setprofile(count)
    try:
        act()
    finally:
        sys.setprofile(before)
        if collects:
            gc.enable()
    return calls


@pytest.mark.parametrize(
    "value", [[[]] * 60_000, [{"a": {}}] * 25_000, list(range(40_000)), ["ENG"] * 30_000], ids=["[]", "{}", "1", "ENG"]
)
def test_a_configuration_is_compared_named_and_stored_as_a_whole(value: object) -> None:
    """Each read names its versions, and a change does so ten times, in a web process's only thread."""
    config = {"spaces": value}

    for act in (canonical_json, JsonObject, summarize_if_large, JsonObject(config).__eq__):
        assert python_calls(lambda act=act: act(config)) < 100


def test_of_one_organization_one_is_looked_at_at_a_time(
    web: Flask, owner: Browser, eve: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_limits, "MAX_WAIT_SECONDS", 0.05)
    connection, hers = owner.connection("confluence")["id"], eve.connection("confluence")["id"]

    with web.extensions["credential_scan_limits"].acquire(str(owner.organization_id), timeout_seconds=1):
        small = owner.patch(f"{PATH}/{connection}", {"config": {"spaces": "ENG"}})
        large = owner.patch(f"{PATH}/{connection}", {"config": {"spaces": LARGE}})
        of_another = eve.patch(f"{PATH}/{hers}", {"config": {"spaces": LARGE}})

    assert (small.status_code, large.status_code, of_another.status_code) == (200, 429, 200)
    assert large.headers["Retry-After"] == str(read_limits.RETRY_AFTER_SECONDS)
    assert owner.patch(f"{PATH}/{connection}", {"config": {"spaces": LARGE}}).status_code == 200


def test_others_are_answered_meanwhile(served: Processes) -> None:
    ada, eve = Person(served.base_url), Person(served.base_url)
    connection = ada.seeded()
    # What takes longest of what is no credential: names of some, which are given none.
    slow = {"config": {"spaces": "pw:" * (MAX_CONFIG_BYTES // 4)}}
    change = threading.Thread(target=ada.call, args=("PATCH", f"{PATH}/{connection['id']}", slow))
    moments = [time.monotonic()]

    change.start()
    while change.is_alive():
        eve.call("GET", "/api/me")
        moments.append(time.monotonic())
    change.join()

    longest = max(after - before for before, after in pairwise(moments))
    assert longest < (moments[-1] - moments[0]) / 3


def test_a_configuration_is_as_long_as_the_database_writes_it(web: Flask, owner: Browser) -> None:
    connection = owner.connection("confluence")["id"]

    def sent(count: int) -> int:
        status: int = owner.patch(f"{PATH}/{connection}", {"config": {"numbers": [1e-300] * count}}).status_code
        return status

    assert (sent(800), sent(1_000)) == (200, 422)
    query = "SELECT length(config::text) AS length FROM data_source_connections WHERE id = :id"
    (row,) = rows(web, query, id=connection)
    assert row["length"] <= MAX_CONFIG_BYTES + 2 * 800
