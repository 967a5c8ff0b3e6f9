"""Part "load": large files of weights, against the libraries that wrote them."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from .backends import BACKENDS, Backend, start
from .measuring import Case, Effort, Row, bare_seconds, compare, in_fresh_process, peak_memory, timed


def rows(names: Sequence[str], quick: bool, effort: Effort) -> Iterator[Row]:
    """Return all rows of the part: loading B7 (B0) on each backend, then opening and looking into L2."""
    model = "EfficientNetB0" if quick else "EfficientNetB7"
    for name in names:
        yield in_fresh_process(load_row, BACKENDS[name], f"{name}: load {model[-2:]}", model, effort)
    if quick:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "l2.safetensors"
        size = in_fresh_process(write_random_weights, path, "l2")
        for name in names:
            yield compare(memory_case(name, path, size), Effort(pairs=2, seconds=0))
        yield compare(inspect_case(path), Effort(pairs=5, seconds=0))


def load_row(backend: Backend, what: str, name: str, effort: Effort) -> Row:
    """Measure loading one file of keras.applications' weights into its own model and into ours, both built before."""
    from efficientnet import get_variant
    from efficientnet.weights import loading

    build = start(backend)
    ours, peer = build["ours"](name), build["peer"](name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "peer.weights.h5"
        peer.save_weights(path)

        def load_ours() -> None:
            loading.load(ours, loading.find(path, get_variant(name)))

        case = Case(what, timed(load_ours), timed(peer.load_weights, path))
        case.ours(), case.peer()  # imports
        return compare(case, effort)


def write_random_weights(path: Path, name: str) -> int:
    """Write a file as timm's, full of seeded random numbers; return how many bytes they take."""
    from efficientnet import get_variant
    from efficientnet.checkpoints import safetensors
    from efficientnet.checkpoints.arrays import Stored
    from efficientnet.checkpoints.names.torch import TIMM
    from efficientnet.family import arrays as layout

    random = np.random.default_rng(0)

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        return random.random(shape, np.float32)

    arrays = {}
    for entry in TIMM.entries(layout.layers(get_variant(name))):
        read = functools.partial(draw, entry.their_shape)
        arrays[entry.theirs] = Stored(entry.their_shape, np.dtype(np.float32), read)
        if entry.theirs.endswith(".running_var"):  # beside it PyTorch counts the batches
            counter = functools.partial(np.ones, (), np.int64)
            arrays[entry.theirs.replace("running_var", "num_batches_tracked")] = Stored((), np.dtype(np.int64), counter)
    safetensors.write(path, arrays)
    return sum(array.nbytes for array in arrays.values())


def memory_case(name: str, path: Path, size: int) -> Case:
    """Return the peak of a process that makes L2 of a file, beside the size of the weights themselves."""
    ours = functools.partial(in_fresh_process, peak_after_making, BACKENDS[name], "EfficientNetL2", path)
    return Case(f"{name}: peak of making L2 (peer: its weights)", ours, lambda: float(size), unit="MB")


def peak_after_making(backend: Backend, name: str, path: Path) -> float:
    """Return the most bytes that a process holds while it makes a model of a file of weights."""
    model = start(backend)["ours"](name, weights=path)
    assert model.built
    return peak_memory()


def inspect_case(path: Path) -> Case:
    """Measure what is in a file: ``efficientnet inspect`` and safetensors, from their import to the last shape."""
    ours = f"from efficientnet.cli.main import main; main(['inspect', {str(path)!r}])"
    peer = (
        f"from safetensors import safe_open; file = safe_open({str(path)!r}, 'numpy'); "
        "print([file.get_slice(name).get_shape() for name in file.keys()])"
    )
    return Case(
        f"inspect L2, {path.stat().st_size / 1e9:.1f} GB (peer: safetensors.safe_open)",
        lambda: bare_seconds(ours)[0],
        lambda: bare_seconds(peer)[0],
    )
