"""The stream against its description: no fuzzer reads what has no end."""

from __future__ import annotations

import pydantic_core
import pytest
import requests

from tests.document import document_of, validator
from tests.integration.sse.conftest import Web
from tests.waiting import eventually


def test_the_stream_is_what_the_document_says(web: Web) -> None:
    document = document_of(web.app)
    described = document["paths"]["/api/sse"]["get"]["responses"]["200"]
    ada = web.person()
    ada.seeded()

    with ada.stream() as seen:
        (snapshot,) = eventually(lambda: seen.events)
        ada.call("PUT", "/api/data-sources/confluence", {"name": "Wiki"})
        (update,) = eventually(lambda: seen.updates)

    assert [seen.response.headers["Content-Type"].partition(";")[0]] == list(described["content"])
    assert all(seen.response.headers[name] for name in described["headers"])
    validator(document, "Snapshot").validate(snapshot.data)
    validator(document, "ConfigurationEvent").validate(update.data)


@pytest.mark.parametrize(
    ("query", "headers", "name"),
    [
        ("", {}, "UnauthorizedError"),
        ("", {"Authorization": "Bearer x"}, "InvalidTokenError"),
        ("?ticket=x", {}, "InvalidTicketError"),
    ],
)
def test_the_stream_refuses_as_the_document_says(web: Web, query: str, headers: dict[str, str], name: str) -> None:
    document = document_of(web.app)
    described = document["paths"]["/api/sse"]["get"]["responses"]["401"]

    answer = requests.get(f"{web.base_url}/api/sse{query}", headers=headers, timeout=30)

    assert answer.status_code == requests.codes.unauthorized
    assert {"$ref": f"#/components/schemas/{name}"} in described["content"]["application/json"]["schema"]["oneOf"]
    validator(document, name).validate(pydantic_core.from_json(answer.content))
    assert all(answer.headers[name] for name in described["headers"])
