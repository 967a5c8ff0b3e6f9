"""Fast predictions: a model compiled for the processor at hand.

    from efficientnet.inference import compile

    predictor = compile(model)
    predictor(pixels)  # (batch, height, width, 3), 0..255 -> (batch, classes), NumPy
    predictor.top(["cat.jpg", "dog.jpg"], k=5)
    for record in predictor.stream(paths): ...

Importing this imports no framework and no engine.
"""

from ..model_io.spec import InputSpec
from .compiling import ENGINES, PRECISIONS, compile
from .fidelity import Fidelity
from .predictor import Predictor, Record
from .sources import ModelSource

__all__ = ["ENGINES", "PRECISIONS", "Fidelity", "InputSpec", "ModelSource", "Predictor", "Record", "compile"]
