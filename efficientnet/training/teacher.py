"""Distillation: a network learns what a trained model, its teacher, predicts (arXiv 1503.02531)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..common import arguments
from ..common.hashes import digest_of
from ..datasets.targets import Targets
from ..images.resizing import center_crop_and_resize
from ..inference import ModelSource, compile
from ..keras_files.opening import locate

if TYPE_CHECKING:
    from ..inference import Predictor

# What a model predicts -> the kind of targets that can be learned from it.
_KINDS = {"probabilities": "classes", "labels": "labels"}


class Teacher:
    """A trained model that predicts the targets of a data set.

    Args:
        predictor: Model, compiled by ``efficientnet.inference.compile``.
        targets: Targets of the data, whose classes or labels are the model's, in any order.
        channels: Channels of the images.
        fingerprint: Text that identifies the model.

    Raises:
        ValueError: The model predicts something else.
    """

    def __init__(self, predictor: Predictor, targets: Targets, channels: int, fingerprint: str) -> None:
        spec, self.fingerprint = predictor.spec, fingerprint
        spec.check_vector()
        self._side = spec.check_images()
        names = [name for _, name in spec.classes]
        if _KINDS.get(spec.kind) != targets.kind:
            raise ValueError(
                f"The teacher {spec.name} ends in {spec.activation} with {spec.outputs} outputs, and the data has "
                f"targets of the kind {targets.kind!r}: expected a model of the same kind, of classes or labels."
            )
        if sorted(names) != sorted(targets.names):
            raise ValueError(
                f"The teacher {spec.name} predicts {_some(names)}, the data has {_some(targets.names)}: expected a "
                f"teacher of the same {targets.what}."
            )
        if spec.channels != channels:
            raise ValueError(
                f"The teacher {spec.name} takes images of {spec.channels} channels, the data's have {channels}: train "
                f"with --in-channels {spec.channels}, or take another teacher."
            )
        self._predictor = predictor
        self._order = [names.index(name) for name in targets.names]

    @classmethod
    def of_file(cls, path: str | os.PathLike[str], targets: Targets, channels: int) -> Teacher:
        """Open a saved or exported model, or a folder that ``efficientnet train`` wrote.

        Raises:
            FileNotFoundError: There is no such model.
            ValueError: It predicts something else.
        """
        file = locate(Path(arguments.path("teacher", path, "a saved model, or the folder of a training")))
        source = ModelSource.of_file(file)
        fingerprint = digest_of(file) if source.exported is None else source.exported.content()
        return cls(compile(source), targets, channels, fingerprint)

    def __call__(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities, (images, outputs), for square images of any size, raw pixels 0..255."""
        if pixels.shape[1] != self._side:
            resized = [center_crop_and_resize(image, self._side, crop_padding=0) for image in pixels]
            pixels = np.stack(resized).astype(np.float32)
        # Not ``predict``, which refuses nearly black images: these are known to be 0..255.
        prepared = pixels if self._predictor.spec.channels_last else pixels.transpose(0, 3, 1, 2)
        found: NDArray[np.float32] = np.asarray(self._predictor.predict_prepared(prepared), np.float32)[:, self._order]
        return found


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f", … ({len(names)} in all)" if len(names) > 5 else "")
