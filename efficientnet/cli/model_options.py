"""Options of the commands that predict, and the predictor that these options make."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.text import notify
from ..family.variants import PADDINGS, get_variant
from ..images.pixel_scaling import MODES, Scaling
from ..keras_files.opening import is_saved_model
from .image_arguments import images_in
from .number_types import epsilon, positive, share
from .paths import given_path

if TYPE_CHECKING:
    from ..checkpoints import Facts
    from ..inference import InputSpec, ModelSource, Predictor

# What commands that predict take for a model.
MODEL = "variant, saved model (.keras, .h5), or exported one (.onnx, .xml, .tflite, folder of a SavedModel)"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that :func:`open_predictor` reads besides ``model``."""
    add = parser.add_argument
    add("--weights", help="published set or file of weights (default: the variant's first set)")
    add_network_options(parser)
    add("--precision", default="f32", help="precision: f32, bf16 or int8 (default: f32)")
    add("--calibrate", metavar="FOLDER", help="folder of some hundred images, for int8 only (default: none)")
    add_agreement(parser)
    add_engine_options(parser)


def add_agreement(parser: argparse.ArgumentParser) -> None:
    """Add the option of how far int8 has to agree with the predictions in float."""
    parser.add_argument(
        "--agreement", type=share, metavar="SHARE",
        help="for int8: least share of views of held-out calibration images that keep their prediction, 0 to 1; the "
        "mean shift of its probability may be twice the rest; without classes, share of the outputs' variance that is "
        "kept (default: 0.99)",
    )  # fmt: skip


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the runtime and of how many images it takes at a time."""
    add = parser.add_argument
    add("--engine", default="auto",
        help="runtime: openvino, onnxruntime, litert, keras, fastest (measured), or auto (default: auto)")  # fmt: skip
    add("--batch-size", type=positive, metavar="N", help="images at a time (default: the engine's choice)")
    add("--threads", type=positive, metavar="N", help="processor threads (default: the engine's choice)")


def engine_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options of :func:`add_engine_options`, as ``inference.compile`` takes them."""
    return {"engine": arguments.engine, "batch_size": arguments.batch_size, "threads": arguments.threads}


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for facts that a model or its weights may lack; :func:`network_facts` reads them."""
    add = parser.add_argument
    add("--padding", choices=PADDINGS, help="padding of the convolutions (default: what the weights record)")
    add(
        "--epsilon",
        type=epsilon,
        metavar="NUMBER",
        help="epsilon of the batch norms (default: what the weights record)",
    )
    add("--preprocessing", type=preprocessing, metavar="MODE", help=f"scaling of the pixels: {', '.join(MODES)}, or "
        "mean/std of levels 0..1, such as 0.5/0.5 (default: what the model or its weights record)")  # fmt: skip
    add("--classes", type=given_path, metavar="FILE", help="class names in the order of the outputs: a text file with "
        "one name per line, or JSON (default: what the model or its weights record)")  # fmt: skip


def network_facts(arguments: argparse.Namespace) -> Facts:
    """Return the facts in the options of :func:`add_network_options`.

    Raises:
        OSError, ValueError: The file of classes cannot be read.
    """
    from ..checkpoints import Facts
    from ..datasets.class_files import read_class_file

    names = None if arguments.classes is None else read_class_file(arguments.classes)
    return Facts(arguments.padding, arguments.epsilon, arguments.preprocessing, class_names=names)


def refuse_contradictions(variant: str, weights: str, given: Facts) -> None:
    """Raise ValueError where the command line contradicts the known facts of a published set."""
    from ..weights import finding, published

    chosen = published.resolve(weights, get_variant(variant))
    if chosen and (problems := finding.contradictions(finding.of_set(chosen), given)):
        options = ", ".join(finding.ADVICE[name][1] for name in finding.ADVICE if getattr(given, name) is not None)
        raise ValueError(
            f"It is known how the published weights {chosen.name!r} of {chosen.variant} were trained: "
            f"{'; '.join(problems)}. Leave out {options}."
        )


def preprocessing(text: str) -> str | Scaling:
    """Read a mode, or mean and standard deviation of levels 0..1, of all channels or of each: ``0.5,0.5,0.5/0.25``."""
    if text in MODES:
        return text
    mean, slash, std = text.partition("/")
    try:
        means, stds = ([float(number) for number in part.split(",")] for part in (mean, std))
    except ValueError:
        means, stds = [], []
    means, stds = (3 * values if len(values) == 1 else values for values in (means, stds))
    if (
        not slash
        or not len(means) == len(stds) == 3
        or not all(0 <= value <= 1 for value in means)  # False for NaN, and for levels 0..255
        or not all(0 < value < 10 for value in stds)
    ):
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of {', '.join(MODES)}, and no mean/std of levels 0..1 such as 0.485,0.456,0.406/0.25"
        )
    from ..checkpoints.facts import of_mean_and_std

    return of_mean_and_std(means, stds)


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of how a model's outputs are read, for commands that call :func:`threshold`."""
    parser.add_argument("--softmax", action="store_true", help="turn logits into probabilities")
    parser.add_argument(
        "--threshold", type=share, metavar="P",
        help="least probability of a predicted label, for a multi-label model (default: what the model records, or "
        "0.5)",
    )  # fmt: skip


def threshold(arguments: argparse.Namespace, spec: InputSpec) -> float | None:
    """Return the least probability of a label that applies; None if it is not given.

    Raises:
        ValueError: It is given, and the model does not predict a probability for each label.
    """
    if arguments.threshold is None:
        return None
    spec.check_labels()
    return float(arguments.threshold)


def find_source(model: str, weights: str | None, given: Facts) -> ModelSource:
    """Return the source of the model that a command line names.

    Args:
        model: Variant, or the file of a saved or exported model.
        weights: Published set or file of a variant's weights.
        given: Facts about the network from the command line.

    Raises:
        ValueError, OSError: There is nothing of that name, the model has its own weights, or the command line
            contradicts a model or a published set of weights.
    """
    from ..inference import ModelSource

    if not is_saved_model(model):
        report_folder(model)
        refuse_contradictions(model, weights or "imagenet", given)
        return ModelSource.of_variant(model, weights or "imagenet", given)
    if weights:
        raise ValueError(f"--weights={weights}: {model} is a whole model with its own weights.")
    for option, value in (("padding", given.padding), ("epsilon", given.epsilon)):
        if value is not None:
            raise ValueError(
                f"--{option}={value}: {model} is a whole model, whose graph has its own. Leave the option out; it is "
                "for files of weights (--weights)."
            )
    return ModelSource.of_file(model, given.preprocessing, class_names=given.class_names)


def report_folder(variant: str) -> None:
    """Print a line on stderr if a folder has the name of a variant, too."""
    if os.path.isdir(variant):
        notify(f"{variant} is taken for the variant; ./{variant} is the folder of that name.")


def require_preprocessing(scaling: Scaling | None, model: str) -> None:
    """Raise ValueError if neither a model nor the command line says how pixels are scaled."""
    if scaling is None:
        raise ValueError(
            f"{model} does not say how its pixels are scaled: give --preprocessing, the way that it was trained with "
            f"({', '.join(MODES)}, or mean/std; none for raw pixels 0..255)."
        )


def calibration_images(given: str) -> list[Path]:
    """Return the images of the folder that ``--calibrate`` names, and of the folders within it.

    Of more than int8 takes, they are spread evenly over all: the first ones may be of a single class.

    Raises:
        ValueError: There is no such folder, or no image in it.
    """
    found = images_in(Path(given), recursive=True) if os.path.isdir(given) else []
    if not found:
        problem = "there are no images in this folder" if os.path.isdir(given) else "there is no such folder"
        raise ValueError(f"--calibrate={given}: {problem}; expected one with some hundred images.")
    from ..inference.fidelity import MOST_IMAGES

    count = min(len(found), MOST_IMAGES)
    return [found[place * len(found) // count] for place in range(count)]


def model_source(arguments: argparse.Namespace) -> ModelSource:
    """Return the source of the model that the command line names; it loads the model when asked for."""
    return find_source(arguments.model, arguments.weights, network_facts(arguments))


def open_predictor(arguments: argparse.Namespace, source: ModelSource | None = None) -> Predictor:
    """Return the predictor of the model that the command line names; ``source`` is that of :func:`model_source`."""
    from ..inference import compile

    predictor = compile(
        source or model_source(arguments),
        **engine_options(arguments),
        precision=arguments.precision,
        calibration=() if arguments.calibrate is None else calibration_images(arguments.calibrate),
        agreement=arguments.agreement,
    )
    require_preprocessing(predictor.spec.scaling, arguments.model)
    for what, milliseconds in predictor.timings.items():
        notify(f"{what}: {milliseconds:.2f} ms per image")
    if predictor.fidelity is not None:
        notify(f"int8, against float32: {predictor.fidelity}")
    elif predictor.deviation is not None:
        notify(f"{predictor.precision} predictions differ from float32's by up to {predictor.deviation:.2g}")
    return predictor
