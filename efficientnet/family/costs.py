"""What a network costs: counted from its description, without building anything.

Nothing here imports a framework.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ..common import arguments
from .scaling import AnyVariant, head_filters, scale_blocks, stem_filters
from .variants import get_variant

# Bytes in an ONNX file: of a weight; of a channel, with its bias and in int8 its scale and zero; of a layer's node and
# those around it, as measured on B0 and on a network of a tenth of its size.
_FILE = {"f32": (4, 4, 560), "f16": (2, 2, 780), "int8": (1, 9, 2470)}
PRECISIONS = tuple(_FILE)
_TRAINED = {"f32": 4, "f16": 2}  # bytes of a number in a feature map
# What a network costs, in words.
CURRENCIES = {
    "macs": "multiply-adds", "parameters": "parameters", "activations": "activations", "bytes": "bytes of the file",
    "memory": "bytes of memory", "milliseconds": "milliseconds",
}  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """The cost of a network.

    Attributes:
        parameters: Number of trainable parameters, without the batch norms' moving statistics.
        macs: Multiply-adds of its convolutions and dense layers for one image. (The papers call them FLOPS.)
        activations: Numbers that its convolutions and dense layers give out for one image (arXiv 2003.13678).
        weights: Numbers in their kernels.
        channels: Number of their outputs, each of which has a bias when batch norms are folded.
        layers: Number of convolutions and dense layers.
        peak: Most numbers of feature maps that are in memory at once.
        kept: Numbers of feature maps that the gradients of one image need.

    Example:
        >>> b0 = cost("b0")
        >>> b0.parameters, b0.macs, b0.activations
        (5288548, 385814752, 6748036)
        >>> b0.bytes("f16"), b0.memory("int8"), b0.training_memory(32)
        (10599040, 7023604, 2906789440)
    """

    parameters: int
    macs: int
    activations: int
    weights: int
    channels: int
    layers: int
    peak: int
    kept: int

    def prices(self, precision: str = "f32", training_batch: int | None = None) -> dict[str, float]:
        """Return what is counted in each currency that a budget may be in.

        Args:
            precision: Precision of file and memory: ``"f32"``, ``"f16"`` or ``"int8"``.
            training_batch: Number of images of a training step that the memory is counted of; None for that of a
                prediction.

        Raises:
            ValueError: There is no such precision, or no training in it.
        """
        memory = self.memory(precision) if training_batch is None else self.training_memory(training_batch, precision)
        return {
            "macs": self.macs, "parameters": self.parameters, "activations": self.activations,
            "bytes": self.bytes(precision), "memory": memory,
        }  # fmt: skip

    def bytes(self, precision: str = "f32") -> int:
        """Return the size of the exported ONNX file, whose batch norms are folded; within 1% for EfficientNets.

        Args:
            precision: Precision of the file: ``"f32"``, ``"f16"`` or ``"int8"``.

        Raises:
            ValueError: There is no such precision.
        """
        weight, channel, layer = _FILE[arguments.choice("precision", precision, PRECISIONS)]
        return weight * self.weights + channel * self.channels + layer * self.layers

    def memory(self, precision: str = "f32") -> int:
        """Return the bytes that prediction of one image needs: weights, and the feature maps that are alive at once.

        That is the least; runtimes add packed copies of weights, and buffers.

        Args:
            precision: Precision that the network is computed in; on hardware that computes ``"f16"`` in float32, too,
                ``"f32"``.

        Raises:
            ValueError: There is no such precision.
        """
        weight, channel, _ = _FILE[arguments.choice("precision", precision, PRECISIONS)]
        return weight * (self.weights + self.peak) + channel * self.channels

    def training_memory(self, batch: int, precision: str = "f32") -> int:
        """Return the bytes that a training step needs.

        These are four numbers for each parameter (itself, its gradient, and the optimizer's two moments) and the
        feature maps that the gradients need. That is the least; frameworks add what they compute with.

        Args:
            batch: Number of images of a step.
            precision: ``"f32"``, or ``"f16"`` for mixed precision, in which feature maps have 16 bits.

        Raises:
            ValueError: There is no such batch, or no training in such a precision.
        """
        if precision not in _TRAINED:
            raise ValueError(
                f"precision={precision!r}: networks are trained in one of {', '.join(map(repr, _TRAINED))}."
            )
        number = _TRAINED[precision]
        return 4 * _FILE["f32"][0] * self.parameters + number * arguments.whole("batch", batch) * self.kept


def amount(price: float) -> str:
    """Format a cost in any currency: "385,814,752", "12.3"."""
    return f"{price:,.0f}" if price >= 1000 else f"{price:.3g}"


class Layer(NamedTuple):
    """A convolution, or a dense layer, whose output has a side of 1.

    Attributes:
        kind: Its place in a block: ``"stem"``, ``"expand"``, ``"depthwise"``, ``"squeeze"``, ``"excite"``,
            ``"project"``, ``"fused"``, ``"route"``, ``"head"`` or ``"classifier"``.
        weights: Numbers in one kernel.
        filters: Number of output channels.
        side: Side of the output, pixels.
        taken: Numbers that it takes in for one image; for ``"squeeze"`` those that are averaged before it.
        alive: Numbers of feature maps in memory while it is computed; 0 where another layer needs more.
        kept: Numbers that gradients need of what it, and what follows up to the next layer, computes for one image.
        has_norm: Whether batch norm follows; else it has a bias.
        experts: Kernels that each image mixes into its own.
    """

    kind: str
    weights: int
    filters: int
    side: int
    taken: int
    alive: int = 0
    kept: int = 0
    has_norm: bool = True
    experts: int = 1


def cost(variant: AnyVariant, resolution: int | None = None, classes: int | None = None) -> Cost:
    """Count what a network costs.

    Args:
        variant: Published or custom variant, as ``get_variant`` takes it.
        resolution: Side of the square input, pixels; the variant's by default.
        classes: Number of outputs of the classifier; the variant's by default.

    Raises:
        ValueError: A number is below 1, or there is no such variant.
    """
    variant = get_variant(variant)
    side = variant.resolution if resolution is None else arguments.whole("resolution", resolution)
    classes = variant.classes if classes is None else arguments.whole("classes", classes)
    found = list(layers(variant, side, classes))
    parameters = macs = 0
    for layer in found:
        parameters += layer.experts * layer.weights + (2 if layer.has_norm else 1) * layer.filters
        macs += layer.weights * layer.side**2
        if layer.experts > 1:  # mixing each kernel once for an image (arXiv 1904.04971, equation 1)
            macs += layer.experts * layer.weights
    return Cost(
        parameters, macs,
        activations=sum(layer.filters * layer.side**2 for layer in found),
        weights=sum(layer.experts * layer.weights for layer in found),
        channels=sum(layer.filters for layer in found),
        layers=len(found),
        peak=max(layer.alive for layer in found),
        kept=sum(layer.kept for layer in found),
    )  # fmt: skip


def layers(variant: AnyVariant, resolution: int, classes: int) -> Iterator[Layer]:
    """Yield the layers that have kernels, in order."""
    variant = get_variant(variant)
    side, channels, head = math.ceil(resolution / 2), stem_filters(variant), head_filters(variant)
    held = channels * side**2  # numbers that the next layer takes
    image = 3 * resolution**2
    # Batch norm, swish and the next convolution need what they take for their gradients; a ReLU needs what it gives.
    maps = 2 if variant.activation.startswith("relu") else 3  # kept of a convolution with both
    yield Layer("stem", 3 * 3 * 3 * channels, channels, side, image, alive=image + held, kept=image + maps * held)
    for block in scale_blocks(variant):
        kernel, inner, channels = block.kernel_size**2, block.expanded_filters, block.output_filters
        strided = math.ceil(side / block.strides)
        shortcut = held if block.residual else 0
        # Kind, numbers in the kernel, filters and side of the output.
        convolutions = [("project", inner * channels, channels, strided)]
        if not block.fused:
            convolutions.insert(0, ("depthwise", kernel * inner, inner, strided))
        if block.expands and block.fused:
            convolutions.insert(0, ("fused", kernel * block.input_filters * inner, inner, strided))
        elif block.expands:
            convolutions.insert(0, ("expand", block.input_filters * inner, inner, side))
        elif block.fused:
            convolutions = [("fused", kernel * inner * channels, channels, strided)]
        for number, (kind, weights, filters, size) in enumerate(convolutions):
            made = filters * size**2
            alive = held + made + (shortcut if number else 0)  # the first convolution takes the shortcut's own numbers
            times = 2 if kind == "project" else 3 if block.residual and len(convolutions) == 1 else maps
            mixed = weights if block.experts > 1 else 0
            yield Layer(kind, weights, filters, size, held, alive, times * made + mixed, experts=block.experts)
            held = made
        if block.experts > 1:  # the routing
            taken, experts = block.input_filters, block.experts
            yield Layer("route", taken * experts, experts, 1, taken, kept=taken + experts, has_norm=False)
        if block.se_filters:
            averaged = inner * strided**2
            reduced, weights = block.se_filters, inner * block.se_filters
            yield Layer("squeeze", weights, reduced, 1, averaged, kept=inner + (maps - 1) * reduced, has_norm=False)
            yield Layer("excite", weights, inner, 1, reduced, kept=inner + averaged, has_norm=False)
        side = strided
    made = head * side**2
    yield Layer("head", channels * head, head, side, held, alive=held + made, kept=2 * made)
    yield Layer("classifier", head * classes, classes, 1, made, kept=head + classes, has_norm=False)
