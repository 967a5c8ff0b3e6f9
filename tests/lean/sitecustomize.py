"""Has a process that a test starts begin sooner: Keras, TensorFlow and OpenVINO do not find what they import unasked.

Where they are installed, Keras and TensorFlow import the packages below, for parts of theirs that no test uses, which
takes as long as all else of a start. Keras on PyTorch finds a stand-in for PyTorch's compiler, of which it needs two
functions and which would take longer to import than PyTorch itself. OpenVINO would start a process for each of the many
facts that it tells its makers of an import and of a conversion. All other modules find them.

Packages that EFFICIENTNET_TEST_WITHOUT names are as if they were not installed. On each backend Keras would import
TensorFlow, to set the seed of its random numbers and to save a model.

Python imports this module as it begins, since tests/conftest.py puts its folder on the path.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

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
COMPILER = "torch._dynamo"


class NoCompiler(ModuleType):
    """Stands in for PyTorch's compiler: leaves functions uncompiled, as they are without a ``torch.compile``."""

    @staticmethod
    def disable(function=None, *_, **__):  # type: ignore[no-untyped-def]
        return function or (lambda function: function)

    @staticmethod
    def reset() -> None:
        """Forget nothing, since nothing was compiled."""


class Stand:
    """Loads the stand-in."""

    @staticmethod
    def create_module(spec: ModuleSpec) -> ModuleType:
        return NoCompiler(spec.name)

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        pass


class Unasked:
    """Finds nothing, and ends the search where such a module imports such a package."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if isinstance(sys.modules.get(COMPILER), NoCompiler):  # whoever asked has it: others find the compiler
            del sys.modules[COMPILER], sys.modules["torch"]._dynamo  # type: ignore[attr-defined]
        frame = sys._getframe(1)
        while "importlib" in frame.f_code.co_filename and frame.f_back:
            frame = frame.f_back
        importer = frame.f_globals.get("__name__", "")
        if importer.startswith(UNASKED.get(name, ("no importer",))):
            raise ModuleNotFoundError(f"{name} is not wanted here: see {__file__}", name=name)
        if name == COMPILER and importer.startswith(("keras.src.backend.", "torch._compile")):
            return ModuleSpec(name, Stand)  # type: ignore[arg-type]
        return None


class Installed(PathFinder):
    """Finds what is installed but for some packages."""

    without = frozenset(os.environ.get("EFFICIENTNET_TEST_WITHOUT", "").split())

    @classmethod
    def find_spec(cls, name, path=None, target=None):  # type: ignore[no-untyped-def]
        return None if name in cls.without else super().find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Installed
sys.meta_path.insert(0, Unasked)  # type: ignore[arg-type]
