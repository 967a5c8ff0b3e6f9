"""EfficientNet on ``tensorflow.keras``: Keras 3, or legacy Keras 2 under ``TF_USE_LEGACY_KERAS=1``.

from efficientnet.tfkeras import EfficientNetB0, center_crop_and_resize, preprocess_input
"""

from __future__ import annotations

from . import model, preprocessing
from .family.variants import get_variant, list_variants
from .images.imagenet import decode_predictions
from .images.loading import load_image
from .keras_files import opening
from .keras_graph.marks import model_preprocessing
from .model_io.inputs import model_inputs
from .network.backends import import_tensorflow_keras
from .network.binding import bind
from .network.context import Framework
from .preprocessing import center_crop_and_resize
from .weights import list_weights, weights_info

__all__ = [
    "EfficientNet",
    "EfficientNetB0",
    "EfficientNetB1",
    "EfficientNetB2",
    "EfficientNetB3",
    "EfficientNetB4",
    "EfficientNetB5",
    "EfficientNetB6",
    "EfficientNetB7",
    "EfficientNetB8",
    "EfficientNetCondConvB0x4",
    "EfficientNetCondConvB0x8",
    "EfficientNetCondConvB0x8Depth",
    "EfficientNetEdgeTPUL",
    "EfficientNetEdgeTPUM",
    "EfficientNetEdgeTPUS",
    "EfficientNetL2",
    "EfficientNetLite0",
    "EfficientNetLite1",
    "EfficientNetLite2",
    "EfficientNetLite3",
    "EfficientNetLite4",
    "EfficientNetV2B0",
    "EfficientNetV2B1",
    "EfficientNetV2B2",
    "EfficientNetV2B3",
    "EfficientNetV2L",
    "EfficientNetV2M",
    "EfficientNetV2S",
    "EfficientNetV2XL",
    "center_crop_and_resize",
    "create",
    "decode_predictions",
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

_keras = import_tensorflow_keras()
FRAMEWORK = Framework(_keras.backend, _keras.layers, _keras.models, _keras.utils)

create = bind(model.create, FRAMEWORK)
EfficientNet = bind(model.EfficientNet, FRAMEWORK)
EfficientNetB0 = bind(model.EfficientNetB0, FRAMEWORK)
EfficientNetB1 = bind(model.EfficientNetB1, FRAMEWORK)
EfficientNetB2 = bind(model.EfficientNetB2, FRAMEWORK)
EfficientNetB3 = bind(model.EfficientNetB3, FRAMEWORK)
EfficientNetB4 = bind(model.EfficientNetB4, FRAMEWORK)
EfficientNetB5 = bind(model.EfficientNetB5, FRAMEWORK)
EfficientNetB6 = bind(model.EfficientNetB6, FRAMEWORK)
EfficientNetB7 = bind(model.EfficientNetB7, FRAMEWORK)
EfficientNetB8 = bind(model.EfficientNetB8, FRAMEWORK)
EfficientNetL2 = bind(model.EfficientNetL2, FRAMEWORK)
EfficientNetLite0 = bind(model.EfficientNetLite0, FRAMEWORK)
EfficientNetLite1 = bind(model.EfficientNetLite1, FRAMEWORK)
EfficientNetLite2 = bind(model.EfficientNetLite2, FRAMEWORK)
EfficientNetLite3 = bind(model.EfficientNetLite3, FRAMEWORK)
EfficientNetLite4 = bind(model.EfficientNetLite4, FRAMEWORK)
EfficientNetEdgeTPUS = bind(model.EfficientNetEdgeTPUS, FRAMEWORK)
EfficientNetEdgeTPUM = bind(model.EfficientNetEdgeTPUM, FRAMEWORK)
EfficientNetEdgeTPUL = bind(model.EfficientNetEdgeTPUL, FRAMEWORK)
EfficientNetCondConvB0x4 = bind(model.EfficientNetCondConvB0x4, FRAMEWORK)
EfficientNetCondConvB0x8 = bind(model.EfficientNetCondConvB0x8, FRAMEWORK)
EfficientNetCondConvB0x8Depth = bind(model.EfficientNetCondConvB0x8Depth, FRAMEWORK)
EfficientNetV2B0 = bind(model.EfficientNetV2B0, FRAMEWORK)
EfficientNetV2B1 = bind(model.EfficientNetV2B1, FRAMEWORK)
EfficientNetV2B2 = bind(model.EfficientNetV2B2, FRAMEWORK)
EfficientNetV2B3 = bind(model.EfficientNetV2B3, FRAMEWORK)
EfficientNetV2S = bind(model.EfficientNetV2S, FRAMEWORK)
EfficientNetV2M = bind(model.EfficientNetV2M, FRAMEWORK)
EfficientNetV2L = bind(model.EfficientNetV2L, FRAMEWORK)
EfficientNetV2XL = bind(model.EfficientNetV2XL, FRAMEWORK)

load_model = bind(opening.load_model, FRAMEWORK)
preprocess_input = bind(preprocessing.preprocess_input, FRAMEWORK)

# So that Keras' own load_model, too, knows what models saved by the older package name.
_keras.utils.get_custom_objects().update(opening.custom_objects(_keras.layers))
