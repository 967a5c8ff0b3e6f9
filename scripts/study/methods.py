"""Ways to fine-tune Lite0 on a task. Each starts from the same weights and gets the same images at the same size.

Each returns a function from (images, SIZE, SIZE, 3) pixels to (images, outputs).
"""

from __future__ import annotations

import dataclasses
import functools
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from bench.contenders import import_timm
from numpy.typing import NDArray

from .tasks import SIZE, Part, Task

Outputs = NDArray[np.floating[Any]]
Predict = Callable[[NDArray[np.uint8]], Outputs]
_BATCH = 32


def _body() -> Any:
    """Build Lite0's published network on raw pixels, up to the mean of its last features."""
    from efficientnet.keras import EfficientNetLite0

    return EfficientNetLite0(
        weights="imagenet", include_top=False, pooling="avg", input_shape=(SIZE, SIZE, 3), include_preprocessing=True
    )


def _predict(model: Any, pixels: NDArray[np.uint8]) -> Outputs:
    parts = [pixels[start : start + 64].astype(np.float32) for start in range(0, len(pixels), 64)]
    return np.concatenate([np.asarray(model.predict_on_batch(part)) for part in parts])


def this_package(task: Task, seed: int, **settings: Any) -> Predict:
    """Run ``efficientnet train`` without settings, or with some; return the model that it saves, of its best epoch."""
    import keras

    from efficientnet import get_variant
    from efficientnet.datasets.data import Data
    from efficientnet.datasets.targets import Classes, Labels
    from efficientnet.training import Task as Training
    from efficientnet.training import train
    from efficientnet.training.recipes import FINETUNE

    both = np.concatenate([task.training.targets, task.validation.targets])
    targets = Labels(task.names, both == 1) if task.has_labels else Classes(task.names, both)
    rows, count = np.arange(len(both)), len(task.training.targets)
    pixels = np.concatenate([task.training.pixels, task.validation.pixels])
    data = Data(task.name, pixels, targets, rows[:count], rows[count:], crop=1.0)
    # Digits are not mirrored, as in the command.
    recipe = dataclasses.replace(FINETUNE, flip=task.mirrors, **settings)
    with tempfile.TemporaryDirectory() as folder:
        train(Training(get_variant("lite0"), "imagenet", data, recipe, SIZE, seed), Path(folder))
        model = keras.models.load_model(Path(folder, "model.keras"), compile=False)
    return functools.partial(_predict, model)


def keras_guide(task: Task, seed: int) -> Predict:
    """Follow keras.io's guide to fine-tuning an EfficientNet: 25 epochs of a head, then 4 of the last 20 layers."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    body = _body()
    body.trainable = False
    mirror = [layers.RandomFlip()] if task.mirrors else []
    augmentation = [
        layers.RandomRotation(0.15), layers.RandomTranslation(0.1, 0.1), *mirror, layers.RandomContrast(0.1)
    ]  # fmt: skip
    activation, loss = (
        ("sigmoid", "binary_crossentropy") if task.has_labels else ("softmax", "categorical_crossentropy")
    )
    head = [
        layers.BatchNormalization(),
        layers.Dropout(0.2),
        layers.Dense(len(task.names), activation=activation),
    ]
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), *augmentation, body, *head])
    x, y = (array.astype(np.float32) for array in (task.training.pixels, _encoded(task, task.training)))
    model.compile(keras.optimizers.Adam(1e-2), loss)
    model.fit(x, y, batch_size=64, epochs=25, verbose=0)
    for layer in body.layers[-20:]:
        layer.trainable = not isinstance(layer, layers.BatchNormalization)
    model.compile(keras.optimizers.Adam(1e-5), loss)
    model.fit(x, y, batch_size=64, epochs=4, verbose=0)
    return functools.partial(_predict, model)


def timm_script(task: Task, seed: int) -> Predict:
    """Train in timm's manner: AdamW, cosine, RandAugment, random erasing, label smoothing, moving average."""
    import torch
    from PIL import Image

    timm = import_timm()
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = _timm_lite0(timm, len(task.names))
    transform = timm.data.create_transform(
        SIZE, is_training=True, scale=(0.5, 1.0), hflip=0.5 if task.mirrors else 0.0, color_jitter=None,
        auto_augment="rand-m7-mstd0.5", re_prob=0.25, mean=(0.5,) * 3, std=(0.5,) * 3,
    )  # fmt: skip
    batch = max(8, min(_BATCH, len(task.training.targets) // 10))
    steps = max(1, len(task.training.targets) // batch)
    epochs = math.ceil(max(30, 600 / steps))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, epochs * steps, pct_start=0.1)
    average = timm.utils.ModelEmaV3(model, decay=0.99, use_warmup=True)
    targets = torch.from_numpy(_encoded(task, task.training))
    loss = torch.nn.BCEWithLogitsLoss() if task.has_labels else torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    for _ in range(epochs):
        for rows in _shuffled(len(targets), batch, rng):
            images = torch.stack([transform(Image.fromarray(task.training.pixels[row])) for row in rows])
            optimizer.zero_grad()
            loss(model(images.to(memory_format=torch.channels_last)), targets[rows]).backward()
            optimizer.step()
            schedule.step()
            average.update(model)
    return functools.partial(_torch_outputs, average.module.eval())


def _timm_lite0(timm: Any, outputs: int) -> Any:
    """Build timm's Lite0 with the same weights, and a new classifier."""
    import torch

    from efficientnet.export.convert import convert_weights
    from efficientnet.keras import EfficientNetLite0

    with tempfile.TemporaryDirectory() as folder:
        EfficientNetLite0(weights="imagenet").save(Path(folder, "lite0.keras"))
        convert_weights(Path(folder, "lite0.keras"), Path(folder, "lite0.pth"))
        weights = torch.load(Path(folder, "lite0.pth"))
    model = timm.create_model("tf_efficientnet_lite0")
    model.load_state_dict(weights)
    model.reset_classifier(outputs)
    return model.to(memory_format=torch.channels_last)


def _torch_outputs(model: Any, pixels: NDArray[np.uint8]) -> Outputs:
    import torch

    with torch.inference_mode():
        parts = [
            torch.from_numpy(pixels[start : start + 64]).permute(0, 3, 1, 2) for start in range(0, len(pixels), 64)
        ]
        return torch.cat([model(part.float() / 127.5 - 1) for part in parts]).numpy()


def logistic_regression(task: Task, seed: int) -> Predict:
    """Scikit-learn's logistic regression on the frozen network's features, one per label where there are several."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    from efficientnet.inference import compile

    predictor = compile(_body(), cache=False)

    def features(pixels: NDArray[np.uint8]) -> Outputs:
        parts = [predictor.predict(pixels[i : i + 64].astype(np.float32)) for i in range(0, len(pixels), 64)]
        return np.concatenate(parts)

    regression = LogisticRegression(max_iter=1000, random_state=seed)
    classifier = OneVsRestClassifier(regression) if task.has_labels else regression
    classifier.fit(features(task.training.pixels), task.training.targets)
    return lambda pixels: np.asarray(classifier.predict_proba(features(pixels)))


def _encoded(task: Task, part: Part) -> NDArray[np.float32]:
    targets = part.targets if task.has_labels else np.eye(len(task.names))[part.targets]
    return targets.astype(np.float32)


def _shuffled(count: int, batch: int, rng: np.random.Generator) -> Iterator[NDArray[Any]]:
    """Yield the rows of an epoch's batches; the last, smaller one is left out."""
    order = rng.permutation(count)
    for start in range(0, count - batch + 1, batch):
        yield order[start : start + batch]


METHODS: Mapping[str, Callable[[Task, int], Predict]] = {
    "this package": this_package,
    "keras.io's guide": keras_guide,
    "timm's manner": timm_script,
    "logistic regression": logistic_regression,
}
