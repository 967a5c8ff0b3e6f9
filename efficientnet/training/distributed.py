"""One training in several processes, on one machine or many, with each backend's own means.

    processes = connect(["10.0.0.1:12345", "10.0.0.2:12345"], rank=0)  # before anything is computed
    train(task, out, processes=processes)

All processes start with the same weights and go through the same batches, each with its share of every one; gradients,
and the statistics of batch norms that are trained, are those of the whole batch. So the weights are those of a training
in one process, but for rounding and, on TensorFlow and PyTorch, for what dropout and stochastic depth draw.

TensorFlow has ``MultiWorkerMirroredStrategy``, JAX ``keras.distribution``, PyTorch ``torch.distributed``. A process has
one device; on JAX as many as it sees.
"""

from __future__ import annotations

import contextlib
import os
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..network.backends import import_keras
from .batches import Batch
from .rendezvous import Place, find_place, meet
from .stages import RANDOM_STATE, to_numpy

# Messages of engines when another process is gone; they have no separate exception for it.
_LOST = re.compile(
    r"gloo|nccl|connection (reset|closed|refused)|collective ops is aborted|heartbeat|unavailable|deadline|timed out",
    re.IGNORECASE,
)
_RANKS = 1024  # more than any training has
_HEARTBEAT = 60  # seconds; JAX' processes signal each other that they are alive even while they compute or write


def connect(addresses: Sequence[str] = (), rank: int | None = None, timeout: int = 300) -> Distributed:
    """Meet the other processes of a training. Call it in each of them before anything is computed.

    Args:
        addresses: Host and port of each process, ``"10.0.0.1:12345"``, the same list for all of them. Without it, the
            launcher's variables: ``TF_CONFIG`` on all backends; ``torchrun``'s on PyTorch; on JAX, those of Slurm,
            Open MPI or a cloud TPU.
        rank: Index of this process in ``addresses``, from 0.
        timeout: Seconds after which a silent process counts as lost: the others wait this long for it to arrive, and
            for the first one to write. A process that ends is noticed at once, on TensorFlow after 10 s.

    Raises:
        ValueError: The rank is not given, or not among the addresses.
        ConnectionError: The other processes do not arrive.
    """
    place = find_place(addresses, rank)
    backend = import_keras().backend.backend()
    if backend not in _ENGINES:
        raise ValueError(f"Keras on {backend} does not train: set KERAS_BACKEND to {', '.join(_ENGINES)}.")
    if place is not None:
        meet(place, timeout)
    with _naming_the_lost("The processes do not meet"):
        processes: Distributed = _ENGINES[backend](place, timeout)
        return processes


@contextlib.contextmanager
def _naming_the_lost(what: str) -> Iterator[None]:
    try:
        yield
    except ConnectionError:
        raise
    except Exception as error:
        if not _LOST.search(str(error)):
            raise
        reason = next(line for line in str(error).splitlines() if _LOST.search(line)).strip()
        raise ConnectionError(
            f"{what}: at least one has ended or cannot be reached. What was saved is kept; start all of them again "
            f"with --resume. ({reason[:300]})"
        ) from error


class Distributed(ABC):
    """The processes of a training, as one of them sees them; it satisfies :class:`.processes.Processes`.

    Attributes:
        rank: Index of this process, from 0.
        size: Number of processes.
    """

    rank: int
    size: int
    devices: int  # devices of all processes together

    def share(self, size: int) -> slice:
        """Return this process' rows of a batch of this number of images.

        Raises:
            ValueError: The images cannot be shared evenly.
        """
        if size % self.devices:
            raise ValueError(
                f"A batch of {size} images cannot be shared out evenly among {self.devices} devices: choose a "
                "--batch-size, and at least as many images, that is a multiple of them."
            )
        part = size // self.size
        return slice(self.rank * part, (self.rank + 1) * part)

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Enter the context in which networks are built and trained.

        Raises:
            ConnectionError: Another process is gone.
        """
        with _naming_the_lost(f"Process {self.rank} of {self.size} has lost the others"), self._scope():
            yield

    def _scope(self) -> AbstractContextManager[Any]:
        return contextlib.nullcontext()

    def check_same(self, digest: int) -> None:
        """Check that a training's digest of 32 bits is the same in all processes.

        Raises:
            ValueError: The digests differ.
        """
        bits = [bool(digest >> place & 1) for place in range(32)]
        if True in [self.any(bit) and self.any(not bit) for bit in bits]:
            raise ValueError(
                "The processes do not start with the same weights: --out has to be one folder that all of them see, "
                "and the command the same but for --rank."
            )

    def prepare(self, network: Any) -> None:
        """Prepare a network that is compiled and has its weights, before its first step.

        Raises:
            ValueError: The network is not the same in all processes.
        """
        digest = 0
        for variable in [*network.variables, *network.optimizer.variables]:
            if not variable.path.endswith(RANDOM_STATE):
                digest = zlib.crc32(to_numpy(variable).tobytes(), digest)
        self.check_same(digest)
        self._connect(network)

    @abstractmethod
    def _connect(self, network: Any) -> None:
        """Join the steps of all processes."""

    def step(self, network: Any, batch: Batch) -> dict[str, float]:
        """Train on this process' share of a batch, with gradients averaged over the whole batch.

        Returns:
            The loss and the metric of the whole batch, by their names.
        """
        logs = network.train_on_batch(batch.pixels, batch.targets, sample_weight=batch.weights, return_dict=True)
        return self._mean({key: float(value) for key, value in logs.items()})

    def predict(self, network: Any, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's outputs for images that each process has; each computes them by itself."""
        return np.asarray(network.predict_on_batch(pixels))

    def any(self, flag: bool) -> bool:
        """Return whether a flag is true in any process; all call it at the same step."""
        return self._mean({"flag": float(flag)})["flag"] > 0

    @abstractmethod
    def _mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Average values over all processes."""


class _TensorFlow(Distributed):
    def __init__(self, place: Place | None, timeout: int) -> None:
        import tensorflow as tf

        if place is None:
            raise ValueError("On TensorFlow, give the addresses of all processes, or set TF_CONFIG.")
        cluster = tf.train.ClusterSpec({"worker": list(place.addresses)})
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(cluster, task_type="worker", task_id=place.rank)
        options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=timeout)
        self._strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver, options)
        self.rank, self.size = place.rank, len(place.addresses)
        self.devices = self._strategy.num_replicas_in_sync
        if self.devices != self.size:
            raise ValueError(
                f"{self.size} processes see {self.devices} devices: start one process for each, which sees no other, "
                "by CUDA_VISIBLE_DEVICES."
            )

    def _scope(self) -> AbstractContextManager[Any]:
        scope: AbstractContextManager[Any] = self._strategy.scope()
        return scope

    def _connect(self, network: Any) -> None:
        import tensorflow as tf

        def whole_batch(statistics: Any) -> Any:
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, statistics)

        _share_statistics(network, whole_batch)
        _draw_apart(network, self.rank)

        # Keras' train function takes the means of scalars along their first axis.
        @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
        def step(data: Any) -> Any:
            return self._strategy.run(network.train_step, args=(data,))

        network.train_function = lambda data: step(next(data))

    def predict(self, network: Any, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        import tensorflow as tf

        # Keras' predict function joins the outputs of all processes.
        if network.predict_function is None:
            predict = tf.function(lambda x: network(x, training=False), reduce_retracing=True)
            network.predict_function = lambda batches: predict(batches[0][0])
        return np.asarray(network.predict_on_batch(pixels))

    def _mean(self, values: Mapping[str, float]) -> dict[str, float]:
        import tensorflow as tf

        means = self._strategy.reduce("MEAN", tf.constant(list(values.values())), axis=None)
        return dict(zip(values, map(float, means), strict=True))


class _Jax(Distributed):
    def __init__(self, place: Place | None, timeout: int) -> None:
        import jax
        import keras

        jax.distributed.initialize(
            None if place is None else place.addresses[0],
            None if place is None else len(place.addresses),
            None if place is None else place.rank,
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=min(timeout, _HEARTBEAT),
            shutdown_timeout_seconds=timeout,
        )
        self.rank, self.size, self.devices = jax.process_index(), jax.process_count(), jax.device_count()
        # The batches are already shared.
        self._distribution = keras.distribution.DataParallel(auto_shard_dataset=False)

    def _scope(self) -> AbstractContextManager[Any]:
        scope: AbstractContextManager[Any] = self._distribution.scope()
        return scope

    def _connect(self, network: Any) -> None:
        """Do nothing: each step is one computation on the whole batch."""

    def predict(self, network: Any, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        import jax

        # Keras' predict function shares the images.
        if network.predict_function is None:
            network.predict_function = jax.jit(
                lambda trained, others, x: network.stateless_call(trained, others, x, training=False)[0]
            )
        trained, others = (
            [variable.value.addressable_data(0) for variable in variables]
            for variables in (network.trainable_variables, network.non_trainable_variables)
        )
        return np.asarray(network.predict_function(trained, others, pixels))

    def any(self, flag: bool) -> bool:
        from jax.experimental import multihost_utils

        return bool(np.any(multihost_utils.process_allgather(np.array(flag))))

    def _mean(self, values: Mapping[str, float]) -> dict[str, float]:
        return dict(values)  # computed on the whole batch


class _Torch(Distributed):
    def __init__(self, place: Place | None, timeout: int) -> None:
        import torch
        from torch import distributed

        if place is None and not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
            raise ValueError("On PyTorch, give the addresses of all processes, or start them by torchrun.")
        limit = timedelta(seconds=timeout)
        if place is None:
            distributed.init_process_group(timeout=limit)
        else:
            distributed.init_process_group(
                init_method=f"tcp://{place.addresses[0]}",
                rank=place.rank,
                world_size=len(place.addresses),
                timeout=limit,
            )
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()
        self.devices = self.size

    def _connect(self, network: Any) -> None:
        import torch
        from torch import distributed

        def mean(values: Any) -> Any:
            total = values.clone()
            distributed.all_reduce(total)
            return total / self.size

        class WholeBatch(torch.autograd.Function):
            """The mean over all processes; so is its gradient."""

            @staticmethod
            def forward(context: Any, values: Any) -> Any:
                return mean(values)

            @staticmethod
            def backward(context: Any, *gradients: Any) -> Any:
                return mean(gradients[0])

        _share_statistics(network, WholeBatch.apply)
        _draw_apart(network, self.rank)
        apply = network.optimizer.apply

        def apply_means(gradients: Sequence[Any], variables: Any = None) -> Any:
            # All of them at once: each message has its delay.
            means = mean(torch.cat([gradient.flatten() for gradient in gradients]))
            parts = means.split([gradient.numel() for gradient in gradients])
            return apply([part.view_as(like) for part, like in zip(parts, gradients, strict=True)], variables)

        network.optimizer.apply = apply_means

    def _mean(self, values: Mapping[str, float]) -> dict[str, float]:
        import torch
        from torch import distributed

        means = torch.tensor(list(values.values()), device="cpu")
        distributed.all_reduce(means)
        return dict(zip(values, (means / self.size).tolist(), strict=True))


_ENGINES: Mapping[str, type[Any]] = {"tensorflow": _TensorFlow, "jax": _Jax, "torch": _Torch}


def _share_statistics(network: Any, whole_batch: Any) -> None:
    """Make trained batch norms use the statistics of the whole batch.

    Keras' ``synchronized=True`` works on TensorFlow alone, and a model saved with it does not open elsewhere.

    Args:
        whole_batch: Function from a tensor to its mean over all processes.
    """
    import keras

    def share(layer: Any) -> None:
        def moments(inputs: Any, mask: Any) -> tuple[Any, Any]:
            axes = [axis for axis in range(inputs.ndim) if axis != layer.axis % inputs.ndim]
            own = keras.ops.stack([keras.ops.mean(inputs, axes), keras.ops.mean(keras.ops.square(inputs), axes)])
            mean, mean_of_squares = keras.ops.unstack(whole_batch(own), 2)
            return mean, mean_of_squares - keras.ops.square(mean)

        layer._moments = moments

    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
            share(layer)


def _draw_apart(network: Any, rank: int) -> None:
    """Give layers that draw random numbers different ones in each process.

    The rank replaces the seed's last digits, so that it can be repeated after a checkpoint was restored.
    """
    for variable in network.non_trainable_variables:
        if variable.path.endswith(RANDOM_STATE):
            seed, count = to_numpy(variable)
            variable.assign(np.array([seed - seed % _RANKS + rank, count]))
