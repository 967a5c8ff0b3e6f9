"""Has a process that a test starts begin sooner: Keras, TensorFlow and OpenVINO do not find what they import unasked.

Where they are installed, Keras and TensorFlow import the packages below, for parts of theirs that no test uses, which
takes as long as all else of a start. OpenVINO would start a process for each of the many facts that it tells its makers
of an import and of a conversion. All other modules find them. Python imports this module as it begins, since
tests/conftest.py puts its folder on the path.
"""

from __future__ import annotations

import sys

UNASKED = {  # packages, and the importers that do not find them
    "IPython": ("keras.src.saving.",),
    "jax": ("keras.src.callbacks.", "tensorflow.lite."),
    "matplotlib": ("keras.src.visualization.",),
    "openvino_telemetry": ("openvino.tools.ovc.",),
    "pandas": ("keras.src.trainers.", "tf_keras.src.engine."),
    "requests": ("keras.src.callbacks.", "tf_keras.src.callbacks"),
    "scipy": ("tensorflow.python.keras.", "tf_keras.src.engine.", "tf_keras.src.preprocessing."),
    "sklearn": ("keras.src.wrappers.",),
}


class Unasked:
    """Finds nothing, and ends the search where such a module imports such a package."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        frame = sys._getframe(1)
        while "importlib" in frame.f_code.co_filename and frame.f_back:
            frame = frame.f_back
        if frame.f_globals.get("__name__", "").startswith(UNASKED.get(name, ("no importer",))):
            raise ModuleNotFoundError(f"{name} is not wanted here: see {__file__}", name=name)


sys.meta_path.insert(0, Unasked)  # type: ignore[arg-type]
