"""Every exception of this package. Each is also of the built-in kind that its callers expect.

    EfficientNetError
    ├── CheckpointError (ValueError)
    ├── DivergedError (ValueError)
    ├── DownloadError (OSError)
    ├── Interrupted
    ├── QueueFullError
    ├── UnreadableImageError (OSError)
    └── UnsupportedLayerError (ValueError)

Wrong arguments are plain ValueError, TypeError and FileNotFoundError; a missing package is an ImportError.
"""

from __future__ import annotations


class EfficientNetError(Exception):
    """The base of all exceptions that are this package's own.

    Example:
        >>> from efficientnet.keras import load_image
        >>> try:
        ...     load_image(b"no image")
        ... except EfficientNetError as error:
        ...     print(type(error).__name__)
        UnreadableImageError
    """


class CheckpointError(EfficientNetError, ValueError):
    """A weight file is damaged, hostile, or not of a kind that can be read.

    Example:
        >>> from pathlib import Path
        >>> from efficientnet.keras import create
        >>> _ = Path("broken.pth").write_bytes(b"no weights")
        >>> try:
        ...     create("b0", weights="broken.pth")
        ... except CheckpointError:
        ...     print("download it again")
        download it again
    """


class DivergedError(EfficientNetError, ValueError):
    """The loss or the weights of a training are no longer finite.

    Example:
        >>> try:
        ...     raise DivergedError("The loss is NaN.")
        ... except ValueError as error:
        ...     print(error)
        The loss is NaN.
    """


class DownloadError(EfficientNetError, OSError):
    """A file could not be brought into the cache folder; the message says why and what to do.

    Example:
        >>> try:
        ...     raise DownloadError("The server does not respond.")
        ... except OSError as error:
        ...     print(error)
        The server does not respond.
    """


class Interrupted(EfficientNetError):
    """A signal has ended a training, after a checkpoint was written.

    Attributes:
        number: The signal's number.

    Example:
        >>> Interrupted("SIGTERM came.", number=15).number
        15
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class QueueFullError(EfficientNetError):
    """As many images wait in a server as its limit allows.

    Example:
        >>> raise QueueFullError("8 images wait already.")
        Traceback (most recent call last):
        ...
        efficientnet.errors.QueueFullError: 8 images wait already.
    """


class UnreadableImageError(EfficientNetError, OSError):
    """What should be an image is something else, damaged, too large or out of reach.

    Example:
        >>> from efficientnet.keras import load_image
        >>> try:
        ...     load_image(b"no image")
        ... except UnreadableImageError:
        ...     print("skipped")
        skipped
    """


class UnsupportedLayerError(EfficientNetError, ValueError):
    """A layer cannot be written in ONNX.

    Attributes:
        problem: Which layer, and why.

    Example:
        >>> UnsupportedLayerError("lambda is a Lambda layer").problem
        'lambda is a Lambda layer'
    """

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem}; export the model without it, or as saved_model, or use engine='keras'.")
        self.problem = problem
