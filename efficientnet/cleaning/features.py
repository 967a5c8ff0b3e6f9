"""What a pretrained network sees in images: means of its feature maps, computed by the fastest engine."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..common.text import about, notify
from ..datasets.data import Files
from ..family.features import feature_info
from ..family.scaling import AnyVariant

if TYPE_CHECKING:
    from ..datasets.data import Data

_LEVELS = 3  # the coarsest feature maps, besides the network's output: small details are in the finer ones


def compute_features(
    data: Data, size: int, model: AnyVariant = "lite0", weights: str | None = "imagenet"
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Compute the features of all images for training and validation.

    Args:
        data: Labelled images, of ``size`` or whole.
        size: Side of the network's input, pixels.
        model: Variant of the network.
        weights: Published set or file, as in ``efficientnet.keras.create``; None for random ones.

    Returns:
        Indices of the images, and (images, features) numbers. A file that can no longer be read is reported and left
        out.

    Raises:
        ValueError, OSError: There is no such network, it does not fit the images, or none of them can be read.

    Example:
        >>> from dataclasses import replace
        >>> from efficientnet import get_variant
        >>> from efficientnet.datasets import load
        >>> small = replace(get_variant("lite0"), name="small", width=0.25, depth=0.25)
        >>> rows, features = compute_features(load("flowers", size=32), 32, small, weights=None)
        >>> len(rows), features.shape
        (12, (12, 1408))
    """
    from ..inference import compile

    rows = np.sort(np.concatenate([data.training, data.validation]))
    crop = data.crop if isinstance(data.pixels, Files) else 1.0
    read, features = [], []
    with compile(feature_network(model, weights, size, data.channels), crop=crop) as predictor:
        records = predictor.stream(functools.partial(data.pixels.__getitem__, row) for row in rows)
        progress = tqdm(records, total=len(rows), unit="image", leave=False, disable=None)
        for row, record in zip(rows, progress, strict=True):
            if record.error is not None:
                notify(about(data.entries[row].path if data.entries else f"image {row}", record.error))
            else:
                read.append(row)
                features.append(predictor.spec.vector(record.outputs))
    if not read:
        raise ValueError(f"None of the {len(rows)} images of {data.name} can be read.")
    return np.array(read), np.stack(features)


def feature_network(model: AnyVariant, weights: str | None, size: int, channels: int = 3) -> Any:
    """Build the network that returns the mean of each of a variant's last feature maps, one after the other.

    Args:
        model, weights: As in :func:`compute_features`.
        size: Side of its input, pixels.
        channels: Channels of its input: raw pixels 0..255.
    """
    from .. import keras as doors
    from ..network.backends import import_keras

    layers = import_keras().layers
    network = doors.create(
        model, weights=weights, include_top=False, input_shape=(size, size, channels), include_preprocessing=True
    )
    maps = [network.get_layer(feature.layer).output for feature in feature_info(model)[-_LEVELS:]]
    means = [layers.GlobalAveragePooling2D()(each) for each in (*maps, network.output)]
    return import_keras().Model(network.input, layers.Concatenate()(means), name=f"{network.name}_features")
