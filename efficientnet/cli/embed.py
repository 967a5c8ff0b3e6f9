"""The command ``efficientnet embed``: vectors that describe the images of a folder."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..common.files import check_writable
from ..common.text import plain
from . import model_options, pixel_options
from .number_types import positive

SUCCESS, SOME_FAILED = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``embed`` and its function."""
    parser.description = (
        "Computes a vector for each image of a folder and the folders within it, by which `efficientnet "
        "similar` finds similar images. --out becomes a folder of files of NumPy or Parquet. The same command "
        "continues after any end, and computes only what is new or has changed. An image that cannot be read is "
        "reported on stderr, and the exit status is 1."
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
    from ..similarity import embed
    from ..similarity.networks import network_for

    out = arguments.out or Path("embeddings", arguments.folder.resolve().name)
    check_writable(out, is_folder=True)
    images = find_images(arguments.folder).images if arguments.folder.is_dir() else []
    network = network_for(images, arguments.model, arguments.weights, arguments.image_size)
    done = embed(arguments.folder, out, network, arguments.format, **model_options.engine_options(arguments))
    known = f", {done.known} were there" if done.known else ""
    print(f"{plain(out)}: {done.new} images embedded{known}")
    return SOME_FAILED if done.unreadable else SUCCESS
