"""`flask --app app doctor`: looks at everything that Rita stands on, and says what to do about what it finds."""

from __future__ import annotations

from dataclasses import asdict

import click
from flask.cli import with_appcontext

from app.cli.examinations import EXAMINATIONS, Finding
from app.cli.plainly import Command, record, row
from app.cli.sweeping import of_sweeps


@click.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@with_appcontext
def doctor(*, as_json: bool) -> None:
    """Look at everything that Rita stands on; exit code 1 if anything has to be mended.

    Settings that do not allow a start end this command, like any other, with one message that names them all.
    """
    failing = 0
    for examine in (*EXAMINATIONS, of_sweeps):
        for finding in examine():
            failing += not finding.ok
            if as_json:
                record(asdict(finding))
            else:
                _show(finding)
    if failing:
        raise SystemExit(1)


def _show(finding: Finding) -> None:
    row("pass" if finding.ok else "FAIL", finding.what, finding.found, widths=(4, 12))
    if not finding.ok:
        row("", "", f"→ {finding.mend}", widths=(4, 12))
