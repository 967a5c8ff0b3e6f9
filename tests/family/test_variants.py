"""The table: names, look-ups, and that a row is all that a variant needs."""

import dataclasses
import json
import subprocess
import sys

import pytest

from efficientnet import BlockArgs, get_variant, list_variants, save_variant
from efficientnet.family.scaling import scale_blocks


def test_every_published_variant_is_listed():
    names = list_variants()
    assert names[:10] == (*(f"efficientnet-b{i}" for i in range(9)), "efficientnet-l2")
    assert names[10:15] == tuple(f"efficientnet-lite{i}" for i in range(5))
    assert names[15:18] == tuple(f"efficientnet-edgetpu-{size}" for size in "sml")
    assert names[18:21] == tuple(f"efficientnet-condconv-b0-{kind}" for kind in ("4e", "8e", "8e-depth"))
    assert names[21:29] == tuple(f"efficientnetv2-{size}" for size in ("b0", "b1", "b2", "b3", "s", "m", "l", "xl"))
    assert names[29:33] == (*(f"efficientnetv2-rw-{size}" for size in "tsm"), "efficientnet-test")
    assert names[33:] == tuple(f"efficientnet-b{size}-pruned" for size in (1, 2, 3))


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*lite?", 5),
        ("b[0-7]", 8),
        ("B0", 1),
        ("v2*", 11),
        ("*pruned", 3),
        ("*edgetpu*", 3),
        ("efficientnet-l2", 1),
        ("resnet*", 0),
    ],
)
def test_patterns(pattern, found):
    assert len(list_variants(pattern)) == found


@pytest.mark.parametrize("name", ["b0", "B0", "efficientnet-b0", "efficientnet_b0", "EfficientNetB0"])
def test_one_variant_has_many_spellings(name):
    assert get_variant(name).name == "efficientnet-b0"


def test_an_unknown_name_suggests_close_ones():
    with pytest.raises(ValueError, match=r"'efficientnet-lite7'.*Did you mean .*efficientnet-lite") as error:
        get_variant("efficientnet-lite7")
    assert "efficientnet-b0" in str(error.value)


def test_rows_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        get_variant("b0").width = 2.0


def test_block_args_take_what_the_older_package_wrote():
    block = BlockArgs(
        kernel_size=3, num_repeat=2, input_filters=16, output_filters=24,
        expand_ratio=6, id_skip=True, strides=[2, 2], se_ratio=0.25,
    )  # fmt: skip
    assert block.strides == 2
    assert block._replace(kernel_size=5).kernel_size == 5


def test_filters_that_are_listed_are_saved_and_not_scaled(tmp_path):
    pruned = dataclasses.replace(get_variant("b1-pruned"), name="mine")
    save_variant(pruned, tmp_path / "mine.json")
    assert get_variant(tmp_path / "mine.json") == pruned
    assert [block.expanded_filters for block in scale_blocks(pruned)[2:5]] == [48, 62, 48]
    assert scale_blocks(pruned)[16].se_filters == 27
    with pytest.raises(ValueError, match="mine lists the filters of its blocks, and so it cannot be scaled"):
        dataclasses.replace(pruned, width=1.1)
    for field in ("expanded_filters", "se_filters"):
        with pytest.raises(ValueError, match=f"{field} lists 1 blocks: expected num_repeat=3"):
            dataclasses.replace(pruned.blocks[1], **{field: (48,)})
        with pytest.raises(ValueError, match=f"{field}=0: expected an integer"):
            dataclasses.replace(pruned.blocks[1], **{field: (48, 0, 48)})


def test_a_block_may_expand_by_nothing():
    fused = BlockArgs(3, 1, 24, 24, fused=True)
    for block, expands in ((fused, False), (dataclasses.replace(fused, always_expand=True), True)):
        variant = dataclasses.replace(get_variant("v2-s"), name="mine", blocks=(block,))
        scaled = scale_blocks(variant)[0]
        assert (scaled.expands, scaled.expanded_filters) == (expands, 24)


@pytest.mark.parametrize(
    "wrong", [{"strides": [1, 2]}, {"kernel_size": 0}, {"num_repeat": 1.5}, {"se_ratio": 2.0}, {"expand_ratio": None}]
)
def test_block_args_out_of_range(wrong):
    good = {"kernel_size": 3, "num_repeat": 1, "input_filters": 16, "output_filters": 16}
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BlockArgs(**{**good, **wrong})


def test_the_package_alone_imports_no_framework():
    code = (
        "import sys, efficientnet, efficientnet.family.scaling, efficientnet.weights; efficientnet.list_variants();"
        "heavy = {'tensorflow', 'keras', 'tf_keras', 'jax', 'torch', 'openvino', 'h5py', 'PIL', 'requests', 'scipy'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_custom_variant_is_kept_in_a_file(tmp_path):
    mine = dataclasses.replace(get_variant("lite0"), name="mine", width=1.3, resolution=160)
    save_variant(mine, tmp_path / "mine.json")
    assert get_variant(tmp_path / "mine.json") == mine
    assert get_variant(str(tmp_path / "mine.json")) == mine
    assert get_variant(mine) is mine
    assert [path.name for path in tmp_path.iterdir()] == ["mine.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no variant"),
        ("[]", "holds no variant"),
        ('{"format": 2, "variant": {}}', "format 2, and this release reads 1"),
        ('{"format": 1, "variant": {"name": "x"}}', "holds no variant"),
    ],
)
def test_files_that_hold_no_variant(tmp_path, content, message):
    (tmp_path / "broken.json").write_text(content)
    with pytest.raises(
        ValueError, match=rf"broken\.json holds no variant.*{message}" if "format" in message else message
    ):
        get_variant(tmp_path / "broken.json")
    with pytest.raises(FileNotFoundError):
        get_variant(tmp_path / "missing.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": "2"}, "width='2': expected a factor"),
        ({"depth": -1.0}, r"depth=-1\.0"),
        ({"resolution": 0}, "resolution=0"),
        ({"blocks": []}, "no blocks"),
        ({"colour": "red"}, "colour"),
        ({"name": "efficientnet-b0"}, "give it another name"),
    ],
)
def test_files_whose_variant_is_out_of_range(tmp_path, change, message):
    save_variant(dataclasses.replace(get_variant("b1"), name="mine"), tmp_path / "mine.json")
    content = json.loads((tmp_path / "mine.json").read_text())
    content["variant"] |= change
    (tmp_path / "mine.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        get_variant(tmp_path / "mine.json")


def test_a_variant_is_saved_as_json_only(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.json"):
        save_variant(get_variant("b0"), tmp_path / "b0.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 1e308}, "depth=1e\\+308: expected a factor"),
        ({"width": float("nan")}, "width=nan"),
        ({"depth": 90.0, "name": "deep"}, "deep has 1440 blocks at depth=90.0: expected at most 1000"),
        ({"head_filters": 10**9}, "head_filters=1000000000: expected an integer"),
        ({"width": 50.0}, "channels at width=50.0: expected at most 65536"),
        ({"blocks": [{"num_repeat": 10**9}]}, "num_repeat=1000000000: expected an integer"),
    ],
)
def test_a_file_cannot_ask_for_endless_work(changes, message, tmp_path):
    fields = dataclasses.asdict(get_variant("b0"))
    blocks = [
        {**block, **other} for block, other in zip(fields["blocks"], changes.pop("blocks", [{}] * 7), strict=False)
    ]
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"format": 1, "variant": {**fields, "name": "mine", "blocks": blocks, **changes}}))
    with pytest.raises(ValueError, match=message):
        get_variant(path)


def test_a_file_is_bounded(tmp_path):
    path = tmp_path / "mine.json"
    with path.open("wb") as file:
        file.truncate(2**34)  # which takes no room on the disk
    with pytest.raises(ValueError, match="more than 16 MB"):
        get_variant(path)
