"""`make run` as a newcomer meets it: everything started by one command, the whole flow in a real browser."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.screen import SET_UP
from tests.project import PROJECT, do_without
from tests.waiting import eventually

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@dataclass
class Run:
    """One `make run`, by its printed words."""

    output: Path

    def link(self, person: str) -> str:
        found = re.search(rf"{re.escape(person)}.*\n\s*(http\S+)", self.output.read_text())
        assert found is not None
        return found.group(1)


def _path_without_rabbitmq(directory: Path) -> str:
    """Return a PATH with every program of this machine's but rabbitmq's."""
    for folder in os.environ["PATH"].split(os.pathsep):
        for program in Path(folder).glob("*"):
            link = directory / program.name
            # Folders are left out: Debian's `X11` is a link to the folder that it lies in.
            if "rabbitmq" not in program.name and program.is_file() and not os.path.lexists(link):
                link.symlink_to(program)
    return str(directory)


@pytest.fixture(scope="module", params=["RabbitMQ", "Redis transport"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Start everything without any setting, and stop it as Ctrl-C does."""
    if request.param == "RabbitMQ" and shutil.which("rabbitmq-server") is None:
        do_without("no RabbitMQ: rabbitmq-server is not on the PATH")
    with tempfile.TemporaryDirectory(prefix="rita-run-") as folder:
        programs = Path(folder) / "programs"
        programs.mkdir()
        path = os.environ["PATH"] if request.param == "RabbitMQ" else _path_without_rabbitmq(programs)
        output = Path(folder) / "output"
        local = Path(folder) / "local"
        command = [sys.executable, "-m", "devstack.run", "--directory", str(local)]
        with output.open("w") as written:
            environ = {"HOME": folder, "PATH": path}
            process = subprocess.Popen(command, cwd=PROJECT, env=environ, stdout=written, stderr=written)
        try:
            ready = eventually(lambda: "Rita is ready" in output.read_text() or process.poll() is not None, within=180)
            assert ready
            assert process.poll() is None, output.read_text()
            assert request.param.split()[0] in output.read_text()
            family = psutil.Process(process.pid).children(recursive=True)
            yield Run(output)
        finally:
            process.send_signal(signal.SIGINT)
            exit_code = process.wait(timeout=60)
            subprocess.run([*command, "--clean"], cwd=PROJECT, env=environ, check=True, timeout=60)
        assert exit_code == 0, output.read_text()
        _, alive = psutil.wait_procs(family, timeout=5)
        assert not alive


def _open(chromium: Browser, link: str) -> Page:
    page = chromium.new_context(viewport={"width": 1320, "height": 1060}).new_page()
    page.set_default_timeout(20_000)
    page.goto(link)
    seed = page.locator('[data-role="seed"]')
    page.locator('[data-role="seed"]:visible, .card[data-type="confluence"]').first.wait_for()
    if seed.is_visible():
        seed.click()
    page.locator('.card[data-type="confluence"]').wait_for()
    return page


def _set_up(page: Page, type_name: str) -> Locator:
    """Open the settings of a source, and return them."""
    page.locator(f'.card[data-type="{type_name}"]').locator(SET_UP).first.click()
    return page.locator(f'dialog[data-of="{type_name}"]')


def _verify(settings: Locator, **credentials: str) -> None:
    for name, value in credentials.items():
        settings.locator(f'[data-credential="{name}"]').fill(value)
    settings.locator('[data-role="verify"]').click()


def test_a_connection_is_verified_configured_and_synced_live_in_every_browser_of_its_organization(
    run: Run, chromium: Browser
) -> None:
    errors: list[str] = []
    ada = _open(chromium, run.link("Acme, admin"))
    ada.on("pageerror", lambda error: errors.append(str(error)))
    max_ = _open(chromium, run.link("Acme, member"))
    eve = _open(chromium, run.link("Globex, admin"))
    mine, colleagues, strangers = (page.locator('.card[data-type="confluence"]') for page in (ada, max_, eve))

    settings = _set_up(ada, "confluence")
    _verify(settings, url="https://acme.atlassian.net", email="ada@acme.example", api_token="a-good-token")
    expect(settings.locator('[data-option="spaces"] input').first).to_be_visible(timeout=20_000)
    settings.locator('[data-option="spaces"] input').first.check()
    assert settings.locator('[data-credential="api_token"]').input_value() == ""
    settings.locator('[data-role="save"]').click()
    expect(mine.locator('[data-role="sync"]')).to_be_enabled(timeout=20_000)
    mine.locator('[data-role="sync"]').click()

    expect(mine).to_have_attribute("data-status", "syncing", timeout=5_000)
    expect(colleagues).to_have_attribute("data-status", "syncing", timeout=1_000)
    expect(mine.locator('[data-role="documents"]')).to_contain_text("document", timeout=20_000)
    expect(mine).to_have_attribute("data-status", "idle", timeout=30_000)
    expect(mine.locator('[data-role="last-sync"]')).to_contain_text("completed", timeout=5_000)
    expect(colleagues.locator('[data-role="last-sync"]')).to_contain_text("completed", timeout=5_000)
    expect(strangers.locator('[data-role="last-sync"]')).to_contain_text("Never", timeout=1_000)
    assert errors == []
    if os.environ.get("SCREENSHOT"):
        ada.screenshot(path=os.environ["SCREENSHOT"], full_page=True)


def test_a_refused_credential_says_so_on_the_card(run: Run, chromium: Browser) -> None:
    ada = _open(chromium, run.link("Acme, admin"))
    settings = _set_up(ada, "servicenow")

    _verify(settings, url="https://acme.service-now.com", username="ada", password="a-bad-password")

    card = ada.locator('.card[data-type="servicenow"]')
    expect(card.locator('[data-role="error"]')).to_contain_text("refused", timeout=20_000)
    expect(card).to_have_attribute("data-status", "idle")


def test_a_webhook_that_fails_at_first_is_delivered_in_the_end(run: Run, chromium: Browser) -> None:
    ada = _open(chromium, run.link("Acme, admin"))
    settings = _set_up(ada, "sharepoint")
    settings.locator('[data-role="settings"] summary').click()
    settings.locator('[data-role="faults"] input[value="flaky"]').check()

    _verify(settings, tenant_id="t", client_id="c", client_secret="s")

    card = ada.locator('.card[data-type="sharepoint"]')
    expect(card).to_have_attribute("data-status", "verifying", timeout=5_000)
    expect(settings.locator('[data-option="sites"] input').first).to_be_visible(timeout=60_000)
