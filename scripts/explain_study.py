"""Measures the heat maps of ``efficientnet.explain``, with Lite0 and its published weights.

    pip download --no-deps foolbox==3.3.4 && unzip foolbox-*.whl 'foolbox/data/imagenet_*'
    python scripts/explain_study.py areas foolbox/data     # 20 photographs of ImageNet's classes
    python scripts/explain_study.py backends foolbox/data  # TensorFlow, JAX and PyTorch, fine-tuned and nested networks

Deletion and insertion (arXiv 1806.07421): the pixels of an image are made grey, those of the most evidence
first, or put into its blurred copy; the area is that under the probability of the predicted class. Low areas of
deletion and high ones of insertion are good.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

SIDE, STEPS, GREY, BLUR = 224, 56, 127, 10
METHODS = ("gradcam", "hirescam", "occlusion")
IMAGES_OF_BACKENDS = 5


def photographs(folder: str) -> list[np.ndarray]:
    """Return the images as Lite0 sees them, (224, 224, 3) uint8."""
    from efficientnet.keras import center_crop_and_resize, load_image

    paths = sorted(Path(folder).glob("imagenet_*"))
    crops = [center_crop_and_resize(load_image(path), SIDE) for path in paths]
    return [np.rint(crop).astype(np.uint8) for crop in crops]


def controls(random: np.random.Generator) -> dict[str, np.ndarray]:
    """Return maps that know nothing of the image."""
    coarse = Image.fromarray(random.random((7, 7), np.float32)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    distance = np.hypot(*(np.indices((SIDE, SIDE)) - (SIDE - 1) / 2))
    return {
        "random, 7 x 7": np.asarray(coarse),
        "random, each pixel": random.random((SIDE, SIDE)),
        "centered Gaussian": np.exp(-((distance / (SIDE / 4)) ** 2) / 2),
    }


def areas(folder: str) -> None:
    """Print the mean areas of each method and control, with their standard errors."""
    from efficientnet.explain import explain
    from efficientnet.inference import compile
    from efficientnet.keras import EfficientNetLite0

    model = EfficientNetLite0(weights="imagenet")
    found: dict[str, list[tuple[float, float]]] = {}
    random = np.random.default_rng(0)
    with compile(model, cache=False) as predictor:
        for pixels in photographs(folder):
            maps = controls(random)
            for method in METHODS:
                (explanation,) = explain(model, pixels, method, crop=1.0)
                maps[method] = explanation.heat_map
            blurred = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(BLUR)))
            grey = np.full_like(pixels, GREY)
            for name, heat_map in maps.items():
                rank = np.argsort(np.argsort(-heat_map.ravel(), kind="stable")).reshape(SIDE, SIDE, 1)
                taken = [rank < part for part in np.linspace(0, SIDE**2, STEPS + 1)]
                pair = (np.stack([np.where(first, grey, pixels) for first in taken]),
                        np.stack([np.where(first, pixels, blurred) for first in taken]))  # fmt: skip
                deleted, inserted = (
                    np.trapezoid(predictor(batch)[:, explanation.class_index], dx=1 / STEPS) for batch in pair
                )
                found.setdefault(name, []).append((deleted, inserted))
    print(f"| {len(next(iter(found.values())))} images | deletion | insertion |\n|---|--:|--:|")
    for name, pairs in found.items():
        means, errors = np.mean(pairs, axis=0), np.std(pairs, axis=0, ddof=1) / len(pairs) ** 0.5
        print(f"| {name} | {' | '.join(f'{m:.3f} ± {e:.3f}' for m, e in zip(means, errors, strict=True))} |")


def backends(folder: str) -> None:
    """Print the largest differences of maps between backends, and between a network and the same one nested."""
    with tempfile.TemporaryDirectory() as name:
        found = {}
        for backend in ("tensorflow", "jax", "torch"):
            command = [sys.executable, __file__, "maps", folder, name]
            subprocess.run(command, check=True, env={**os.environ, "KERAS_BACKEND": backend})
            found[backend] = dict(np.load(Path(name) / "maps.npz"))
    for key, expected in found["tensorflow"].items():
        others = {backend: np.abs(maps[key] - expected).max() for backend, maps in found.items()}
        nested = np.abs(expected - found["tensorflow"][key.replace("nested", "plain")]).max()
        print(key, {backend: f"{value:.1e}" for backend, value in others.items()}, f"from the plain one: {nested:.1e}")


def maps(folder: str, work: str) -> None:
    """Write the maps of this backend. The first one to run fine-tunes the networks, all others load them."""
    import keras

    from efficientnet.explain import explain
    from efficientnet.keras import EfficientNetLite0, load_model

    images = np.stack(photographs(folder)[:IMAGES_OF_BACKENDS])
    path = Path(work) / "fine-tuned.keras"
    if not path.exists():
        body = EfficientNetLite0(weights="imagenet", include_top=False, pooling="avg", include_preprocessing=True)
        model = keras.Model(body.input, keras.layers.Dense(5, "softmax")(body.output))
        model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
        model.fit(images.astype("float32"), np.arange(len(images)), epochs=3, verbose=0)
        model.save(path)
    tuned = load_model(path)
    published = EfficientNetLite0(weights="imagenet", include_preprocessing=True)
    result = {}
    for name, model in (("published", published), ("fine-tuned", tuned)):
        inputs = keras.Input((SIDE, SIDE, 3))
        outer = keras.Sequential([keras.Input((SIDE, SIDE, 3)), keras.Model(inputs, model(inputs))])
        for form, network in (("plain", model), ("nested", outer)):
            for method in METHODS:
                chosen = images if method != "occlusion" else images[:1]
                explained = explain(network, chosen, method, class_index=3, crop=1.0)
                result[f"{name} {form} {method}"] = np.stack([one.heat_map for one in explained])
    np.savez(Path(work) / "maps.npz", **result)


if __name__ == "__main__":
    {"areas": areas, "backends": backends, "maps": maps}[sys.argv[1]](*sys.argv[2:])
