"""`flask --app app doctor`: looks at everything that Rita stands on, and says what to do about what it finds."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from flask.cli import with_appcontext

from app.cli.examinations import EXAMINATIONS, Finding
from app.cli.plainly import Command
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
            click.echo(json.dumps(asdict(finding)) if as_json else _as_text(finding))
    if failing:
        raise SystemExit(1)


def _as_text(finding: Finding) -> str:
    line = f"{'pass' if finding.ok else 'FAIL'}  {finding.what:<12} {finding.found}"
    return line if finding.ok else f"{line}\n      {'':<12} → {finding.mend}"
