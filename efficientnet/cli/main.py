"""The command ``efficientnet``; each subcommand has a module of its name."""

from __future__ import annotations

import _thread
import argparse
import contextlib
import difflib
import errno
import importlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

from .. import __version__
from ..common.text import lines, notify, plain, print_what_can_be
from ..network import backends
from . import pixel_options
from .exit_statuses import INTERRUPTED, SOME_FAILED, USAGE

# What the loader of libraries, C++ and Python say where a limit is reached.
_LIMITS = ("failed to map segment", "cannot allocate memory", "bad_alloc", "can't start new thread")
_SIZES = ("image_size", "size", "resolution", "batch_size")  # options on which memory depends most

_COMMANDS = {
    "predict": "classify images",
    "evaluate": "measure a model on labelled images",
    "explain": "show where a model sees the evidence for a class",
    "models": "list the variants and their weights",
    "profile": "count a model's parameters, multiply-adds and activations",
    "convert": "write a file of weights in another format",
    "inspect": "report what a file of weights or an exported model holds",
    "export": "write a model for another runtime",
    "design": "scale a network to a budget, as the paper does",
    "train": "train a network on your images",
    "clean": "find wrong labels, copies and outliers in your images",
    "embed": "describe images by vectors, to find similar ones",
    "similar": "find the images that are most similar to others",
    "serve": "serve models by HTTP, with a page to try them",
}


def command() -> NoReturn:
    """Run the command as the whole process; Ctrl-C ends it without waiting for what TensorFlow has loaded."""
    sys.unraisablehook = _interrupt_again
    # OpenVINO's tools for conversion, which it imports unless this fails, take a tenth of the time to a prediction.
    sys.modules["openvino.tools.ovc"] = None  # type: ignore[assignment]
    # TensorFlow takes oneDNN's kernels by itself only where a processor has VNNI; others train faster with them, too.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    backends.is_command()
    signal.signal(signal.SIGINT, _Interrupt())
    status = main()
    if status == INTERRUPTED:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(status)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # all is done: from here on it ends the process without a word
    sys.exit(status)


class _Interrupt:
    """The handler of Ctrl-C: it raises KeyboardInterrupt, and notes that it came: imports may lose the exception."""

    came = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        signal.default_int_handler(number, frame)


def _interrupt_again(lost: sys.UnraisableHookArgs) -> None:
    """Repeat a Ctrl-C that came during a callback, such as those of imports, which nothing can be raised out of."""
    if lost.exc_type is KeyboardInterrupt:
        threading.Timer(0.01, _thread.interrupt_main).start()  # once the callback is over
    else:
        sys.__unraisablehook__(lost)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, 1 where an image failed, 2 for a wrong call, 130 after Ctrl-C."""
    try:
        argv = sys.argv[1:] if argv is None else argv
        return run(_parser(argv), argv)
    except (KeyboardInterrupt, ImportError) as error:  # while the subcommand's module is imported
        if not _is_interrupt(error):
            raise
        return INTERRUPTED


def run(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    """Run the function of a command line, report errors on stderr, and return the exit status.

    Whatever is raised becomes a line there. With ``EFFICIENTNET_TRACEBACK`` in the environment what no user can have
    caused is raised further, for a report.
    """
    _open_streams()
    arguments = parser.parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # little of what TensorFlow logs matters to users
    try:
        with pixel_options.limited(getattr(arguments, "max_pixels", None)):
            status = int(arguments.run(arguments))
            sys.stdout.flush()
            return status
    except BrokenPipeError:
        _drop_output()  # the reader, `head` perhaps, has had enough
        return SOME_FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if _is_interrupt(error):
            return INTERRUPTED
        is_expected = isinstance(error, (ValueError, ImportError, OSError))
        if not is_expected and os.environ.get("EFFICIENTNET_TRACEBACK"):
            raise
        message = str(error) if is_expected else f"{type(error).__name__}: {error}"
        if isinstance(error, OSError) and error.strerror and error.filename is not None:
            message = f"{plain(error.filename)}: {error.strerror}"  # without Python's number of it
        if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
            message = f"{error.strerror}, for stdout or for a temporary file in {tempfile.gettempdir()}"
        if isinstance(error, MemoryError) or any(text in message.lower() for text in _LIMITS):
            message += ". This process may not have so much memory or so many threads: see `ulimit -a`."
            sizes = {name: getattr(arguments, name, None) or 0 for name in _SIZES}
            if large := [f"--{name.replace('_', '-')} {size}" for name, size in sizes.items() if size > 1]:
                message += f" Smaller numbers take less memory: {', '.join(large)}."
        print(f"{parser.prog}: error: {lines(message)}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:  # the disk is full
            _drop_output()
        return USAGE


def _drop_output() -> None:
    """Send what stdout still holds nowhere, so that Python does not complain at exit that it cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_interrupt(error: BaseException | None) -> bool:
    """Return whether Ctrl-C is behind an error: loaders of C++ modules turn it into an ImportError."""
    if getattr(signal.getsignal(signal.SIGINT), "came", False):
        return True
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _open_streams() -> None:
    """Make sure that there are stdout and stderr, and that any text can be printed on them.

    Where one is closed, the next file that is opened would otherwise stand in its place and get what is printed.
    """
    closed = []
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if number:
                setattr(sys, name, os.fdopen(nowhere, "w"))
                closed.append(name)
    for stream in (sys.stdout, sys.stderr):
        print_what_can_be(stream)
    if "stdout" in closed:
        notify("stdout is closed: what is printed there is lost.")


class _Parser(argparse.ArgumentParser):
    """A parser whose errors escape the text of a wrong command line, and name options like a misspelt one.

    Its subcommands are of this class.
    """

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [option for action in self._actions for option in action.option_strings]
            close = [name for word in unknown for name in difflib.get_close_matches(word.split("=")[0], options, n=1)]
            hint = f". Did you mean {' '.join(close)}?" if close else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        super().error(lines(message))


def _parser(argv: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Return the parser of a command line, with the arguments of the commands that it names; without one, of all.

    Importing a command's module takes time, which the other commands do not pay for.
    """
    parser = _Parser(prog="efficientnet", description="EfficientNet for Keras.")
    parser.add_argument(
        "--version", action="version", version=f"efficientnet {__version__}", help="print the version and exit"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, does in _COMMANDS.items():
        command = commands.add_parser(name, help=does)
        if argv is None or name in argv:
            importlib.import_module(f".{name}", __package__).add_arguments(command)
    return parser
