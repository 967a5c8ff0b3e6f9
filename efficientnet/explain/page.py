"""The maps of a command as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..common.text import about, counted
from ..images.bands import as_rgb
from ..images.thumbnails import to_jpeg
from ..model_io.spec import InputSpec
from ..reports.page import Page, Paragraph, Photo, Photos, Section, to_html
from .explaining import Explanation
from .overlay import overlay

MOST_IMAGES = 100  # on a page, so that a browser can open it
_SIDE = 720  # side of an image on the page, pixels
_NAMES = {"gradcam": "Grad-CAM", "hirescam": "HiResCAM", "occlusion": "occlusion sensitivity"}


class Explained(NamedTuple):
    """An image of the page.

    Attributes:
        name: The image as the command line names it.
        photo: The image itself for the page, JPEG.
        overlays: Its overlays for the page, JPEG.
        explanations: What they show.
    """

    name: str
    photo: bytes
    overlays: list[bytes]
    explanations: list[Explanation]

    @classmethod
    def of(cls, name: str, pixels: NDArray[Any], explanations: list[Explanation]) -> Explained:
        """Shrink an image, (height, width, channels) of 0..255, and its overlays to the size of the page."""
        from PIL import Image

        rgb = np.ascontiguousarray(as_rgb(pixels))
        overlays = [to_jpeg(overlay(rgb, one), _SIDE) for one in explanations]
        return cls(name, to_jpeg(Image.fromarray(rgb), _SIDE), overlays, explanations)


def score_text(found: Explanation, spec: InputSpec) -> str:
    """Format the output for the class: in per cent if it is a probability."""
    is_probability = spec.kind in ("probabilities", "binary", "labels")
    return f"{found.score:.1%}" if is_probability else f"{found.score:.4g}"


def to_page(
    model: str, method: str, spec: InputSpec, images: Sequence[Explained], notes: Sequence[tuple[str, str]], count: int
) -> str:
    """Return the HTML.

    Args:
        model: Name of the model.
        method: One of ``METHODS``.
        spec: Spec of the model.
        images: Images to show.
        notes: Images that cannot be explained, and why.
        count: Number of images that were explained, which may be more than are shown.
    """
    files: dict[str, bytes] = {}
    sections = [_section(number, image, spec, files) for number, image in enumerate(images)]
    if notes:
        reported = (Paragraph(about(name, reason)) for name, reason in notes)
        sections.append(Section("Images without a map", tuple(reported)))
    findings = [
        f"The maps are made by {_NAMES[method]}. The image is grey, and the colors are the evidence for the class: "
        "violet where there is little, yellow where there is most of it in this image. The strength of two images "
        "cannot be compared. What the network does not get is faded."
    ]
    if count > len(images):
        findings.append(f"The first {len(images)} images are shown; the overlays of all are in the same folder.")
    page = Page(
        title=f"Where {model} sees the evidence",
        verdict=f"{counted(count, 'image')} explained."
        if not notes
        else f"{count} of {count + len(notes)} images explained.",
        findings=tuple(findings),
        sections=tuple(sections),
    )
    return to_html(page, files)


def _section(number: int, image: Explained, spec: InputSpec, files: dict[str, bytes]) -> Section:
    files[f"{number}.jpg"] = image.photo
    photos = [Photo(f"{number}.jpg", f"{image.name}.", "The image.")]
    for rank, (content, found) in enumerate(zip(image.overlays, image.explanations, strict=True)):
        name = f"{number}-{rank}.jpg"
        files[name] = content
        caption = f"Evidence for {found.label}, which has {score_text(found, spec)}."
        photos.append(Photo(name, f"{image.name} with its heat map. {_place(found)}", caption))
    unseen = image.explanations[0].unseen
    seen = Paragraph(f"Not seen: {unseen}." if unseen else "The network gets the whole image.")
    return Section(image.name, (Photos(tuple(photos)), seen))


def _place(found: Explanation) -> str:
    """Describe in words where the map is strongest."""
    if not found.heat_map.any():
        return f"There is no evidence for {found.label}."
    row, column = np.unravel_index(found.heat_map.argmax(), found.heat_map.shape)
    height, width = found.heat_map.shape
    return (
        f"The most evidence for {found.label} is at {(column + 0.5) / width:.0%} of the width from the left and "
        f"{(row + 0.5) / height:.0%} of the height from the top."
    )
