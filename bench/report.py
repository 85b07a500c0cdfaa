"""Tables and the page: docs/performance.md between its markers."""

from __future__ import annotations

import platform
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from bench import broker, chart
from bench.results import RULE, Measure, Row, Verdict, spread
from bench.stage import PROJECT, Stage

PAGE = PROJECT / "docs" / "performance.md"
PICTURES = PROJECT / "docs" / "performance"
BEGIN, END = "<!-- made by `make bench`, from here -->", "<!-- to here -->"
BEGIN_AGAINST = "<!-- made by `make bench ARGS='--against'`, from here -->"
HEAD = ("| what | product | peer | ratio | target | met |", "|---|---|---|---|---|---|")
PACKAGES = ("celery", "kombu", "flask", "sqlalchemy", "psycopg2-binary", "redis", "flask-sse", "gunicorn", "gevent")

WORDS: dict[Verdict, str] = {"met": "yes", "missed": "**no**"}

Found = Mapping[Measure, Sequence[Row]]


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a measure's table in Markdown."""
    yield from HEAD
    for row in rows:
        peer = f"{row.peer}: {spread(row.theirs)}" if row.theirs else "-"
        ratio = spread(row.ratios) if row.theirs else "-"
        targets = [str(row.target)] if row.target else []
        targets += [f"ratio {row.ratio_target}"] if row.ratio_target else []
        cells = (f"{row.what}, {row.unit}", spread(row.product), peer, ratio, ", ".join(targets) or "stated")
        yield f"| {' | '.join([*cells, _told(row)])} |"


def machine(stage: Stage) -> Iterator[str]:
    """Yield what this ran on, a line each."""
    ((postgresql, buffers),) = stage.sql("SELECT current_setting('server_version'), current_setting('shared_buffers')")
    with broker.channel(stage.amqp) as channel:
        rabbitmq = channel.connection.server_properties["version"]
    valkey = stage.redis.info("server").get("valkey_version", "?")
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    yield f"- {_processor()}, {psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB of memory"
    yield f"- {platform.system()} {platform.release()}; others kept {psutil.getloadavg()[2]:.1f} cores busy before it"
    yield f"- Python {platform.python_version()}; RabbitMQ {rabbitmq}, Valkey {valkey}"
    yield f"- PostgreSQL {postgresql} with {buffers} of shared buffers"
    yield f"- {packages}"
    yield f"- commit {_commit()}"


def write(found: Found, *, machine: Sequence[str], scale: str, repeat: int, is_against: bool) -> None:
    """Put the tables of a run into the page, and its pictures, but for what stands beside another release."""
    PICTURES.mkdir(exist_ok=True)
    head = f"A {scale} run of {repeat} rounds on {datetime.now(UTC):%d %B %Y}."
    legend = "Figures are medians of the rounds, with the lowest and the highest; ratios are taken round by round."
    lines = [f"{head} {legend} {RULE}", "", verdict(found), "", *machine]
    for measure, rows in found.items():
        lines += ["", f"### {measure.title}", "", *table(rows)]
        if not is_against:
            picture = PICTURES / f"{measure.name}.svg"
            chart.draw(rows, picture)
            lines += ["", _image(measure, picture)]
    begin = BEGIN_AGAINST if is_against else BEGIN
    before, _, rest = PAGE.read_text().partition(begin)
    _, _, after = rest.partition(END)
    PAGE.write_text("\n".join([f"{before}{begin}", "", *lines, "", f"{END}{after}"]))


def verdict(found: Found) -> str:
    """Say in a line how many targets were met."""
    counted = Counter(row.verdict for rows in found.values() for row in rows if row.verdict)
    return f"Of {counted.total()} targets {counted['met']} are met and {counted['missed']} missed."


def _told(row: Row) -> str:
    if row.verdict is None:
        return "-"
    return f"{WORDS[row.verdict]} ({min(row.met)} of {len(row.product)})"


def _image(measure: Measure, picture: Path) -> str:
    return f"![{measure.title}]({picture.relative_to(PAGE.parent)})"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
