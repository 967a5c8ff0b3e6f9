"""Blocks that are computed twice in a training step: the same results, on each backend."""

import dataclasses

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture
def train(tiny, keras, trainable, is_legacy, backend):
    """Trains a tiny network for two steps.

    Returns the losses, the changes of all variables, how often a block was computed, and what is trained.
    """
    if is_legacy or not keras.__name__.startswith("keras") or backend == "torch":
        pytest.skip("low_memory is for Keras 3 on TensorFlow or JAX")
    from efficientnet.training.low_memory import with_recomputed_blocks

    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (8, 32, 32, 3)).astype("float32")
    targets = np.eye(4, dtype="float32")[rng.integers(0, 4, 8)]

    def train(low_memory, freezes_norms, first):
        keras.utils.set_random_seed(0)
        model = tiny(weights=None, input_shape=(32, 32, 3), classes=4, drop_connect_rate=0.4, dropout_rate=0.3)
        names = [layer.name for layer in model.layers]
        for index, layer in enumerate(model.layers):
            is_norm = isinstance(layer, keras.layers.BatchNormalization)
            layer.trainable = index >= names.index(first) and not (freezes_norms and is_norm)
        trained = keras.Model(model.input, model.output)
        trained = with_recomputed_blocks(trained) if low_memory else trained
        trained.compile(keras.optimizers.SGD(0.01), "categorical_crossentropy")
        before = {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.variables}
        calls, conv = [], model.get_layer("block2b_project_conv")
        call = conv.call
        conv.call = lambda *values: calls.append(1) or call(*values)
        losses = []
        for _ in range(2):
            losses.append(float(trained.train_on_batch(images, targets)))
        changes = {
            variable.path: keras.ops.convert_to_numpy(variable) - before[variable.path] for variable in model.variables
        }
        return losses, changes, len(calls), [variable.path for variable in trained.trainable_variables]

    return train


@pytest.mark.slow
@pytest.mark.parametrize(
    ("freezes_norms", "first"), [(False, "stem_conv"), (True, "block2a_expand_conv")], ids=["all", "the last blocks"]
)
def test_results_are_those_of_the_plain_step(freezes_norms, first, train, backend):
    plain, low = (train(low_memory, freezes_norms, first) for low_memory in (False, True))
    np.testing.assert_allclose(low[0], plain[0], rtol=1e-5)
    names = [name for name in plain[1] if "seed_generator" not in name]  # numbered through the process
    assert len(names) > 40
    for name in names:
        largest = np.abs(plain[1][name]).max()
        np.testing.assert_allclose(low[1][name], plain[1][name], rtol=0, atol=1e-3 * largest + 1e-7, err_msg=name)
    assert low[3] == plain[3]
    if backend != "jax":  # which traces it once, and copies what it traced
        assert low[2] == plain[2] + 2


@pytest.mark.slow
@pytest.mark.once
def test_a_run_saves_the_plain_model_and_goes_on_the_other_way(tmp_path):
    keras = pytest.importorskip("keras")
    from small_task import small_task
    from tiny_blocks import tiny_blocks

    from efficientnet import get_variant
    from efficientnet.training import Recipe, Task
    from efficientnet.training import train as train_run

    variant = dataclasses.replace(get_variant("b0"), name="small", width=0.25, blocks=tiny_blocks("b0"))
    recipe = Recipe(
        head_epochs=0, epochs=1, epoch_steps=0, batch_size=4, accumulate=2, unfreeze=2, precision="mixed_bfloat16"
    )
    task = Task(variant, None, small_task().data, recipe, 32, low_memory=True)
    assert train_run(task, tmp_path)["epoch"] == 1
    model = keras.models.load_model(tmp_path / "model.keras")
    assert type(model).__name__ == "Functional" and len(model.layers) > 30
    longer = dataclasses.replace(task, recipe=dataclasses.replace(recipe, epochs=2), low_memory=False)
    assert train_run(longer, tmp_path, resume=True)["epoch"] in (1, 2)


@pytest.mark.once
def test_several_processes_are_refused(tmp_path, capsys):
    from small_task import small_task

    from efficientnet.cli.main import main
    from efficientnet.training import train as train_run

    task = dataclasses.replace(small_task(), low_memory=True)
    with pytest.raises(ValueError, match="is for one process, on TensorFlow or JAX: leave it out"):
        train_run(task, tmp_path, processes=object())
    assert main(["train", "digits", "--low-memory", "--distributed", "--out", str(tmp_path)]) == 2
    assert "--low-memory is for one process" in capsys.readouterr().err
