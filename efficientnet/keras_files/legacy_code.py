"""Parts of a saved model that run Python code when legacy Keras opens it, which asks about only some of them.

Keras 3 refuses such parts itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from ..errors import CheckpointError

# Where legacy Keras' own classes and functions are.
_OWN_MODULES = ("keras", "tf_keras", "builtins", "tensorflow")

# Parts of TensorFlow whose functions reach beyond the model: files, other programs' code, the process.
_REACHING = (
    "io", "raw_ops", "py_function", "numpy_function", "py_func", "data", "summary", "saved_model", "train", "config",
    "load_library", "load_op_library", "import_graph_def", "gfile", "print", "Print", "debugging", "experimental",
)  # fmt: skip


def refuse(path: Path, config: Any, known: Collection[str]) -> None:
    """Refuse a configuration that would run code of the file's choice.

    Args:
        path: Path of the file, for the message.
        config: Configuration of the model, as parsed JSON.
        known: Names of the custom objects, which the user vouches for.

    Raises:
        CheckpointError: The model holds such a part; the message says which and how to allow it.
    """
    found = next(_code(config, known, "model"), None)
    if found is not None:
        raise CheckpointError(
            f"{path} would run Python code: {found}. Where you trust whoever made the file, open it in Python by "
            "load_model(path, safe_mode=False), of efficientnet.keras or .tfkeras; compile() takes the model."
        )


def unknown_function(config: Any, known: Collection[str]) -> str | None:
    """Return the name of a function that a Lambda layer calls and no custom object has; None if there is none.

    The file has only the name, as for Keras' own functions. So call this only after opening has failed.
    """
    for layer in _objects(config):
        if layer.get("class_name") == "Lambda" and isinstance(layer.get("config"), dict):
            function = layer["config"].get("function")
            name = function.get("config") if isinstance(function, dict) else function
            if isinstance(name, str) and name not in known:
                return name
    return None


def packages(config: Any, known: Collection[str]) -> Iterator[str]:
    """Yield the Python packages, besides Keras' and TensorFlow's, whose classes a configuration names."""
    for part in _objects(config):
        if isinstance(module := part.get("module"), str) and "class_name" in part:
            package = module.partition(".")[0]
            if package and package not in (*_OWN_MODULES, "__main__") and not _is_known(part, known):
                yield package


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield all objects in parsed JSON, each before those in it."""
    if isinstance(value, dict):
        yield value
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _objects(item)


def _code(value: Any, known: Collection[str], name: str) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _code(item, known, name)
        return
    if not isinstance(value, dict):
        return
    kind, config = value.get("class_name"), value.get("config")
    if isinstance(config, dict):
        name = str(config.get("name", name))
    if kind == "__lambda__" or any(key.endswith("_type") and item == "lambda" for key, item in value.items()):
        yield f"its layer {name!r} holds a lambda"
    module = value.get("module")
    if isinstance(module, str) and kind is not None and not _is_known(value, known):
        if module.partition(".")[0] not in _OWN_MODULES:
            yield f"its part {name!r} imports the module {module!r}, unless it is named in custom_objects"
        elif kind == "function" and (module.startswith("tensorflow") or ".utils" in module or config in _BUILTINS):
            yield f"its part {name!r} calls {module}.{config}"
    if kind == "TFOpLambda" and isinstance(config, dict):
        function = str(config.get("function"))
        if set(function.split(".")) & set(_REACHING):
            yield f"its operation {name!r} calls tf.{function}"
    for item in value.values():
        yield from _code(item, known, name)


_BUILTINS = frozenset(
    {"__import__", "breakpoint", "compile", "delattr", "eval", "exec", "getattr", "input", "open", "setattr"}
)


def _is_known(value: dict[str, Any], known: Collection[str]) -> bool:
    return any(
        isinstance(name, str) and name in known
        for name in (
            value.get("registered_name"),
            value.get("class_name"),
            value.get("config"),
        )
    )
