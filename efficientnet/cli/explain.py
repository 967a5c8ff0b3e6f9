"""The command ``efficientnet explain``: where in images a model sees the evidence for a class."""

from __future__ import annotations

import argparse
import io
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..common.files import check_writable, write_file
from ..common.packages import missing
from ..common.text import about, notify, plain
from . import image_arguments, model_options
from .exit_statuses import SOME_FAILED, SUCCESS
from .number_types import positive
from .paths import given_path

if TYPE_CHECKING:
    from ..inference import InputSpec

_LONGEST_NAME = 80


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``explain`` and its function."""
    parser.description = (
        "Draws heat maps over images, which show where a model sees the evidence for a class, and writes "
        "them into a folder with a page, report.html. An image that cannot be read is reported on stderr; the others "
        "are explained, and the exit status is 1."
    )
    add = parser.add_argument
    image_arguments.add_options(parser)
    add("--model", default="lite0", help="variant, or a saved model: .keras or .h5; for occlusion also an exported "
        "one (default: lite0)")  # fmt: skip
    add("--weights", help="published set or file of weights (default: the variant's first set)")
    add("--method", default="gradcam", help="method: gradcam, hirescam or occlusion (default: gradcam)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--class", dest="label", metavar="CLASS", help="label or id of the class (default: the most probable one)"
    )
    which.add_argument("--top", type=positive, metavar="K", help="number of the most probable classes (default: 1), "
        "or of the numbers that a model predicts (default: all)")  # fmt: skip
    add("--layer", metavar="NAME", help="layer whose feature maps are drawn (default: the last one before the pooling)")
    add("--out", type=given_path, required=True, metavar="FOLDER", help="folder for the overlays and the page")
    model_options.add_network_options(parser)
    parser.set_defaults(run=_explain)


def _explain(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    check_writable(arguments.out, is_folder=True)
    if not find_spec("jinja2"):
        raise missing("The page needs Jinja2", "design")
    from ..explain.explaining import Explainer
    from ..explain.overlay import overlay
    from ..explain.page import MOST_IMAGES, Explained, score_text, to_page
    from ..images.bands import as_rgb
    from ..inference import compile
    from ..model_io.images import read_pixels

    images = image_arguments.expanded(arguments)
    _check_apart(arguments.out, images)
    source = model_options.model_source(arguments)
    if source.exported is None:
        model, spec = source.load()
    else:
        model = compile(source)
        spec = model.spec
    explainer = Explainer(model, spec, arguments.method, arguments.layer)
    model_options.require_preprocessing(spec.scaling, arguments.model)
    classes = None if arguments.label is None else [_class_index(arguments.label, spec)]
    top = arguments.top or (spec.outputs if spec.targets == "values" else 1)
    shown: list[Explained] = []
    failed: list[tuple[str, str]] = []
    names: set[str] = set()
    sources = image_arguments.sources(images, arguments, spec.channels)
    # disable=None: only where stderr is a terminal.
    with tqdm(total=len(images), unit="image", disable=True if len(images) == 1 else None, leave=False) as progress:
        for image, source in zip(images, sources, strict=True):
            progress.update()
            try:
                pixels = read_pixels(source, spec.channels)
                found = explainer(pixels, classes, top)
            except (OSError, ValueError, MemoryError) as error:
                failed.append((image, str(error) or type(error).__name__))
                notify(about(*failed[-1]))
                continue
            name, text = _file_name(image, names), plain(image)
            for rank, one in enumerate(found, start=1):
                path = arguments.out / (f"{name}.png" if len(found) == 1 else f"{name}-{rank}.png")
                buffer = io.BytesIO()
                overlay(as_rgb(pixels), one).save(buffer, "PNG")
                write_file(path, buffer.getvalue())
                text += f"\n  {score_text(one, spec):>6}  {plain(one.label)}  {plain(path)}"
            if found[0].unseen:
                text += f"\n  not seen: {found[0].unseen}"
            with progress.external_write_mode(file=sys.stdout):
                print(text, flush=True)
            if len(shown) < MOST_IMAGES:
                shown.append(Explained.of(image, pixels, found))
    count = len(images) - len(failed)
    page = to_page(arguments.model, arguments.method, spec, shown, failed, count)
    write_file(arguments.out / "report.html", page.encode())
    return SOME_FAILED if failed else SUCCESS


def _check_apart(out: Path, images: list[str]) -> None:
    """Check that no overlay replaces an image, or is explained itself when the command runs again.

    Raises:
        ValueError: An image lies in the folder of the overlays.
    """
    for image in images:
        if image != "-" and "://" not in image and Path(image).resolve().parent == out.resolve():
            raise ValueError(
                f"--out {plain(out)} is the folder of {plain(image)}, which an overlay could replace: choose another "
                "folder."
            )


def _class_index(name: str, spec: InputSpec) -> int:
    """Return the index of the class that the command line names."""
    from ..datasets.samples import match_classes

    spec.check_vector()
    found, problems = match_classes([name], spec.classes)
    if problems:
        raise ValueError(f"--class={name}: {problems[0]}")
    return found[name]


def _file_name(image: str, taken: set[str]) -> str:
    """Return a file name for an image's overlays that no other image of this command has."""
    stem = "stdin" if image == "-" else Path(urlsplit(image).path if "://" in image else image).stem
    stem = re.sub(r"[^\w.-]+", "_", stem).strip(".")[:_LONGEST_NAME] or "image"
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}_{number}", number + 1
    taken.add(name)
    return name
