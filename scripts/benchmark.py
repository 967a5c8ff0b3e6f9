"""Times this package side by side with ``keras.applications`` and with everything else that runs an EfficientNet.

    python scripts/benchmark.py --quick --backend tensorflow jax
    python scripts/benchmark.py --only contenders --model B0 --batch 1 32 --files /tmp/photographs

Every row is a ratio to the peer in the same run: the two alternate, A B A B, so that what else the machine does
slows both. Imports, builds and what is opened from files take a fresh process each; forward passes and training steps
share one process for each backend and are warmed up first. Both networks are EfficientNetB0 (or B7, or L2) with random
weights on raw pixels: ``keras.applications`` always scales them inside, so ours is built with
``include_preprocessing=True``.

Contenders have a process each, with as many threads and cores for everyone, and are asked in turn, round after round:
raw pixels of 8 bits in, probabilities out, float32 unless they say otherwise. What cannot run here is skipped, and
reported. --files adds the way from JPEGs on disk to predictions.

--only latency-model measures, for the latency model of ``efficientnet design``, 160 small networks, where this machine
has no table of them yet, and 20 networks that the model has not seen; it prints the median and the worst error.

--only serving sends 10,000 photographs to ``efficientnet serve`` over 64 connections, and reads the same files with
``predictor.stream`` in between.

--only fine-tuning trains Lite0 on 2,000 images of Fashion-MNIST for one epoch, the head's, and by keras.io's guide to
fine-tuning an EfficientNet for its 29, on TensorFlow; the row has the accuracies of both.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench import chart, finetuning, keras_parts, latency, loading, low_memory, serving
from bench.backends import BACKENDS, installed_backends
from bench.contenders import CONTENDERS, REFERENCE, Settings
from bench.file_contenders import FILE_CONTENDERS, FILE_REFERENCE
from bench.measuring import Effort, Row, machine, table_line
from bench.photographs import make_photographs
from bench.race import Result, race, table

PARTS = (*keras_parts.PARTS, "load", "low-memory", "contenders")  # in minutes
SLOW_PARTS = ("fine-tuning", "latency-model", "serving")
CHART = Path(__file__).resolve().parents[1] / "misc" / "benchmark.png"
FILES_BATCH = 32


def measured(arguments: argparse.Namespace, parts: Sequence[str]) -> Iterator[Row]:
    """Return the rows of all parts but the contenders'."""
    backends, quick = arguments.backend, arguments.quick
    effort = Effort(pairs=3, seconds=1 if quick else 20)
    yield from keras_parts.rows(backends, parts, quick, effort)
    if "load" in parts:
        yield from loading.rows(backends, quick, effort)
    if "fine-tuning" in parts:
        yield from finetuning.rows(quick)
    if "low-memory" in parts:
        yield from low_memory.rows(backends)
    if "serving" in parts:
        with tempfile.TemporaryDirectory() as folder:
            yield from serving.rows(race_settings(arguments, folder), quick)


def print_rows(rows: Iterator[Row]) -> list[Row]:
    """Print each row as soon as it is there."""
    print("Median (quartiles); a ratio below 1 is in our favour.\n")
    print(f"| {'what':<48} | {'ours':<28} | {'keras.applications':<28} | {'ratio':<18} |")
    print(f"|{'-' * 50}|{'-' * 30}|{'-' * 30}|{'-' * 20}|", flush=True)
    printed = []
    for row in rows:
        print(table_line(row), flush=True)
        printed.append(row)
    return printed


def race_settings(arguments: argparse.Namespace, folder: str) -> Settings:
    """Return what the options say about a race; its processes write into the folder."""
    from efficientnet import get_variant
    from efficientnet.family import costs

    variant = get_variant(arguments.model)
    return Settings(
        variant=variant.name,
        resolution=variant.resolution,
        macs=costs.cost(variant).macs,
        backend=arguments.backend[0],
        threads=arguments.threads,
        seconds=0.2 if arguments.quick else 0.5,
        folder=folder,
    )


def run_races(arguments: argparse.Namespace) -> list[Result]:
    """Run, print and draw the race of the contenders, and that of those who start from files."""
    rounds, older = 3 if arguments.quick else arguments.rounds, arguments.old
    with tempfile.TemporaryDirectory() as folder:
        settings = race_settings(arguments, folder)
        title = f"{arguments.model} at {settings.resolution} pixels, {arguments.threads} threads"
        against = arguments.against
        names = [name for name in CONTENDERS if name in (against, *arguments.contender)]
        print(f"\n{title}; median (quartiles) of {rounds} rounds, speed against {against}\n", flush=True)
        results = race(names, arguments.batch, settings, rounds, older)
        print(*table(results, arguments.batch, against), sep="\n", flush=True)
        if arguments.draw and any(result.seconds for result in results):
            chart.draw(results, arguments.batch, title, arguments.draw)
        if arguments.files is None:
            return results
        if not arguments.files.exists():
            make_photographs(arguments.files)
        settings = settings._replace(photographs=str(arguments.files.resolve()), seconds=0)
        from_files = race(list(FILE_CONTENDERS), [FILES_BATCH], settings, rounds)
        print(f"\nFrom files to predictions, speed against {FILE_REFERENCE}\n")
        print(*table(from_files, [FILES_BATCH], FILE_REFERENCE), sep="\n", flush=True)
        return [*results, *from_files]


def at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if (value := int(text)) < least:
            raise argparse.ArgumentTypeError(f"{text} is not at least {least}")
        return value

    return number


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    installed = installed_backends()
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="\n  ".join(("contenders:", *CONTENDERS)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--backend", nargs="+", choices=BACKENDS, default=installed, help="default: those installed")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=(*PARTS, *SLOW_PARTS),
        default=PARTS,
        help=f"parts to measure (default: all but {', '.join(SLOW_PARTS)})",
    )
    parser.add_argument("--quick", action="store_true", help="fewer repeats, and neither B7 nor L2")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single measurement there too")
    races = parser.add_argument_group("contenders and serving (Keras on the first backend)")
    races.add_argument("--model", default="B0", help="variant (default: B0)")
    races.add_argument("--batch", nargs="+", type=at_least(1), default=[1, 32], metavar="N", help="default: 1 32")
    races.add_argument(
        "--contender", nargs="+", choices=CONTENDERS, metavar="NAME", default=list(CONTENDERS), help="default: all"
    )
    races.add_argument("--against", choices=CONTENDERS, metavar="NAME", default=REFERENCE, help=f"default: {REFERENCE}")
    races.add_argument("--rounds", type=at_least(2), default=7, metavar="N", help="that count (default: 7)")
    races.add_argument("--threads", type=at_least(1), default=2, metavar="N", help="for each contender (default: 2)")
    races.add_argument("--files", type=Path, metavar="FOLDER", help="JPEGs to predict; made where there is no folder")
    races.add_argument("--old", type=Path, metavar="PATH", help="folder or Python interpreter with efficientnet 1.1.1")
    races.add_argument(
        "--draw", nargs="?", type=Path, const=CHART, metavar="PNG", help="draw the race (default: misc/benchmark.png)"
    )
    arguments = parser.parse_args(argv)
    missing = [name for name in arguments.backend if name not in installed]
    if missing or not (arguments.backend or arguments.only == ["preprocess"]):
        what = ", ".join(missing) or "any backend"
        parser.error(f"not installed: {what}; pip install 'efficientnet[test]' brings them all.")
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    print(f"{machine()}\n", flush=True)
    others = [part for part in arguments.only if part not in ("contenders", "latency-model")]
    rows = print_rows(measured(arguments, others)) if others else []
    results = run_races(arguments) if "contenders" in arguments.only else []
    latencies = latency.report(threads=arguments.threads) if "latency-model" in arguments.only else []
    if arguments.json:
        report = {
            "machine": machine(),
            "rows": [row._asdict() for row in rows],
            "contenders": [result._asdict() for result in results],
            "latency-model": latencies,
        }
        arguments.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
