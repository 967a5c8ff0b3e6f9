"""Seeded images that cost as much to decode as photographs, and make a network's activations differ."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

COUNT, WIDTH, HEIGHT = 500, 800, 600


def photographs(count: int) -> Iterator[np.ndarray]:
    """Yield ellipses on a slope of color, and some noise: (600, 800, 3) uint8 each."""
    from PIL import Image, ImageDraw

    random = np.random.default_rng(0)
    for _ in range(count):
        corners = random.integers(0, 256, (2, 2, 3), np.uint8)
        photograph = Image.fromarray(corners).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
        draw = ImageDraw.Draw(photograph)
        for _ in range(12):
            x, y, width, height = random.integers((0, 0, 10, 10), (WIDTH, HEIGHT, 300, 300)).tolist()
            draw.ellipse((x, y, x + width, y + height), fill=tuple(random.integers(0, 256, 3).tolist()))
        noisy = np.asarray(photograph) + random.normal(0, 6, (HEIGHT, WIDTH, 1))
        yield noisy.clip(0, 255).astype(np.uint8)


def make_photographs(folder: Path, count: int = COUNT) -> None:
    """Fill a folder that does not exist yet with JPEGs, all of them or none."""
    from PIL import Image

    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for number, photograph in enumerate(photographs(count)):
        Image.fromarray(photograph).save(unfinished / f"{number:05}.jpg", quality=90)
    unfinished.rename(folder)
