"""The command ``efficientnet clean``: what is wrong in a labelled data set."""

from __future__ import annotations

import argparse
from importlib.util import find_spec

from ..common.files import check_writable
from ..common.packages import missing
from ..common.text import notify, print_json
from ..family.variants import get_variant
from . import pixel_options
from .exit_statuses import SOME_FAILED, SUCCESS
from .number_types import natural, positive, share
from .paths import given_path
from .train import VALIDATION, fraction_or_path

_SIMILARITY, _FOLDS = 0.9, 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``clean`` and its function."""
    parser.description = (
        "Finds labels that are probably wrong, near-duplicates of different classes or of training and "
        "validation, and images unlike all others, in labelled images as `efficientnet train` reads them. Nothing is "
        "deleted, moved or changed. An image that cannot be read is reported on stderr; the others are searched, and "
        "the exit status is 1."
    )
    add = parser.add_argument
    add("data", metavar="DATA", help="folder with a folder per class, CSV file of path and label, TFRecord files, "
        "tfds:NAME, digits, or fashion-mnist")  # fmt: skip
    add("--out", type=given_path, metavar="FOLDER", help="folder for report.html, with the images, and issues.csv "
        "(default: print only)")  # fmt: skip
    add("--json", action="store_true", help="print one JSON object instead of the tables")
    add("--model", default="lite0", help="variant whose features describe the images (default: lite0)")
    add("--weights", default="imagenet", help="published set or file of its weights (default: imagenet)")
    add("--image-size", type=positive, metavar="PIXELS",
        help="side of the images (default: the variant's; less for small images)")  # fmt: skip
    add("--in-channels", type=positive, default=3, metavar="N",
        help="channels of the images: 3 for RGB, 1 for grey; for others the images have as many, in .npy or TIFF files "
        "(default: 3)")  # fmt: skip
    add("--validation", type=fraction_or_path, metavar="PART", help=VALIDATION)
    add("--training-images", type=positive, metavar="N", help="training images to draw at random (default: all)")
    add("--similarity", type=share, default=_SIMILARITY, metavar="S",
        help=f"least cosine similarity of near-duplicates, up to 1 (default: {_SIMILARITY})")  # fmt: skip
    add("--folds", type=positive, default=_FOLDS, metavar="N",
        help=f"parts of the cross-validation that judges the labels (default: {_FOLDS})")  # fmt: skip
    add("--seed", type=natural, default=0, metavar="N", help="random seed (default: 0)")
    pixel_options.add_options(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from .. import datasets
    from ..cleaning import find_issues, write_report

    if arguments.out:
        check_writable(arguments.out, is_folder=True)
    if not find_spec("sklearn"):
        raise missing("clean needs scikit-learn", "training")
    if arguments.out and not find_spec("jinja2"):
        raise missing("--out needs Jinja2", "design", ", or leave it out")
    fit, largest = arguments.image_size is None, arguments.image_size or get_variant(arguments.model).resolution
    data = datasets.load(arguments.data, arguments.validation, largest, channels=arguments.in_channels, fit=fit)
    size = pixel_options.training_size(data, largest, fit)
    found = find_issues(
        data.subset(arguments.training_images, None, arguments.seed).resized(size), arguments.model, arguments.weights,
        similarity=arguments.similarity, folds=arguments.folds, seed=arguments.seed,
    )  # fmt: skip
    for note in found.notes:
        notify(note)
    try:
        if arguments.out:
            write_report(found, arguments.out)
    finally:  # a full disk does not lose the findings
        print_json(found.as_json()) if arguments.json else print(found.text())
    return SOME_FAILED if found.unreadable else SUCCESS
