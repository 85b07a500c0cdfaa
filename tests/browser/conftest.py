"""One browser and one running Rita for the tests of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from playwright.sync_api import Browser
from redis import Redis

from devstack.servers import Servers
from tests.browser.chromium import launched
from tests.browser.screen import Screen
from tests.browser.stack import Stack, running
from tests.databases import Template
from tests.e2e.processes import show_logs as pytest_runtest_makereport  # noqa: F401 - pytest finds it by this name

# Apart from what the other tests use.
REDIS_NUMBER = 13


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="package")
def stack(
    template: Template, private_servers: Servers, rabbitmq_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    redis_url, admin_redis_url = (
        urlsplit(url)._replace(path=f"/{REDIS_NUMBER}").geturl()
        for url in (private_servers.redis_url, private_servers.admin_redis_url)
    )
    with template.copied("page") as urls, Redis.from_url(admin_redis_url) as redis:
        redis.flushdb()
        with running(
            database_urls=urls,
            redis_url=redis_url,
            rabbitmq_url=rabbitmq_url,
            directory=tmp_path_factory.mktemp("page"),
        ) as started:
            yield started
        redis.flushdb()


@pytest.fixture
def organization() -> UUID:
    """Each test's own: nobody else's events come to its pages."""
    return uuid4()


@pytest.fixture
def screen(stack: Stack, chromium: Browser, organization: UUID) -> Iterator[Callable[..., Screen]]:
    """Open pages of signed-in people; none may say anything on the console or break its policy."""
    opened: list[Screen] = []

    def sign_in(*, seeded: bool = True, **options: object) -> Screen:
        if seeded:
            stack.colleague(organization).call("POST", "/api/data-sources/seed")
        made = Screen(chromium=chromium, stack=stack, organization=organization, **options)  # type: ignore[arg-type]
        opened.append(made)
        return opened[-1]

    yield sign_in
    for each in opened:
        each.page.context.close()
    assert [each.complaints for each in opened] == [[] for _ in opened]
    assert {urlsplit(url).netloc for each in opened for url in each.requested} <= {urlsplit(stack.address).netloc}
