"""The command ``efficientnet models``: the variants and their weights."""

from __future__ import annotations

import argparse

from ..family import costs
from ..family.variants import get_variant, list_variants
from ..weights.published import published_top1
from .exit_statuses import SUCCESS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``models`` and its function."""
    parser.description = (
        "Lists the variants, with their parameters, multiply-adds and input size, and their published weights with the "
        "top-1 accuracy on ImageNet that the publisher reports."
    )
    parser.add_argument(
        "pattern", nargs="?", metavar="PATTERN", help="names to list, such as 'lite*' or 'b?' (default: all)"
    )
    parser.set_defaults(run=_models)


def _models(arguments: argparse.Namespace) -> int:
    names = list_variants(arguments.pattern)
    if not names:
        raise ValueError(f"no variant matches {arguments.pattern!r}; there are: {', '.join(list_variants())}.")
    print(f"{'name':<33} {'parameters':>12} {'multiply-adds':>14} {'input':>6} {'top-1':>7}  weights")
    for name in names:
        variant = get_variant(name)
        cost = costs.cost(variant)
        sets = published_top1(variant)
        best = max((top1 for top1 in sets.values() if top1 is not None), default=None)
        shown = ", ".join(f"{key} ({top1:.1%})" if top1 else key for key, top1 in sets.items())
        print(
            f"{name:<33} {cost.parameters:>12,} {cost.macs / 1e9:>13.2f}G {variant.resolution:>6} "
            f"{'' if best is None else format(best, '.1%'):>7}  {shown}"
        )
    return SUCCESS
