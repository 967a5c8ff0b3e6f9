"""A classifier with its logits divided by a temperature: without a new layer, since its last one can be divided."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..checkpoints.facts import Facts
from ..common import arguments
from ..common.files import replacing
from ..images.imagenet import class_names as imagenet_class_names
from ..images.pixel_scaling import Scaling
from ..keras_files import metadata
from ..keras_graph.walk import LayerCall, functional, is_idle, keras_layer, keras_operation, run
from ..model_io.outputs import activation_after, have_names
from .temperature import TemperatureScaling

if TYPE_CHECKING:
    from ..inference import ModelSource

SUFFIX = ".keras"
_ACTIVATIONS = ("softmax", "sigmoid")


class _Head(NamedTuple):
    """A Dense layer, and the activation that its outputs have gone through."""

    dense: Any
    activation: str


def apply_temperature(model: Any, temperature: float, as_logits: bool = False) -> Any:
    """Divide a classifier's logits by a temperature, in place: the kernel and the bias of its last layer.

    Args:
        model: Keras model that ends in a Dense layer with softmax or sigmoid.
        temperature: Temperature, more than 0; above 1 it lowers the confidence.
        as_logits: Whether the Dense layer may also give the logits themselves.

    Returns:
        The model.

    Raises:
        ValueError: The model ends otherwise, or the temperature is no such number.

    Example:
        >>> import numpy as np
        >>> from efficientnet.keras import EfficientNet
        >>> model = EfficientNet(0.25, 0.25, 32, weights=None, classes=3)
        >>> images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
        >>> before = model.predict(images, verbose=0)
        >>> after = apply_temperature(model, 2.0).predict(images, verbose=0)
        >>> roots = np.sqrt(before)
        >>> bool(np.allclose(after, roots / roots.sum(axis=1, keepdims=True), atol=1e-6))
        True
    """
    temperature = arguments.factor("temperature", temperature)
    dense = find_classifier(model, arguments.flag("as_logits", as_logits))
    dense.set_weights([weights / temperature for weights in dense.get_weights()])
    return model


def save_calibrated(
    source: ModelSource,
    scaling: TemperatureScaling,
    path: str | os.PathLike[str],
    as_logits: bool = False,
    preprocessing: str | Scaling | None = None,
) -> None:
    """Save a classifier with its logits divided by a temperature, and with all facts of its file.

    The thresholds of labels are moved, so that the predicted labels stay the same. The loaded model of ``source`` is
    changed, too.

    Args:
        source: Model.
        scaling: Temperature, as :func:`fit_temperature` finds it.
        path: Path of the ``.keras`` file to write.
        as_logits: As in :func:`apply_temperature`.
        preprocessing: Scaling of pixels that the model expects, if its file does not record it.

    Raises:
        ValueError: The model does not end in a Dense layer with softmax or sigmoid.
        OSError: The file cannot be written.

    Example:
        >>> from efficientnet.inference import ModelSource
        >>> from efficientnet.keras import EfficientNet
        >>> model = EfficientNet(0.25, 0.25, 32, weights=None, classes=2)
        >>> scaling = fit_temperature([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9]], [0, 1, 1])
        >>> save_calibrated(ModelSource.of_model(model, class_names=["cat", "dog"]), scaling, "calibrated.keras")
        >>> ModelSource.of_file("calibrated.keras").load()[1].classes
        (('0', 'cat'), ('1', 'dog'))
    """
    path = check_target(path, source)
    model, spec = source.load()
    facts, recipe = Facts(), None
    if source.file is not None:
        facts = Facts(preprocessing=metadata.read_preprocessing(source.file), crop=metadata.read_crop(source.file))
        recipe = metadata.read_recipe(source.file)
    are_usual = not have_names(spec.classes) or spec.classes == imagenet_class_names()
    facts = dataclasses.replace(
        facts,
        class_names=None if are_usual else tuple(name for _, name in spec.classes),
        preprocessing=preprocessing or facts.preprocessing,
        targets=spec.targets or None,
        thresholds=tuple(map(scaling.move, spec.thresholds)) or None,
    )
    apply_temperature(model, scaling.temperature, as_logits)
    with replacing(path, model.count_params() * 4 + (1 << 20)) as part:
        model.save(part)
        metadata.write_facts(part, facts, recipe)


def check_target(path: str | os.PathLike[str], source: ModelSource) -> Path:
    """Check the name of a file for :func:`save_calibrated`.

    Raises:
        ValueError: The name does not end in ``.keras``, or is that of the model itself.
    """
    target = Path(arguments.path("path", path, "the .keras file to write"))
    if target.suffix != SUFFIX:
        raise ValueError(f"{target}: a calibrated model is saved under a name that ends in {SUFFIX}.")
    if source.file is not None and target.resolve() == source.file.resolve():
        raise ValueError(f"{target} is the model to calibrate: give its calibrated copy another name.")
    return target


def find_classifier(model: Any, as_logits: bool) -> Any:
    """Return the Dense layer whose outputs, by a softmax or sigmoid, are those of the model.

    Args:
        model: Keras model.
        as_logits: Whether there may be no softmax or sigmoid.

    Raises:
        ValueError: The model ends otherwise.
    """
    calls: dict[int, int] = {}  # number of calls of each Dense layer

    def follow(call: LayerCall, heads: list[_Head | None]) -> list[_Head | None]:
        head = heads[0] if len(heads) == 1 else None
        if keras_layer(call.layer) == "Dense":
            calls[id(call.layer)] = calls.get(id(call.layer), 0) + 1
            head = _Head(call.layer, activation_after(call, [""]))
        elif head is not None:
            head = _after(call, head)
        return [head] * len(call.outputs)

    found = run(model, [None] * len(functional(model).inputs), follow)
    head = found[0] if len(found) == 1 else None
    accepted = (*_ACTIVATIONS, "linear") if as_logits else _ACTIVATIONS
    if (
        head is None
        or head.activation not in accepted
        or calls[id(head.dense)] > 1
        or len(head.dense.get_weights()) != 1 + head.dense.use_bias  # LoRA and int8 have others
    ):
        raise ValueError(
            f"{model.name} cannot be calibrated by a temperature: that divides the kernel and the bias of a last layer "
            "Dense with softmax or sigmoid (of logits with --softmax, as_logits=True), and this model ends otherwise. "
            "Divide its logits by the temperature where it is made."
        )
    return head.dense


def _after(call: LayerCall, head: _Head) -> _Head | None:
    """Return the head behind a call that keeps its numbers, or applies the activation that they lack; else None."""
    operation = (keras_operation(call.layer) or "").rsplit(".", 1)[-1].lower()
    is_activation = keras_layer(call.layer) in ("Activation", "Softmax") or operation in _ACTIVATIONS
    if not (is_activation or is_idle(call) or operation in ("cast", "identity")):
        return None
    applied = activation_after(call, [""])  # unchanged where the numbers are
    if not applied:
        return head
    return head._replace(activation=applied) if head.activation == "linear" else None
