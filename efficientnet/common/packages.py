"""Optional packages: how an extra is installed, and the error where its package is missing."""

from __future__ import annotations


def install(extra: str) -> str:
    """Return the command that installs an extra of this package.

    Example:
        >>> install("onnx")
        "pip install 'efficientnet[onnx]>=2'"
    """
    return f"pip install 'efficientnet[{extra}]>=2'"


def missing(problem: str, extra: str, alternative: str = "") -> ImportError:
    """Return the error about a missing package, to be raised.

    Args:
        problem: What needs which package.
        extra: Extra of this package that installs it.
        alternative: What else to do, with the punctuation before it.

    Example:
        >>> raise missing("Folds need scikit-learn", "training", ", or train without them")
        Traceback (most recent call last):
        ...
        ImportError: Folds need scikit-learn: pip install 'efficientnet[training]>=2', or train without them.
    """
    return ImportError(f"{problem}: {install(extra)}{alternative}.")
