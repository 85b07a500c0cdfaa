"""What a measure finds: figures of the product and of its peers, run by run, and the targets that they are held to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from bench.stage import Stage

Verdict = Literal["met", "missed"]

RULE = "A target is met if most rounds are within it, as the median of an odd number is; each of two for itself."


@dataclass(frozen=True)
class Target:
    """What a value should be: at least or at most `bound`."""

    bound: float
    at_most: bool = False

    def is_met(self, value: float) -> bool:
        """Tell whether a value is within the bound."""
        return value <= self.bound if self.at_most else value >= self.bound

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {tidy(self.bound)}"


def at_least(bound: float) -> Target:
    """Return a lower bound."""
    return Target(bound)


def at_most(bound: float) -> Target:
    """Return an upper bound."""
    return Target(bound, at_most=True)


@dataclass(frozen=True)
class Row:
    """One line of the table: the product's figure of each round, and a peer's of the same rounds."""

    what: str
    unit: str
    product: Sequence[float]
    peer: str = ""
    theirs: Sequence[float] = ()
    # For the product's own figure, and for its ratio to the peer's.
    target: Target | None = None
    ratio_target: Target | None = None

    @property
    def ratios(self) -> list[float]:
        """The product's figure by the peer's, round by round, so that a noisy moment is in both."""
        return [ours / theirs for ours, theirs in zip(self.product, self.theirs, strict=True)] if self.theirs else []

    @property
    def met(self) -> list[int]:
        """How many rounds were within each target: nothing where there is none."""
        checks = [(self.target, self.product), (self.ratio_target, self.ratios)]
        return [sum(map(target.is_met, values)) for target, values in checks if target is not None]

    @property
    def verdict(self) -> Verdict | None:
        """What most rounds say of each target, if there are any."""
        if not self.met:
            return None
        return "met" if min(self.met) > len(self.product) / 2 else "missed"


def compared(
    what: str,
    unit: str,
    figure: Callable[[Any], float],
    ours: Sequence[Any],
    peer: str,
    theirs: Sequence[Any],
    *,
    target: Target | None = None,
    ratio_target: Target | None = None,
) -> Row:
    """Return the row of one figure, which `figure` reads off what each round found, ours and a peer's."""
    return Row(what, unit, [*map(figure, ours)], peer, [*map(figure, theirs)], target, ratio_target)


@dataclass(frozen=True, eq=False)
class Measure:
    """One question, the sizes that it is asked at, and the function that answers it with rows."""

    name: str
    title: str
    # By scale: "tiny" only shows that it runs, "quick" is for developing, "full" for the page.
    sizes: dict[str, Any]
    run: Callable[[Stage, Any, int], list[Row]]


def tidy(value: float) -> str:
    """Return a number with about three significant digits, and no more decimals than it deserves."""
    for limit, digits in ((100, 0), (10, 1)):
        if abs(value) >= limit:
            return f"{value:,.{digits}f}"
    return f"{value:.2f}"


def spread(values: Sequence[float]) -> str:
    """Return the median, with the lowest and the highest where there are several."""
    if len(values) == 1:
        return tidy(values[0])
    return f"{tidy(median(values))} ({tidy(min(values))} to {tidy(max(values))})"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
