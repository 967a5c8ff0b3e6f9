"""Lets the Python reference show the functions that ``bind`` makes, with the text and arguments of the original.

mkdocstrings reads source code without running it: for it, ``load_model = bind(opening.load_model, FRAMEWORK)`` in
``efficientnet.keras`` is a value and not a function, and what is bound in a loop is not there at all. This extension of
Griffe, which reads the code for mkdocstrings, asks the original itself. The original imports no framework.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Callable
from typing import Any

from griffe import (
    Attribute,
    Docstring,
    ExprCall,
    Extension,
    Function,
    Module,
    Object,
    Parameter,
    ParameterKind,
    Parameters,
)

from efficientnet import model

FILLED_IN = ("backend", "layers", "models", "utils")  # by bind


class BoundFunctions(Extension):
    """Replaces each value ``name = bind(original, …)`` by a function, and shows each ``Example:`` as a program."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Write the docstring as Griffe and Markdown take it, once the object has been read."""
        if obj.docstring is not None:
            obj.docstring.value = _as_markdown(obj.docstring.value)

    def on_package(self, *, pkg: Module, **kwargs: Any) -> None:
        """Do so in the modules for Keras and tf_keras, once the package has been read."""
        if pkg.name != "efficientnet":
            return
        for module in (pkg["keras"], pkg["tfkeras"]):
            for name in model.__all__:
                module.set_member(name, _function(name, getattr(model, name), module))
            for name, member in list(module.members.items()):
                call = member.value if isinstance(member, Attribute) else None
                if isinstance(call, ExprCall) and str(call.function) == "bind":
                    original = pkgutil.resolve_name(call.arguments[0].canonical_path)  # type: ignore[union-attr]
                    module.set_member(name, _function(name, original, module))
        for module in pkg.modules.values():
            if not module.is_alias:
                module.docstring = None  # the page introduces the modules itself


def _function(name: str, original: Callable[..., Any], module: Module) -> Function:
    signature = inspect.signature(original)
    parameters = Parameters(
        *(
            Parameter(
                parameter.name,
                kind=ParameterKind(parameter.kind.description),
                annotation=None if parameter.annotation is parameter.empty else parameter.annotation,
                default=None if parameter.default is parameter.empty else repr(parameter.default),
            )
            for parameter in signature.parameters.values()
            if parameter.name not in FILLED_IN
        )
    )
    function = Function(name, parameters=parameters, returns=signature.return_annotation, parent=module)
    text = re.sub(rf"^ *{', '.join(FILLED_IN)}:.*\n", "", inspect.getdoc(original) or "", flags=re.MULTILINE)
    style = module.docstring
    function.docstring = Docstring(
        _as_markdown(text),
        parent=function,
        parser=style and style.parser,
        parser_options=style and style.parser_options,
    )
    return function


def _as_markdown(text: str) -> str:
    """Return the text with Griffe's name for the section of examples, and without roles such as ``:func:``."""
    text = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
    return re.sub(r":(?:func|meth|class|data|mod):`[.~]?([\w.]+)`", r"`\1`", text)
