"""The application under attack: in this process, and behind a real web server whose event streams can be ended."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from flask import Flask

from app.config import Settings
from tests.factories import Browser, forget_organizations
from tests.integration.conftest import celery_module  # noqa: F401 - a fixture
from tests.integration.sse.conftest import Web, serving
from tests.integration.status.conftest import apply, letters, superuser_url  # noqa: F401 - fixtures
from tests.integration.tasks.conftest import (  # noqa: F401 - fixtures
    desk,
    run,
    sql,
    take_jobs,
    tasks_app,
)
from tests.security.canary import canary, logged  # noqa: F401 - fixtures
from tests.security.served import served  # noqa: F401 - a fixture
from tests.security.victims import ada, eve, snapshot  # noqa: F401 - fixtures


@pytest.fixture(scope="package")
def live(settings: Settings, flask_app: Flask) -> Iterator[Web]:
    """A web server of this package's own; the session's application has migrated its database."""
    assert flask_app.extensions["settings"] is settings
    with serving(settings.model_copy(update={"sse_heartbeat_seconds": timedelta(seconds=0.5)})) as started:
        yield started


@pytest.fixture
def web(live: Web) -> Iterator[Flask]:
    """Its application. The session's own must open no stream: its reader would outlive the session's Redis."""
    yield live.app
    forget_organizations(live.app)


@pytest.fixture(scope="session")
def superuser(admin_database_url: str, database: tuple[str, str]) -> str:
    """The superuser's address of the database under test: it sees past row-level security."""
    return superuser_url(admin_database_url, of=database[0])


@pytest.fixture
def owner(web: Flask) -> Browser:
    """Somebody who may do all that can be done in an organization with its four connections."""
    owner = Browser(web, role="owner")
    owner.seeded()
    return owner
