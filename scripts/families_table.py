"""Prints the table of variants and weights in docs/weights.md, from the package's own tables.

python scripts/families_table.py
"""

from __future__ import annotations

from efficientnet import get_variant, list_variants, model
from efficientnet.family import costs
from efficientnet.weights.published import published_top1


def constructor(name: str) -> str:
    """Return the name of a variant's constructor."""
    variant = get_variant(name)
    names = (key for key in vars(model) if key.startswith("EfficientNet") and key != "EfficientNet")
    return next(key for key in names if get_variant(key) == variant)


def main() -> None:
    """Print the table."""
    print("| constructor | parameters | multiply-adds | input | `weights=`, published top-1 |")
    print("|---|--:|--:|--:|---|")
    for name in list_variants():
        variant, cost = get_variant(name), costs.cost(get_variant(name))
        sets = (f"`{key}`" + (f" {top1:.1%}" if top1 else "") for key, top1 in published_top1(name).items())
        numbers = f"{cost.parameters / 1e6:.1f} M | {cost.macs / 1e9:.2f} G | {variant.resolution}"
        print(f"| `{constructor(name)}` | {numbers} | {', '.join(sets).replace('%', ' %')} |")


if __name__ == "__main__":
    main()
