"""EfficientNet on ``keras``: Keras 3 with TensorFlow, JAX, PyTorch or OpenVINO underneath.

from efficientnet.keras import EfficientNetB0, center_crop_and_resize, preprocess_input
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import model, preprocessing
from .family.features import feature_info
from .family.variants import get_variant, list_variants
from .images.imagenet import decode_predictions
from .images.loading import load_image
from .keras_files import opening
from .keras_graph.marks import model_preprocessing
from .model_io.inputs import model_inputs
from .network.backends import import_keras
from .network.binding import bind
from .network.context import Framework
from .preprocessing import center_crop_and_resize
from .weights import list_weights, weights_info

if TYPE_CHECKING:
    from .model import *  # noqa: F403  the same names with the same arguments

__all__ = [
    "center_crop_and_resize",
    "decode_predictions",
    "feature_info",
    "get_variant",
    "list_variants",
    "list_weights",
    "load_image",
    "load_model",
    "model_inputs",
    "model_preprocessing",
    "preprocess_input",
    "weights_info",
]
__all__ += model.__all__

_keras = import_keras()
FRAMEWORK = Framework(_keras.backend, _keras.layers, _keras.models, _keras.utils)

globals().update({name: bind(getattr(model, name), FRAMEWORK) for name in model.__all__})
load_model = bind(opening.load_model, FRAMEWORK)
preprocess_input = bind(preprocessing.preprocess_input, FRAMEWORK)

# So that Keras' own load_model, too, knows what models saved by the older package name.
_keras.utils.get_custom_objects().update(opening.custom_objects(_keras.layers))
