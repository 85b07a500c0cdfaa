"""`flask --app app doctor`: looks at everything that Rita stands on, and says what to do about what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict

import click
from flask.cli import with_appcontext

from app import extensions
from app.cli import checks
from app.cli.findings import Finding
from app.cli.output import OperatorCommand, print_json_line, print_row
from app.cli.public_address_check import check_public_address
from app.cli.redis_checks import check_redis
from app.cli.worker_checks import check_clocks, check_sweeps
from app.outbound.public_address import PublicAddress


class _PublicAddressParameter(click.ParamType[PublicAddress]):
    name = "address"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> PublicAddress:
        try:
            return PublicAddress(value)
        except ValueError as problem:
            self.fail(str(problem), param, ctx)


@click.command(
    cls=OperatorCommand, epilog="Exit code: 0 if all is well, 1 if anything has to be fixed or it cannot start."
)
@click.option("--json", "as_json", is_flag=True, help="Print each finding as one line of JSON.")
@click.option(
    "--front",
    metavar="ADDRESS",
    type=_PublicAddressParameter(),
    help="Look, besides, at what stands in front of Rita: its public address, such as https://rita.example. This takes"
    " one heartbeat of the event stream, 15 seconds as a rule.",
)
@with_appcontext
def doctor(*, as_json: bool, front: PublicAddress | None) -> None:
    """Look at everything that Rita stands on, and say what to do about what is wrong.

    Settings that do not allow a start end this command, like any other, with one message that names them all.
    """
    failing = 0
    looks = [_run_check(examine) for examine in (*checks.SERVER_CHECKS, check_sweeps, check_clocks)]
    for findings in [*looks, *([check_public_address(front)] if front else [])]:
        for finding in findings:
            failing += not finding.ok
            if as_json:
                print_json_line(asdict(finding))
            else:
                _print_finding(finding)
    if failing:
        raise SystemExit(1)


# What looks at something that this environment may not name: it is given to the processes that use it.
_REQUIRED_SETTING_BY_CHECK = {
    check_redis: "redis_url",
    checks.check_broker: "rabbitmq_url",
    checks.check_receiver: "automation_webhook_url",
    checks.check_keys: "seal_keys",
    check_sweeps: "redis_url",
    check_clocks: "redis_url",
}


def _run_check(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    setting = _REQUIRED_SETTING_BY_CHECK.get(check)
    if setting is None or getattr(extensions.settings(), setting):
        return check()
    what = check.__name__.removeprefix("check_")
    return iter([Finding(what, ok=True, found=f"not looked at: {setting.upper()} is not set here")])


def _print_finding(finding: Finding) -> None:
    print_row("pass" if finding.ok else "FAIL", finding.what, finding.found, widths=(4, 12))
    if not finding.ok:
        print_row("", "", f"→ {finding.mend}", widths=(4, 12))
