"""The command ``efficientnet embed``: vectors that describe the images of a folder."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from ..common.files import check_writable
from ..common.text import plain
from ..family.variants import get_variant
from ..keras_files.opening import is_saved_model
from . import model_options, pixel_options
from .number_types import positive

SUCCESS, SOME_FAILED = 0, 1


def add_parser(commands: Any) -> None:
    """Adds ``embed``."""
    parser = commands.add_parser(
        "embed",
        help="describe images by vectors, to find similar ones",
        description="Computes a vector for each image of a folder and the folders within it, by which `efficientnet "
        "similar` finds similar images. --out becomes a folder of files of NumPy or Parquet. The same command "
        "continues after any end, and computes only what is new or has changed. An image that cannot be read is "
        "reported on stderr, and the exit status is 1.",
    )
    add = parser.add_argument
    add("folder", metavar="FOLDER", type=Path, help="folder of images")
    add("--out", metavar="FOLDER", type=Path, help="folder of the embeddings (default: embeddings/ and FOLDER's name)")
    add("--format", choices=("npy", "parquet"), default="npy",
        help="files of the embeddings: npy, with a table of the images in CSV, or parquet (default: npy)")  # fmt: skip
    add("--model", default="lite0", help="variant, or a saved model: .keras or .h5 (default: lite0)")
    add("--weights", help="published set or file of weights (default: the variant's first set)")
    add("--image-size", type=positive, metavar="PIXELS",
        help="side of a variant's images (default: the variant's; less for small images)")  # fmt: skip
    model_options.add_engine_options(parser)
    pixel_options.add_options(parser)
    parser.set_defaults(run=_embed)


def _embed(arguments: argparse.Namespace) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from ..datasets.folders import find_images
    from ..datasets.sizes import evaluation_crop, fitting_size, usual_side
    from ..similarity import embed, network_of

    out = arguments.out or Path("embeddings", arguments.folder.resolve().name)
    check_writable(out, is_folder=True)
    size, crop = arguments.image_size, None
    if arguments.folder.is_dir() and not is_saved_model(arguments.model):
        side = usual_side(find_images(arguments.folder).images, channels=3)
        size, crop = size or fitting_size(side, get_variant(arguments.model).resolution), evaluation_crop(side)
    network = network_of(arguments.model, arguments.weights, size, crop)
    options = {"engine": arguments.engine, "batch_size": arguments.batch_size, "threads": arguments.threads}
    done = embed(arguments.folder, out, network, arguments.format, **options)
    known = f", {done.known} were there" if done.known else ""
    print(f"{plain(out)}: {done.new} images embedded{known}")
    return SOME_FAILED if done.unreadable else SUCCESS
