"""The verdict of a comparison about compound scaling, from the noise between seeds, in plain words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from .results import Network, Results

SINGLE_DIMENSIONS = ("width", "depth", "resolution")
METHODS = (*SINGLE_DIMENSIONS, "compound")

# Networks fitted to one budget miss it by a few per cent, since filters, repeats and pixels are whole numbers.
_SAME_BUDGET = 1.4

Outcome = Literal["better", "worse", "noise", "unknown", "no comparison"]


class Verdict(NamedTuple):
    """The result of compound scaling at one budget.

    Attributes:
        outcome: Outcome: ``"better"``, ahead of every single dimension by more than the noise; ``"worse"``, behind one
            by more than the noise; ``"noise"``, neither; ``"unknown"``, no network has a second seed, so the noise is
            unknown; ``"no comparison"``, compound scaling, or all else, has no finished training.
        text: Explanation in whole sentences.
    """

    outcome: Outcome
    text: str


def points(value: float) -> str:
    """Format a fraction in percentage points with one decimal: 0.7123 is "71.2"; a dash for NaN."""
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def accuracy(network: Network) -> str:
    """Format mean ± standard error in per cent, as far as they are known."""
    if math.isnan(network.standard_error):
        return f"{points(network.mean)}%" if network.accuracies else "–"
    return f"{points(network.mean)} ± {points(network.standard_error)}%"


def quantity(number: float) -> str:
    """Format a count to three digits with its SI prefix: 387_000_000 is "387 M"."""
    for power, prefix in ((9, "G"), (6, "M"), (3, "k")):
        if number >= 0.9995 * 10**power:
            scaled = number / 10**power
            return f"{scaled:.{max(0, 2 - int(math.log10(scaled) + 2e-4))}f} {prefix}"
    return f"{number:.0f}"


def listing(words: list[str]) -> str:
    """Join words: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def find_baseline(results: Results) -> Network | None:
    """Return the unscaled network if it was trained to the end at least once."""
    return next(iter(results.finished_of("baseline")), None)


def group_by_budget(results: Results) -> list[tuple[Network, ...]]:
    """Group the networks scaled by one of ``METHODS``, finished or not, by about equal cost; cheapest first.

    A group ends where a method comes a second time, or where the cost is more than 1.4 times that of its cheapest.
    """
    groups: list[list[Network]] = []
    for network in sorted((n for n in results.networks if n.method in METHODS), key=lambda n: n.macs):
        group = groups[-1] if groups else []
        if not group or network.macs > _SAME_BUDGET * group[0].macs or network.method in {n.method for n in group}:
            group = []
            groups.append(group)
        group.append(network)
    return [tuple(sorted(group, key=lambda n: METHODS.index(n.method))) for group in groups]


def budget_of(networks: tuple[Network, ...]) -> float:
    """Return a group's representative multiply-adds: the geometric mean over its networks."""
    return math.exp(sum(math.log(n.macs) for n in networks) / len(networks))


def judge(results: Results, networks: tuple[Network, ...]) -> Verdict:
    """Compare compound scaling with the single dimensions at one budget.

    Args:
        results: Results whose seeds show the noise.
        networks: Group from :func:`group_by_budget`.
    """
    ranked = [n for n in results.finished if n in networks]
    compound = next((n for n in ranked if n.method == "compound"), None)
    rivals = [n for n in ranked if n.method != "compound"]
    place = f"At about {quantity(budget_of(networks))} multiply-adds"
    if compound is None:
        return Verdict("no comparison", f"{place}, no training of compound scaling was finished.")
    if not rivals:
        return Verdict("no comparison", f"{place}, only compound scaling was finished ({accuracy(compound)}).")
    stands: dict[str, list[str]] = {"better than": [], "within the noise of": [], "worse than": []}
    for rival in rivals:
        place_of = "better than" if compound.mean > rival.mean else "worse than"
        kind = "within the noise of" if results.within_noise(compound, rival) else place_of
        stands[kind].append(f"{rival.method} alone ({accuracy(rival)})")
    standing = "; ".join(f"{kind} {listing(names)}" for kind, names in stands.items() if names)
    text = (
        f"{place}, compound scaling ({accuracy(compound)}) was {standing}. It differs from {rivals[0].method} alone by "
        f"{_difference(results, compound, rivals[0])}."
    )
    costs = [n.macs for n in (compound, *rivals)]
    if max(costs) > 1.05 * min(costs):
        text += f" The costs are not quite equal: they differ by up to {100 * (max(costs) / min(costs) - 1):.0f}%."
    if math.isnan(results.deviation):
        return Verdict("unknown", f"{text} With one training each, the noise is unknown: train with more seeds.")
    return Verdict("worse" if stands["worse than"] else "noise" if stands["within the noise of"] else "better", text)


def headline(outcomes: Sequence[Outcome]) -> str:
    """Summarize the outcomes at all budgets in a few words."""
    wins = outcomes.count("better")
    if wins and wins == len(outcomes):
        return "Compound scaling was best" + (f" at all {wins} budgets" if wins > 1 else "")
    if wins:
        return f"Compound scaling was best at {wins} of {len(outcomes)} budgets"
    if "worse" in outcomes:
        return "Compound scaling did not win"
    if "noise" in outcomes:
        return "Compound scaling did not clearly win: the differences are within the noise"
    if "unknown" in outcomes:
        return "No verdict on compound scaling: with one training each, the noise is unknown"
    return "Compound scaling has not been compared yet"


def standing(results: Results, candidate: Network) -> str:
    """Return the place of a search's finished candidate: "best", "within noise" of the best, or "worse"."""
    best = results.finished_of("candidate")[0]
    return "best" if candidate is best else "within noise" if results.within_noise(best, candidate) else "worse"


def headline_of_search(results: Results) -> str:
    """Summarize the best proportions in a few words."""
    found = results.finished_of("candidate")
    return f"Best found: {proportions(found[0], find_baseline(results))}" if found else "Nothing has been found yet"


def judge_search(results: Results) -> str:
    """Return the proportions that a search found best, and how sure that is, in words."""
    candidates = results.finished_of("candidate")
    if not candidates:
        return "The search has no finished candidate, so it recommends nothing yet."
    best, *others = candidates
    baseline = find_baseline(results)
    text = f"The search found {proportions(best, baseline)} best ({accuracy(best)}"
    text += f", the baseline {accuracy(baseline)})." if baseline else ")."
    if best.stopped:
        text += f" Others of its trainings were given up early ({best.stopped}), so its mean flatters it."
    if math.isnan(results.deviation):
        return f"{text} Each network was trained once, so nothing is known of the noise; more seeds would show it."
    equals = sum(results.within_noise(best, n) for n in others)
    if equals:
        return (
            f"{text} {equals} of the {len(others)} other finished candidates "
            f"{'is' if equals == 1 else 'are'} within the noise of it, so the search does not single it out."
        )
    return f"{text} Every other finished candidate is worse by more than the noise." if others else text


def proportions(network: Network, baseline: Network | None) -> str:
    """Return a network's factors in the paper's order: "depth × 1.2, width × 1.1 and resolution × 1.15"."""
    resolution = f"× {network.resolution / baseline.resolution:.3g}" if baseline else f"{network.resolution} px"
    return f"depth × {network.depth:.3g}, width × {network.width:.3g} and resolution {resolution}"


def _difference(results: Results, one: Network, other: Network) -> str:
    """Format the difference of two means, with its standard error."""
    error = results.difference_error(one, other)
    noise = "" if math.isnan(error) else f" ± {points(error)}"
    return f"{points(abs(one.mean - other.mean))}{noise} percentage points"
