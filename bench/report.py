"""Tables and the page: docs/performance.md between its markers, with one chart a measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.results import Row, spread

HEAD = ("| what | product | peer | ratio | target | met |", "|---|---|---|---|---|---|")


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a measure's table in Markdown."""
    yield from HEAD
    for row in rows:
        peer = f"{row.peer}: {spread(row.theirs)}" if row.theirs else "-"
        ratio = spread(row.ratios) if row.theirs else "-"
        targets = [str(row.target)] if row.target else []
        targets += [f"ratio {row.ratio_target}"] if row.ratio_target else []
        met = {True: "yes", False: "**no**", None: "-"}[row.is_met]
        cells = (f"{row.what}, {row.unit}", spread(row.product), peer, ratio, ", ".join(targets) or "stated", met)
        yield f"| {' | '.join(cells)} |"
