"""TFLite Metadata of other programs' files: class names and scaling, and whatever may be wrong with them."""

import json
import random
import re
import tracemalloc

import numpy as np
import pytest
from fuzz_worker import damage
from PIL import Image

pytest.importorskip("keras")
pytest.importorskip("ai_edge_litert")

from exported_models import expected
from tflite_files import write_tflite

from efficientnet.cli.main import main
from efficientnet.exported_files.tflite_metadata import read_notes
from efficientnet.images.pixel_scaling import Scaling, scale_and_offset
from efficientnet.inference import compile

pytestmark = pytest.mark.usefixtures("home")

LABELS = "tench\r\ngoldfish\r\nwhite shark\r\n\U0001f988\r\nray\r\n"
NAMES = LABELS.split("\r\n")[:5]


def labels_of(spec):
    return [label for _, label in spec.classes]


def test_names_and_scaling_are_those_that_it_records(tmp_path):
    path = write_tflite(tmp_path / "theirs.tflite", [127.5], [127.5], LABELS)
    images = [np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)]
    with compile(path) as predictor:
        spec = predictor.spec
        assert (labels_of(spec), spec.scaling, spec.remarks) == (NAMES, scale_and_offset("tf"), ())
        wanted = expected(spec.scale(np.stack([spec.image(image) for image in images])), True)
        np.testing.assert_allclose(predictor.predict(images), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("mean", "std", "scaling"),
    [
        ([0.0], [1.0], scale_and_offset("none")),
        ([1, 2, 3], [2, 4, 8], Scaling((0.5, 0.25, 0.125), (-0.5, -0.5, -0.375))),
        ([127], [128, 128, 128], scale_and_offset("lite")),
        ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375], scale_and_offset("torch")),
    ],
)
def test_mean_and_standard_deviation_of_all_channels_or_each(tmp_path, mean, std, scaling):
    found = read_notes(write_tflite(tmp_path / "theirs.tflite", mean, std), 3)
    assert (found.scaling, found.labels, found.problems) == (scaling, None, {})


def test_what_the_caller_says_wins(tmp_path, caplog):
    path = write_tflite(tmp_path / "theirs.tflite", [127.5], [127.5], LABELS)
    with compile(path, preprocessing="lite", class_names=list("abcde")) as predictor:
        assert (labels_of(predictor.spec), predictor.spec.scaling) == (list("abcde"), scale_and_offset("lite"))
    assert caplog.text.count('gets pixels scaled as given, "lite", (pixels - 127) / 128, and not as it says') == 1


@pytest.mark.parametrize(
    ("options", "problem", "given"),
    [
        ({"labels": "a\nb"}, r"whose labels cannot be used: 2 names, where it has 5 outputs", {"class_names": NAMES}),
        ({"labels": "a\n\nb"}, "labels.txt has no names, an empty one", {"class_names": NAMES}),
        ({"labels": b"a\xff"}, "labels.txt is not text in UTF-8", {"class_names": NAMES}),
        ({"labels": LABELS, "named": "no.txt"}, "no.txt is missing behind the model", {"class_names": NAMES}),
        ({"mean": [1, 2], "std": [3]}, r"whose scaling .* mean \[1.0, 2.0\] .* no 3 channels", {"preprocessing": "tf"}),
        ({"mean": [1], "std": []}, r"std \[\] scale no 3 channels", {"preprocessing": "tf"}),
        ({"mean": [1], "std": [0]}, r"std \[0.0\] scale no 3 channels", {"preprocessing": "tf"}),
        ({"mean": [np.nan], "std": [1]}, r"mean \[nan\] .* scale no 3 channels", {"preprocessing": "tf"}),
        ({"mean": [127.5], "std": [1], "input_type": "UINT8"}, "whose scaling .*: the input takes raw pixels", {}),
    ],
)
def test_what_cannot_be_used_is_reported(tmp_path, caplog, options, problem, given):
    path = write_tflite(tmp_path / "theirs.tflite", **options)
    with compile(path) as predictor:
        (remark,) = predictor.spec.remarks
    assert caplog.text.count(remark.text) == 1
    assert re.search(problem, remark.text)
    if given:
        with compile(path, **given) as predictor:
            assert not predictor.spec.remarks


def test_commands(tmp_path, capsys):
    path = write_tflite(tmp_path / "theirs.tflite", [127.5], [127.5], LABELS)
    assert main(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    for part in (
        "classes   5: tench, goldfish, white shark, \U0001f988, ray (recorded)",
        'scaling   "tf", (pixels - 127.5) / 127.5 (recorded)', "crop      0.875, bicubic (assumed)",
        "written   by another program, with TFLite Metadata",
    ):  # fmt: skip
        assert part in out
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / "a.png")
    assert main(["predict", str(tmp_path / "a.png"), "--json", "--model", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["predictions"][0]["label"] in NAMES


def test_damaged_files_are_read_or_reported_in_little_memory(tmp_path):
    content = write_tflite(tmp_path / "sound.tflite", [127.5], [127.5], LABELS).read_bytes()
    path, rng = tmp_path / "damaged.tflite", random.Random(0)
    found = []
    tracemalloc.start()
    for _ in range(80):
        path.write_bytes(damage(content, rng, b"other") or b"TFL3")
        found.append(bool(read_notes(path, 3).problems))
    assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    tracemalloc.stop()
    assert 5 < sum(found) < 75
