"""Draw the giant panda of the README: fur strokes, bamboo and soft light, in NumPy and Pillow.

It is painted back to front: a blurred grove, the forest floor, the panda's body, its head, the bamboo it holds, its
paws, and the grass before it. A part of the panda is a set of overlapping balls. Thousands of thin strokes follow the
way its fur lies, lit as their common surface is.

All lengths are pixels of a 1600 x 1200 canvas, scaled down at the end. A point is the complex number x + yj, x to the
right and y down, so that multiplying by exp(1j * angle) turns it clockwise, and `points.view(float)` is x, y, x, y, ...
as Pillow wants it; z is the height towards the viewer. Colors are sRGB, 0..255.
"""

from __future__ import annotations

import argparse
import itertools
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Array = np.ndarray[Any, Any]  # numbers or booleans
Rng = np.random.Generator
Color = tuple[int, ...]  # red, green, blue and perhaps opacity

SIZE = WIDTH, HEIGHT = 1600, 1200
GRID, CELL = (800, 600), 2  # the surface is computed per 2 x 2 pixels: fur hides the steps
Y, X = np.mgrid[0:HEIGHT:CELL, 0:WIDTH:CELL].astype(np.float64)
PLANE = X + 1j * Y  # the point under each cell

LIGHT = np.array([-0.51, -0.63, 0.59])  # towards the sun: upper left, before the panda
WHITE_FUR = np.array([[92, 86, 76], [206, 194, 170], [255, 251, 240]])  # shade, middle, sun
BLACK_FUR = np.array([[5, 5, 6], [30, 28, 28], [102, 95, 89]])
GREENS = np.array([[74, 110, 40], [104, 142, 52], [136, 168, 70], [88, 126, 60]])
LITTER = np.array([[120, 104, 66], [92, 84, 50], [146, 128, 84], [84, 98, 46], [66, 60, 38]])
CLEAR = (80, 96, 48, 0)  # an empty layer; the green keeps blurred edges from turning dark
STALK, CLAW = np.array([146, 166, 84]), np.array([120, 110, 98])
SOLES = (345 + 1022j, 1262 + 1034j)
EATEN, HELD = (500 + 1056j, 767 + 552j), (985 + 1130j, 1235 + 330j)  # the stalks, foot and top


class Ball(NamedTuple):
    """An ellipsoid in front of the viewer, with the fur that grows on it."""

    place: complex  # center
    z: float  # height of the center
    axes: tuple[float, float, float]  # half axes along x, y and z
    source: complex  # the point that the fur grows away from
    black: float  # 1 for black fur, 0 for white
    length: float  # length of a stroke of fur


class Surface(NamedTuple):
    """What is known of each cell of a part of the panda: (600, 800), normal (600, 800, 3)."""

    mask: Array
    height: Array
    normal: Array
    flow: Array  # the way the fur lies, of length 1
    black: Array
    length: Array


def blur(array: Array, sigma: float) -> Array:
    """Gaussian blur of a (height, width) array, by Fourier transform, mirrored at the edges."""
    edge = int(3 * sigma) + 1
    padded = np.pad(array, edge, mode="symmetric")
    frequency = np.hypot(np.fft.fftfreq(padded.shape[0])[:, None], np.fft.rfftfreq(padded.shape[1]))
    spectrum = np.fft.rfft2(padded) * np.exp(-2 * (np.pi * sigma * frequency) ** 2)
    return np.fft.irfft2(spectrum, s=padded.shape)[edge:-edge, edge:-edge]


def hills(rng: Rng, width: float) -> Array:
    """Smooth noise with hills about `width` cells wide: (600, 800), unit spread."""
    noise = blur(rng.normal(size=X.shape), 0.4 * width)
    return np.asarray(noise / noise.std())


def ramp(colors: Array, shade: Array) -> Array:
    """Blend (k, 3) colors, dark to light, by shades 0..1 of any shape: (..., 3)."""
    stops = np.linspace(0, 1, len(colors))
    return np.stack([np.interp(shade, stops, channel) for channel in colors.T], axis=-1)


def to_image(array: Array) -> Image.Image:
    """Return an image of numbers 0..255."""
    return Image.fromarray(np.clip(array, 0, 255).astype(np.uint8))


def fill(image: Image.Image, outline: Array, color: Array, opacity: int = 255) -> None:
    """Fill the polygon with these corners."""
    rgb = np.clip(color, 0, 255).astype(int).tolist()
    ImageDraw.Draw(image, "RGBA").polygon(outline.view(float).tolist(), (*rgb, opacity))


def lay(canvas: Image.Image, layer: Image.Image, sigma: float, spot: complex = 0) -> None:
    """Put a layer over the canvas with its corner at `spot`, out of focus by `sigma` pixels."""
    layer = layer.filter(ImageFilter.GaussianBlur(float(sigma)))
    canvas.paste(layer, (int(spot.real), int(spot.imag)), mask=layer.getchannel("A"))


def dab(canvas: Image.Image, place: complex, size: complex, color: Color, sigma: float) -> None:
    """Paint a soft ellipse; `size` holds its half axes."""
    half = size + (3 * sigma + 2) * (1 + 1j)
    layer = Image.new("RGBA", (int(2 * half.real), int(2 * half.imag)), (*color[:3], 0))
    box = np.array([half - size, half + size]).view(float).tolist()
    ImageDraw.Draw(layer).ellipse(box, fill=color)
    lay(canvas, layer, sigma, place - half)


def draw_stem(layer: Image.Image, start: complex, end: complex, width: float, tone: Array) -> None:
    """Draw a bamboo stem as lengthwise stripes, round by their shade, with rings at the joints."""
    along = (end - start) / abs(end - start) * width
    across = along / 2j
    box = np.array([-1 - 1j, 1 - 1j, 1 + 1j, -1 + 1j])  # corners: sideways + 1j * lengthways
    for side in np.linspace(-1, 1, int(width)):
        shade = 0.4 + 0.74 * np.sqrt(1 - ((side + 0.35) / 1.4) ** 2)
        stripe = across * np.where(box.real < 0, side, 1)  # the next ones cover the rest
        fill(layer, np.where(box.imag < 0, start, end) + stripe, tone * shade)
    for joint in np.arange(3.3, abs((end - start) / along), 5.5):
        for offset, shade in ((-0.09, 0.55), (0.0, 1.35), (0.1, 0.8)):
            ring = 1.1 * across * box.real + along * (joint + offset + 0.045 * box.imag)
            fill(layer, start + ring, tone * shade)


def draw_leaf(
    layer: Image.Image, base: complex, angle: float, size: float, tone: Array, droop: float = 0.3, slim: float = 0.085
) -> None:
    """Draw a lance-shaped, veined leaf that turns by `droop` (radians) towards its tip."""
    t = np.linspace(0, 1, 10)
    step = np.exp(1j * (angle + droop * t)) * size / (len(t) - 1)
    rib = base + np.cumsum(step) - step[0]
    side = 1j * step / abs(step) * np.sin(np.pi * t**0.62) * size * slim
    for i, (a, b) in enumerate(itertools.pairwise(np.linspace(-1, 1, 9))):  # strips
        shade = (1.08 if b <= 0 else 0.78) + 0.08 * abs(a + b) + 0.06 * (i % 2)
        fill(layer, np.concatenate([rib + a * side, (rib + b * side)[::-1]]), tone * shade)
    fill(layer, np.concatenate([rib - 0.07 * side, (rib + 0.07 * side)[::-1]]), tone * 1.25)


def draw_sprig(rng: Rng, layer: Image.Image, base: complex, angle: float, size: float, light: float = 1.0) -> None:
    """Draw a twig with six hanging leaves on alternate sides; they are up to `size` long."""
    twig = base + np.exp(1j * angle) * size * np.linspace(0, 0.7, 6)
    fill(layer, np.append(twig, base + 3j * np.exp(1j * angle)), STALK * 0.8 * light)
    for i, joint in enumerate(twig):
        way = angle + (-1) ** i * rng.uniform(0.5, 0.9) * (1 - 0.14 * i)
        tone = rng.choice(GREENS) * rng.uniform(0.8, 1.2) * light
        draw_leaf(layer, joint, way, size * rng.uniform(0.65, 1), tone, 0.55 * np.cos(way))


def draw_grove(rng: Rng) -> Image.Image:
    """Paint the bamboo grove behind the panda, the farther the more out of focus."""
    x, y = X[..., None] / WIDTH, Y[..., None] / HEIGHT
    glow = np.exp(-((x - 0.72) ** 2 / 0.1 + (y - 0.1) ** 2 / 0.16))
    air = np.array([88, 110, 62]) * (1 - 0.5 * y) + glow * np.array([96, 102, 62])
    canvas = to_image(air * (1 + 0.12 * hills(rng, 65)[..., None])).resize(SIZE)
    # Number of stems and of sprigs, width, sigma of the blur, brightness; far to near.
    depths = ((20, 60, 24, 19, 1.1), (12, 42, 42, 13, 0.9), (7, 28, 64, 8, 0.72))
    for stems, sprigs, width, sigma, light in depths:
        layer = Image.new("RGBA", SIZE, CLEAR)
        for _ in range(stems):
            foot, top = rng.uniform(-60, WIDTH + 60), rng.normal(0, 60)
            tone = np.array([112, 136, 64]) * light * rng.uniform(0.75, 1.25)
            draw_stem(layer, foot + 1000j, foot + top - 40j, width, tone)
        for _ in range(sprigs):
            spot = complex(rng.uniform(-60, WIDTH + 60), rng.uniform(-60, 800))
            draw_sprig(rng, layer, spot, rng.uniform(0.2, 2.9), width * 3, light)
        lay(canvas, layer, sigma)
    return canvas


def draw_floor(rng: Rng, canvas: Image.Image, bands: Array) -> None:
    """Cover the ground with fallen leaves and grass, in bands from 0 (horizon) to 1 (near)."""
    for near in bands:
        layer = Image.new("RGBA", SIZE, CLEAR)
        for is_grass in rng.permutation([False] * 450 + [True] * 90):
            spot = complex(rng.uniform(-40, WIDTH + 40), 800 + near * 410 + rng.normal(8, 25))
            angle = rng.normal(-np.pi / 2 if is_grass else rng.choice([0, np.pi]), 0.45)
            tone = rng.choice(GREENS if is_grass else LITTER) * rng.uniform(0.5, 1.05)
            size, slim = rng.uniform(35, 95) * (0.35 + 0.65 * near), 0.04 if is_grass else 0.085
            draw_leaf(layer, spot, angle, size, tone, rng.normal(0, 0.5), slim)
        for spot in rng.uniform(-40, WIDTH + 40, 7) + 1j * (800 + near * 410):  # bamboo seedlings
            draw_sprig(rng, layer, spot, rng.normal(-1.57, 0.5), 60 + 50 * near, 0.75)
        lay(canvas, layer, 0.6 + 9 * max(0.0, 0.75 - near) + 10 * max(0.0, near - 0.9))


def draw_held_bamboo(rng: Rng, canvas: Image.Image, panda: Array) -> None:
    """Draw both stalks and their leaves, with their shadow on the panda."""
    layer = Image.new("RGBA", SIZE, CLEAR)
    draw_stem(layer, *EATEN, 24, STALK)
    for angle, droop, size in ((0.1, 0.5, 135), (-2.9, -0.6, 115), (0.75, 0.4, 120)):
        draw_leaf(layer, EATEN[1] + 6j, angle, size, GREENS[1] * 1.05, droop)
    draw_stem(layer, *HELD, 22, STALK * 0.92)
    for t, angle in ((0.66, 0.2), (0.76, -0.2), (0.86, -2.1), (0.9, 0.05), (0.99, -1.4), (1, -0.7)):
        draw_sprig(rng, layer, HELD[0] + t * (HELD[1] - HELD[0]), angle, 165)
    cast_shadow(canvas, np.asarray(layer.getchannel("A").resize(GRID)) / 255, panda, 8, 0.55)
    lay(canvas, layer, 0.5)


def limb(*joints: tuple[complex, float, float], length: float = 30, steps: int = 6) -> list[Ball]:
    """Return a black limb: balls strung along joints given as (place, z, radius)."""
    balls = []
    for a, b in itertools.pairwise(joints):
        for t in np.linspace(0, 1, steps):
            place, z, radius = ((1 - t) * p + t * q for p, q in zip(a, b, strict=True))
            axes, source = (radius, radius, radius), place - 3 * (b[0] - a[0])
            balls.append(Ball(place, z, axes, source, 1, length))
    return balls


def join(balls: list[Ball], blend: float = 14.0) -> Surface:
    """Melt balls into one surface; a crease between two is rounded over about `blend` pixels."""
    columns = (np.array(column).T[..., None, None] for column in zip(*balls, strict=True))
    place, z, (rx, ry, rz), source, black, length = columns
    radius = np.hypot((X - place.real) / rx, (Y - place.imag) / ry)
    mask = radius.min(0) < 1
    # Beyond its rim a ball falls away steeply, so that it can still melt into a neighbour.
    dome = np.where(radius < 1, np.sqrt(np.maximum(1 - radius**2, 0)), 4 * (1 - radius))
    top = (z + rz * dome).max(0)
    weights = np.exp((z + rz * dome - top) / blend)
    height = blur(np.where(mask, top + blend * np.log(weights.sum(0)), top[mask].min()), 2.0)
    dy, dx = np.gradient(height, CELL)
    normal = np.stack([-dx, -dy, np.ones_like(X)], -1) / np.sqrt(1 + dx**2 + dy**2)[..., None]
    weights /= weights.sum(0)
    away = sum(w * np.exp(1j * np.angle(PLANE - s)) for w, s in zip(weights, source, strict=True))
    black, length = (weights * black).sum(0), (weights * length).sum(0)
    return Surface(mask, height, normal, np.exp(1j * np.angle(away)), black, length)


def illuminate(part: Surface) -> Array:
    """Shade 0..1 of each cell: soft sun, sky from above, dim creases, a rim lit from behind."""
    nx, ny, nz = np.moveaxis(part.normal, -1, 0)
    sun = np.clip((part.normal @ LIGHT + 0.3) / 1.3, 0, 1)
    crease = np.clip((blur(part.height, 16) - part.height) / 28, 0, 1) * part.mask
    rim = (1 - nz) ** 2.5 * np.clip(0.7 * nx - 0.6 * ny, 0, 1)
    ground = 1 - 0.35 * np.clip((Y - 750) / 450, 0, 1)  # the ground takes light away
    shade = (0.68 * sun + 0.17 - 0.17 * ny) * ground * (1 - 0.6 * crease) + 0.5 * rim
    return np.asarray(shade.clip(0, 1))


def cast_shadow(canvas: Image.Image, mask: Array, under: Array, reach: int, dark: float) -> None:
    """Darken what lies under a mask, on the side away from the sun."""
    shade = blur(np.roll(mask, (reach, reach // 2), (0, 1)), 0.7 * reach) * blur(under, 2)
    canvas.paste((16, 17, 12), mask=to_image(255 * dark * shade).resize(SIZE))


def grow_fur(rng: Rng, canvas: Image.Image, part: Surface, count: int) -> None:
    """Paint a part: an undercoat, then `count` thin spindles, each with its own way and color."""
    light = illuminate(part) * (1 + 0.06 * hills(rng, 36))  # sun through leaves
    skin = np.where(part.black[..., None] > 0.5, BLACK_FUR[1], ramp(WHITE_FUR, 0.75 * light))
    canvas.paste(to_image(skin).resize(SIZE), mask=to_image(255 * part.mask).resize(SIZE))
    odds = part.length[part.mask] ** -1.5  # short fur needs more hairs
    hairs = rng.choice(np.flatnonzero(part.mask), count, p=odds / odds.sum())
    hairs = hairs[np.argsort(part.height.flat[hairs] + rng.normal(0, 7, count))]  # near over far
    cell = np.unravel_index(hairs, part.mask.shape)
    turn = 0.28 * hills(rng, 9) + 0.2 * hills(rng, 40)  # tufts and whorls
    way = part.flow[cell] * np.exp(1j * (turn[cell] + rng.normal(0, 0.16, count)))
    way *= part.length[cell] * (1.1 - 0.35 * part.normal[cell][:, 2]) * rng.uniform(0.4, 1.1, count)
    root = PLANE[cell] + rng.uniform(0, CELL, count) + 1j * rng.uniform(0, CELL, count)
    middle = root + way * (0.5 + 1j * rng.normal(0.05, 0.1, count))
    half = 1j * way / abs(way) * rng.uniform(0.45, 1.05, count)
    spindles = np.stack([root, middle - half, root + way, middle + half], 1)
    # Locks of hair: noise drawn out along the fur, by the mean over four steps of its way.
    steps = (root[:, None] + (way / abs(way))[:, None] * np.arange(0, 32, 8)) / CELL
    at = steps.imag.astype(int).clip(0, GRID[1] - 1), steps.real.astype(int).clip(0, GRID[0] - 1)
    shade = light[cell] + 0.09 * hills(rng, 3)[at].mean(1) + rng.normal(0, 0.06, count)
    is_black = part.black[cell] + rng.normal(0, 0.06, count) > 0.5
    sheen = ramp(BLACK_FUR, (0.84 * shade).clip(0, 1) ** 2)
    color = np.where(is_black[:, None], sheen, ramp(WHITE_FUR, shade))
    stain = hills(rng, 90)[cell] + 0.6 * rng.normal(size=count)  # cream to grey
    color *= 1 + 0.014 * stain[:, None] * np.array([0.2, -0.4, -2.2])
    for spindle, rgb in zip(spindles, color, strict=True):
        fill(canvas, spindle, rgb, 215)


def on_head(place: complex, z: float) -> tuple[complex, float]:
    """Return where a point of the head comes to lie, given for a head at 0 that looks straight ahead."""
    turned = (place.real + 1j * z) * np.exp(0.27j)  # to the viewer's left, seen from above
    leaning = (turned.real + 1j * place.imag) * np.exp(0.06j)
    return complex(818 + 380j + leaning), float(turned.imag)


def body() -> Surface:
    """Belly, shoulders, upper arms and hind legs of the sitting panda, and the ears."""
    neck = 800 + 380j
    return join(
        [
            Ball(800 + 920j, 30, (310, 280, 270), neck, 0, 38),
            Ball(800 + 700j, -10, (290, 250, 200), neck, 0, 38),
            Ball(800 + 530j, 0, (290, 140, 170), neck, 1, 32),
            *(Ball(x + 590j, 0, (165, 165, 150), neck, 1, 32) for x in (610, 990)),
            *limb((560 + 1040j, 60, 125), (440 + 1020j, 150, 120), (370 + 1030j, 220, 104)),
            *limb((1040 + 1040j, 60, 125), (1155 + 1010j, 160, 120), (1235 + 1045j, 230, 104)),
            *(Ball(sole, 290, (88, 108, 55), sole + 20j, 1, 19) for sole in SOLES),
            *limb((550 + 620j, 30, 125), (440 + 830j, 110, 102)),
            *limb((1060 + 620j, 30, 125), (1175 + 850j, 110, 102)),
            *(Ball(*on_head(x - 170j, -40), (62, 60, 36), neck, 1, 21) for x in (-180, 180)),  # ears
        ]
    )


def head() -> Surface:
    """Return the face: skull, full cheeks and muzzle, with the black eye patches."""
    bridge = on_head(55j, 200)[0]
    shapes = [  # place, z, half axes, length of the fur
        (-12j, 0, (228, 196, 190), 18),
        (-112 + 64j, 10, (150, 128, 140), 24),
        (112 + 64j, 10, (150, 128, 140), 24),
        (45j, 105, (64, 104, 95), 12),
        (130j, 140, (100, 72, 118), 10),
        (176j, 95, (70, 44, 80), 15),
    ]
    face = join([Ball(*on_head(p, z), axes, bridge, 0, hair) for p, z, axes, hair in shapes])
    black = np.zeros_like(X)
    for side in (-1, 1):
        patch = (PLANE - on_head(side * 100 + 12j, 165)[0]) * np.exp(0.62j * side)
        tear = 1 + 0.25 * patch.imag / 70  # wider below
        u, v = patch.real / (44 - side * 3) / tear, patch.imag / 70
        black = np.maximum(black, 1.5 - np.hypot(u, v))
    return face._replace(black=black)


def paws() -> tuple[Surface, list[tuple[complex, complex]]]:
    """Return the forearms and the paws that close around the bamboo; place and direction of each claw."""
    arms = limb((440 + 830j, 110, 102), (540 + 810j, 210, 88), (610 + 790j, 240, 74), length=25)
    arms += limb((1175 + 850j, 110, 102), (1140 + 885j, 210, 88), (1095 + 893j, 240, 74), length=25)
    claws = []
    for (foot, top), t, reach in ((EATEN, 0.56, 1j), (HELD, 0.3, -1j)):
        along = (top - foot) / abs(top - foot)
        way = along * reach  # the fingers lie across the stalk
        for offset in (-54, -18, 18, 54):
            tip = foot + t * (top - foot) + along * offset + way * 26
            arms += limb((tip - 62 * way, 295, 26), (tip - 10 * way, 300, 20), length=14, steps=4)
            claws.append((tip, way))
    return join(arms, 9), claws


def draw_skin(canvas: Image.Image) -> None:
    """Draw nose, mouth, eyes and the pads of the feet as soft spots, one over the other."""
    face: list[tuple[complex, complex, Color, float]] = [  # place, half axes, color, softness
        (176j, 30 + 14j, (36, 20, 18, 255), 4),
        (138j, 3 + 22j, (54, 44, 40, 220), 2),
        (102j, 44 + 22j, (30, 28, 28, 255), 3),  # nose, with a gleam
        (116j, 26 + 20j, (25, 23, 24, 255), 3),
        (-7 + 90j, 25 + 6j, (112, 110, 110, 130), 5),
    ]
    for side, x in ((-1, -86), (1, 94)):  # lips, nostrils; eyeball, iris, glint
        face += [
            (side * 24 + 160j, 27 + 4j, (58, 46, 42, 220), 3),
            (side * 21 + 108j, 10 + 6j, (3, 3, 3, 255), 2),
            (x + 11j, 15 + 12j, (6, 5, 5, 255), 1.5),
            (x + 13j, 11 + 8j, (46, 30, 20, 255), 2.5),
            (x - 5 + 6j, 4 + 3j, (226, 230, 226, 255), 1),
        ]
    for place, size, color, sigma in face:
        dab(canvas, on_head(place, 205)[0], size, color, sigma)
    for sole in SOLES:  # pads
        dab(canvas, sole + 14j, 42 + 22j, (58, 51, 47, 230), 5)
        for toe in sole + 18j - 82j * np.exp(1j * np.linspace(-0.95, 0.95, 5)):
            dab(canvas, toe, 13 + 15j, (58, 51, 47, 230), 4)


def develop(rng: Rng, canvas: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scale down, let bright light bleed, darken the corners and add film grain."""
    small = np.asarray(canvas.resize(size, Image.Resampling.LANCZOS), np.float64)
    bleed = np.stack([blur(np.clip(c - 150, 0, None), 14) for c in np.moveaxis(small, -1, 0)], -1)
    y, x = np.mgrid[-1 : 1 : size[1] * 1j, -1 : 1 : size[0] * 1j][..., None]
    return to_image((small + bleed / 4) * (1 - 0.16 * (x**2 + y**2)) + rng.normal(0, 3, x.shape))


def draw_panda(seed: int = 0, width: int = 800) -> Image.Image:
    """Draw the image, `width` pixels wide and three quarters as high."""
    rng = np.random.default_rng(seed)
    canvas = draw_grove(rng)
    draw_floor(rng, canvas, np.linspace(0.05, 0.85, 8))
    dab(canvas, 800 + 1120j, 560 + 50j, (14, 16, 8, 190), 28)  # the panda's shadow
    trunk, face, (hands, claws) = body(), head(), paws()
    grow_fur(rng, canvas, trunk, 200000)
    cast_shadow(canvas, face.mask, trunk.mask, 16, 0.62)
    grow_fur(rng, canvas, face, 170000)
    draw_skin(canvas)
    draw_held_bamboo(rng, canvas, trunk.mask | face.mask)
    cast_shadow(canvas, hands.mask, trunk.mask, 16, 0.62)
    grow_fur(rng, canvas, hands, 48000)
    for tip, way in claws:
        draw_leaf(canvas, tip, np.angle(way), 26, CLAW, 0.5, 0.15)
    draw_floor(rng, canvas, np.array([0.97, 1.05]))
    return develop(rng, canvas, (width, width * 3 // 4))


def main() -> None:
    """Read the command line, draw and save."""
    parser = argparse.ArgumentParser(description="Draw a giant panda.")
    parser.add_argument("--out", default="misc/panda.jpg", help="JPEG to write")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another grove")
    parser.add_argument("--width", type=int, default=800, help="pixels, at most 1600")
    args = parser.parse_args()
    draw_panda(args.seed, args.width).save(args.out, quality=90)


if __name__ == "__main__":
    main()
