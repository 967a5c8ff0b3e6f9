"""Folders for other packages: weights, configuration, class names and a model card."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from ..checkpoints import Facts, Reading
from ..checkpoints.facts import of_variant, simplest
from ..common.files import part_folder
from ..common.json_files import write_json
from ..common.text import get_logger
from ..family.variants import list_variants, save_variant
from ..images.pixel_scaling import EVALUATION_CROP, numbers_for
from ..weights import finding, published
from ..weights.published import PublishedWeights
from . import state_dicts
from .packages.base import ANY_FILE, Network, Package
from .packages.card import model_card

logger = get_logger()

CARD, VARIANT = "README.md", "variant.json"


def write_package(
    target: Path, package: Package, reading: Reading, given: Facts, class_names: tuple[str, ...] | None
) -> None:
    """Write a folder that a package opens, or a file with the package's names; whole or not at all.

    Args:
        target: Path of the file, by its suffix, or of the folder, which is not there yet or empty.
        package: Package to write for.
        reading: Network.
        given: Padding, epsilon and preprocessing, if they are known otherwise.
        class_names: Names of the classes, if they are known.

    Raises:
        ValueError: The package has no such network; CheckpointError: an array is damaged.
        OSError: The folder is there, or cannot be written.
    """
    _check_whole(reading)
    row = published_row(reading)
    network = describe(reading, given, class_names, row)
    arrays = state_dicts.named_arrays(reading, package.origin(network), package.body)
    facts = Facts(
        network.variant.padding, network.variant.batch_norm_epsilon, simplest(network.scaling), network.crop,
        network.interpolation, class_names, network.activation, size=network.variant.resolution,
    ) | of_variant(network.variant)  # fmt: skip
    if state_dicts.is_file(target):
        state_dicts.write(target, arrays, facts)
        return
    classifier = package.separate_classifier
    head = {name: arrays.pop(name) for name in list(arrays) if classifier and name.startswith(classifier.prefix)}
    with new_folder(target, sum(array.nbytes for array in (*arrays.values(), *head.values()))) as folder:
        state_dicts.write(folder / package.weights, arrays, facts)
        if classifier and head:
            state_dicts.write(folder / classifier.file, head | classifier.beside, Facts())
        for file, content in package.configure(network).items():
            write_json(folder / file, content)
        write_card(folder, target.name, network, package.title, package.library, package.usage(network), row)


def write_card(
    folder: Path, name: str, network: Network, title: str, library: str, usage: str, row: PublishedWeights | None
) -> None:
    """Write the model card, and the description of a variant that is not published."""
    (folder / CARD).write_text(model_card(network, title, library, usage, name, row), encoding="utf-8")
    if network.variant.name not in list_variants():
        save_variant(network.variant, folder / VARIANT)


def published_row(reading: Reading) -> PublishedWeights | None:
    """Return the published set that a file is, by its hash; None if it is none."""
    path = reading.path / "model.safetensors" if reading.path.is_dir() else reading.path
    return published.published_as(path, reading.variant)


def _check_whole(reading: Reading) -> None:
    if "top_conv/kernel" not in reading.arrays:
        raise ValueError(
            f"{reading.path} ends with the last block, and other packages open networks with their head. {ANY_FILE}"
        )


def describe(
    reading: Reading, given: Facts, class_names: tuple[str, ...] | None, row: PublishedWeights | None
) -> Network:
    """Return what a package needs to know of a network; log the settings that are assumed."""
    variant = reading.variant
    said = finding.of_reading(reading) if row is None else finding.of_set(row)
    for contradiction in finding.contradictions(said, given):
        logger.warning("%s %s", reading.path, finding.contradiction_message(contradiction))
    trained = finding.trained_with(said, variant, given)
    if message := finding.unknown_message(trained, variant):
        logger.warning("%s %s", reading.path, message)
    facts = trained.facts
    return Network(
        variant=dataclasses.replace(
            variant,
            padding=trained.padding,
            batch_norm_epsilon=trained.epsilon,
            resolution=facts.size or variant.resolution if row is None else row.resolution,
        ),
        classes=reading.classes,
        channels=reading.channels,
        scaling=numbers_for(trained.preprocessing, reading.channels),
        crop=facts.crop or EVALUATION_CROP,
        interpolation=facts.interpolation if facts.interpolation in ("bilinear", "bicubic") else "bicubic",
        class_names=class_names,
        activation=facts.activation or "softmax",
    )


@contextlib.contextmanager
def new_folder(target: Path, size: int) -> Iterator[Path]:
    """Enter a folder that takes its place when all is written."""
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise FileExistsError(f"{target} is there already: give the name of a folder that is not, or is empty.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with part_folder(target, size) as parts:
        folder = parts / target.name
        folder.mkdir()
        yield folder
        with contextlib.suppress(FileNotFoundError):
            target.rmdir()
        os.replace(folder, target)
