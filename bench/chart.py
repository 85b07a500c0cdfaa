"""One plain chart a measure: bars for the product and its peers, with the spread of the rounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.results import Row, tidy

OURS, THEIRS = "#2f6f4f", "#b8b8b8"
WIDTH, BAR, FRAME = 9.0, 0.32, 0.75
# A fixed salt and no date, so that a picture changes only when its figures do.
FIXED: Any = {"svg.hashsalt": "rita", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}

Bars = list[tuple[str, Sequence[float]]]


def draw(rows: Sequence[Row], file: Path) -> None:
    """Draw the rows of a measure; those of one thing share a scale."""
    # Only a run that writes the page needs it; the extra `bench` brings it.
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    panels = _panels(rows)
    heights = [FRAME + BAR * len(bars) for bars in panels.values()]
    with mpl.rc_context(FIXED):
        figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
        axes = figure.subplots(len(panels), squeeze=False, gridspec_kw={"height_ratios": heights})
        for axis, (title, bars) in zip(axes[:, 0], panels.items(), strict=True):
            _fill(axis, title, bars)
        figure.savefig(file, format="svg", metadata={"Date": None})


def _panels(rows: Sequence[Row]) -> dict[str, Bars]:
    panels: dict[str, Bars] = {}
    for row in rows:
        bars = panels.setdefault(f"{row.what}, {row.unit}", [("this product", row.product)])
        if row.theirs:
            bars.append((row.peer, row.theirs))
    return panels


def _fill(axis: Any, title: str, bars: Bars) -> None:
    middles = [median(values) for _, values in bars]
    below = [middle - min(values) for middle, (_, values) in zip(middles, bars, strict=True)]
    above = [max(values) - middle for middle, (_, values) in zip(middles, bars, strict=True)]
    colours = [OURS if place == 0 else THEIRS for place in range(len(bars))]
    axis.barh([name for name, _ in bars], middles, xerr=[below, above], color=colours, height=0.7, ecolor="#555555")
    for place, (_, values) in enumerate(bars):
        axis.annotate(f" {tidy(median(values))}", (max(values), place), va="center")
    axis.set_title(title, loc="left", fontsize=9, fontweight="bold")
    axis.invert_yaxis()
    axis.margins(x=0.12)
    axis.set_xlim(left=0)
    axis.spines[["top", "right"]].set_visible(False)
