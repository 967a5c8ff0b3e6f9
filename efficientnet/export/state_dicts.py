"""Arrays of a network in files of other packages: under their names, in their layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ..checkpoints import Facts, Reading, safetensors
from ..checkpoints.arrays import Stored
from ..checkpoints.facts import KEY, write_archive, write_hdf5
from ..checkpoints.names.base import Origin
from ..checkpoints.soundness import check_array
from ..common.files import replacing
from ..common.packages import missing
from ..family import arrays as layout

SUFFIXES = (".safetensors", ".pth", ".pt")


def is_file(target: Path) -> bool:
    """Return whether a name is that of a file of weights."""
    return target.name.lower().endswith(SUFFIXES)


def named_arrays(reading: Reading, origin: Origin, body: str = "") -> dict[str, Stored]:
    """Return the arrays of a network under an origin's names and in its layout, all of them checked.

    Those of PyTorch get the counters that its batch norms have.

    Args:
        reading: Network.
        origin: Origin of the names.
        body: Prefix of all names but the classifier's, if the network has a classifier.

    Raises:
        CheckpointError: An array holds no finite numbers, or is damaged.
    """
    for name, array in reading.arrays.items():
        check_array(name, array, reading.path)
    before = body if reading.classes is not None else ""
    return {
        name if ours.startswith("probs/") else f"{before}{name}": stored
        for ours, name, stored in _entries(reading, origin)
    }


def _entries(reading: Reading, origin: Origin) -> Iterator[tuple[str, str, Stored]]:
    counter = Stored((), np.dtype(np.int64), lambda: np.zeros((), np.int64))
    for entry in origin.entries(layout.layers(reading.variant, reading.classes, reading.channels)):
        if entry.ours in reading.arrays:
            yield entry.ours, entry.theirs, entry.to_theirs(reading.arrays[entry.ours])
            if entry.theirs.endswith(".running_var"):
                yield entry.ours, entry.theirs.replace(".running_var", ".num_batches_tracked"), counter


def write(path: Path, arrays: Mapping[str, Stored], facts: Facts) -> None:
    """Write a file of weights, whose suffix is its format; whole or not at all.

    Args:
        path: Path of the file: ``.safetensors``; ``.pth`` or ``.pt``, which need PyTorch; ``.weights.h5``, for arrays
            with Keras 3's numbers.
        arrays: Arrays by name.
        facts: Facts of the network, which the file records.

    Raises:
        ImportError: PyTorch is needed, and not installed.
        OSError: The file cannot be written.
    """
    # The library HDF5 ends the process where it meets with a full disk.
    with replacing(path, sum(array.nbytes for array in arrays.values()) + (1 << 20)) as part:
        if path.name.lower().endswith(".safetensors"):
            safetensors.write(part, arrays, {"format": "pt", KEY: facts.to_json()})
        elif path.name.lower().endswith(".h5"):
            _write_numbered(part, arrays)
            write_hdf5(part, facts)
        else:
            _save_state_dict(part, arrays)
            write_archive(part, facts)


def _write_numbered(path: Path, arrays: Mapping[str, Stored]) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, stored in arrays.items():
            layer, _, index = name.rpartition("/")
            place = layer if layer == "optimizer" else f"layers/{layer}"
            file[f"{place}/vars/{index}"] = np.asarray(stored)


def _save_state_dict(path: Path, arrays: Mapping[str, Stored]) -> None:
    try:
        import torch
    except ImportError as error:
        raise missing(
            "Writing .pth needs PyTorch", "torch", ". A .safetensors file needs nothing, and PyTorch reads it as well"
        ) from error
    tensors = {name: torch.from_numpy(np.array(stored)) for name, stored in arrays.items()}
    with path.open("wb") as file:  # Python's own, which says why it cannot be written
        torch.save(tensors, file)
