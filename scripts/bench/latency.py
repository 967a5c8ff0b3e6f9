"""Part "latency-model": the latency model on networks that it has not seen, measured by turns."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import statistics

import numpy as np

NETWORKS = 20
BASES = ("b0", "lite0", "v2-b0", "b0")
MACS = (3e7, 2e9)


def report(engine: str = "auto", threads: int = 2) -> list[dict[str, float]]:
    """Measure the table, where it is not there yet, and 20 networks; print each, and the median and worst error."""
    from efficientnet.design.latency import latency_model
    from efficientnet.design.probes import build
    from efficientnet.design.timing import by_turns
    from efficientnet.family import costs

    def progress(done: int, count: int) -> None:
        if done % 20 == 0:
            print(f"{done} of {count} small networks measured", flush=True)

    model = latency_model(engine, threads, report=progress)
    variants = [unseen(number) for number in range(NETWORKS)]
    with contextlib.ExitStack() as stack:
        runs = [stack.enter_context(model.timed.compiled(build(variant))) for variant in variants]
        timed = by_turns(runs)
    rows = []
    print(f"| {'network':<44} | {'multiply-adds':>13} | predicted, ms | measured, ms | error  |")
    print(f"|{'-' * 46}|{'-' * 14}:|{'-' * 14}:|{'-' * 13}:|{'-' * 7}:|")
    for variant, times in zip(variants, timed, strict=True):
        measured, predicted = 1000 * times.seconds, model.milliseconds(variant)
        macs, error = costs.cost(variant).macs, predicted / measured - 1
        rows.append({"macs": macs, "predicted": predicted, "measured": measured})
        print(f"| {variant.name:<44} | {macs:>13,} | {predicted:>13.2f} | {measured:>12.2f} | {error:>+6.1%} |")
    errors = [abs(row["predicted"] / row["measured"] - 1) for row in rows]
    print(
        f"\nmedian error {statistics.median(errors):.1%}, worst {max(errors):.1%}; within its table {model.error:.1%}"
    )
    return rows


def unseen(number: int):
    """Return a whole network whose width, depth and resolution, and stages, are drawn at random."""
    from efficientnet import get_variant
    from efficientnet.family import costs
    from efficientnet.family.scaling import Factors, scale

    generator = np.random.default_rng([2026, number])
    base = get_variant(BASES[number % len(BASES)])
    while True:
        blocks, filters = [], base.blocks[0].input_filters
        for stage in base.blocks:
            changed = dataclasses.replace(
                stage,
                input_filters=filters,
                output_filters=round(stage.output_filters * generator.uniform(0.75, 1.25)),
                num_repeat=max(1, stage.num_repeat + int(generator.integers(-1, 2))),
            )
            blocks.append(changed)
            filters = changed.output_filters
        width, depth, resolution = (math.exp(generator.uniform(-0.7, 0.7)) for _ in range(3))
        variant = scale(dataclasses.replace(base, blocks=tuple(blocks)), Factors(width, depth, resolution))
        if MACS[0] < costs.cost(variant).macs < MACS[1]:
            return variant
