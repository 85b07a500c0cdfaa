"""`flask --app app doctor`: looks at everything that Rita stands on, and says what to do about what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict

import click
from flask.cli import with_appcontext

from app import extensions
from app.cli import examinations
from app.cli.findings import Finding
from app.cli.front_check import of_front
from app.cli.plainly import Command, record, row
from app.cli.redis_examination import of_redis
from app.cli.sweeping import of_clocks, of_sweeps
from app.outbound.front import Front


class _Address(click.ParamType[Front]):
    name = "address"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Front:
        try:
            return Front(value)
        except ValueError as problem:
            self.fail(str(problem), param, ctx)


@click.command(cls=Command, epilog="Exit code: 0 if all is well, 1 if anything has to be mended or it cannot start.")
@click.option("--json", "as_json", is_flag=True, help="Print each finding as one line of JSON.")
@click.option(
    "--front",
    metavar="ADDRESS",
    type=_Address(),
    help="Look, besides, at what stands in front of Rita: its public address, such as https://rita.example. This takes"
    " one heartbeat of the event stream, 15 seconds as a rule.",
)
@with_appcontext
def doctor(*, as_json: bool, front: Front | None) -> None:
    """Look at everything that Rita stands on, and say what to do about what is wrong.

    Settings that do not allow a start end this command, like any other, with one message that names them all.
    """
    failing = 0
    looks = [_findings(examine) for examine in (*examinations.EXAMINATIONS, of_sweeps, of_clocks)]
    for findings in [*looks, *([of_front(front)] if front else [])]:
        for finding in findings:
            failing += not finding.ok
            if as_json:
                record(asdict(finding))
            else:
                _show(finding)
    if failing:
        raise SystemExit(1)


# What looks at something that this environment may not name: it is given to the processes that use it.
_USES = {
    of_redis: "redis_url",
    examinations.of_broker: "rabbitmq_url",
    examinations.of_receiver: "automation_webhook_url",
    examinations.of_keys: "seal_keys",
    of_sweeps: "redis_url",
    of_clocks: "redis_url",
}


def _findings(examine: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    setting = _USES.get(examine)
    if setting is None or getattr(extensions.settings(), setting):
        return examine()
    what = examine.__name__.removeprefix("of_")
    return iter([Finding(what, ok=True, found=f"not looked at: {setting.upper()} is not set here")])


def _show(finding: Finding) -> None:
    row("pass" if finding.ok else "FAIL", finding.what, finding.found, widths=(4, 12))
    if not finding.ok:
        row("", "", f"→ {finding.mend}", widths=(4, 12))
