"""The command ``efficientnet embed``: vectors that describe the images of a folder."""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.files import check_writable
from ..common.text import plain
from . import model_options, pixel_options
from .exit_statuses import SOME_FAILED, SUCCESS
from .number_types import positive
from .paths import given_path

if TYPE_CHECKING:
    from ..similarity.embeddings import Compute


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``embed`` and its function."""
    parser.description = (
        "Computes a vector for each image of a folder and the folders within it, by which `efficientnet "
        "similar` finds similar images. --out becomes a folder of files of NumPy or Parquet. The same command "
        "continues after any end, and computes only what is new or has changed. An image that cannot be read is "
        "reported on stderr, and the exit status is 1."
    )
    add = parser.add_argument
    add("folder", metavar="FOLDER", type=given_path, help="folder of images")
    add(
        "--out",
        metavar="FOLDER",
        type=given_path,
        help="folder of the embeddings (default: embeddings/ and FOLDER's name)",
    )
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
    from ..similarity.embeddings import IMAGES_PER_PART, describe_files

    compute = functools.partial(describe_files, **model_options.engine_options(arguments))
    return embed_folder(arguments, compute, IMAGES_PER_PART)


def embed_folder(arguments: argparse.Namespace, compute: Compute, images_per_part: int) -> int:
    """Do what the command line says, with vectors from ``compute``; return the exit status."""
    from ..similarity.embeddings import embed_images, images_of
    from ..similarity.networks import network_for

    folder, out = arguments.folder, arguments.out or Path("embeddings", arguments.folder.resolve().name)
    check_writable(out, is_folder=True)
    images = images_of(folder)
    network = network_for(images, arguments.model, arguments.weights, arguments.image_size)
    done = embed_images(folder, images, out, network, arguments.format, compute, images_per_part)
    known = f", {done.known} were there" if done.known else ""
    print(f"{plain(out)}: {done.new} images embedded{known}")
    return SOME_FAILED if done.unreadable else SUCCESS
