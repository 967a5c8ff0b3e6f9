"""Training and transfer learning."""

import sys

import numpy as np
import pytest

# Compiled, models train in tests/training/test_distributed.py and tests/test_user_programs.py.
pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (8, 32, 32, 3)).astype("float32"), rng.integers(0, 4, 8)


@pytest.mark.slow
def test_a_step_changes_every_weight(tiny, keras, trainable, data):
    model = tiny(weights=None, input_shape=(32, 32, 3), classes=4, drop_connect_rate=0.0)
    before = {layer.name: layer.get_weights() for layer in model.layers}
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    loss = model.train_on_batch(*data)
    assert np.isfinite(np.asarray(loss)).all()
    for layer in model.layers:
        pairs = list(zip(before[layer.name], layer.get_weights(), strict=True))
        assert all(np.isfinite(new).all() for _, new in pairs), layer.name
        assert not pairs or any((old != new).any() for old, new in pairs), layer.name


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_a_frozen_body_stays_while_the_head_learns(tiny, keras, trainable, data):
    body = tiny(weights=None, include_top=False, pooling="avg", input_shape=(32, 32, 3))
    body.trainable = False
    head = keras.layers.Dense(4, activation="softmax")(body.output)
    model = keras.models.Model(body.input, head)
    before = body.get_weights()
    model.compile("adam", "sparse_categorical_crossentropy")
    history = model.fit(*data, epochs=3, batch_size=4, verbose=0).history["loss"]
    assert history[-1] < history[0]
    for old, new in zip(before, body.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.fixture
def task(keras, trainable, is_legacy, backend):
    """A training in two progressive stages, with all that is random, of a network that is small enough to be exact."""
    if is_legacy or not keras.__name__.startswith("keras"):
        pytest.skip("efficientnet.training is for Keras 3")
    from small_task import small_task

    return small_task()


@pytest.mark.slow
def test_interrupted_anywhere_and_resumed_to_the_bit(task, keras, tmp_path):
    from efficientnet.training import OneProcess, train
    from efficientnet.training.run_folder import RunFolder

    class Killed(Exception):
        pass

    class Interrupting(OneProcess):
        def __init__(self, steps):
            self.steps = steps

        def step(self, network, batch):
            if not self.steps:
                raise Killed
            self.steps -= 1
            return super().step(network, batch)

    best = train(task, tmp_path / "whole", keep=100)
    assert best["epoch"] in (1, 2)
    (tmp_path / "pieces").mkdir()
    for steps in (2, 3):  # within the first stage, and within the second
        with pytest.raises(Killed):
            train(task, tmp_path / "pieces", resume=True, checkpoint_steps=1, processes=Interrupting(steps))
    assert train(task, tmp_path / "pieces", resume=True) | {"seconds": 0} == best | {"seconds": 0}

    found = []
    for name in ("whole", "pieces"):
        run = RunFolder(tmp_path / name, task.settings(), resume=True)
        found.append(run.latest())
        run.close()
    assert [checkpoint.state.step for checkpoint in found] == [3, 3]
    assert found[0].arrays.keys() == found[1].arrays.keys()
    for name, array in found[0].arrays.items():
        np.testing.assert_array_equal(array, found[1].arrays[name], err_msg=name)
    models = [keras.models.load_model(tmp_path / name / "model.keras") for name in ("whole", "pieces")]
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def elsewhere(backend, monkeypatch):
    """Let NumPy read PyTorch's tensors through Keras alone, as where they are on a GPU."""
    if backend != "torch":
        pytest.skip("the other backends' tensors are read from any device")
    from torch import Tensor

    read = Tensor.__array__

    def read_for_keras(tensor, *args, **options):
        if not sys._getframe(1).f_globals["__name__"].startswith("keras."):
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
        return read(tensor, *args, **options)

    monkeypatch.setattr(Tensor, "__array__", read_for_keras)


@pytest.mark.slow
def test_on_another_device_than_the_processor(task, elsewhere, tmp_path):
    from efficientnet.training import train
    from efficientnet.training.plan import make_plan

    assert "learning rate" in make_plan(task, tmp_path)
    assert 0 < train(task, tmp_path / "run")["learning_rate"] < 1


def test_rates_of_the_papers(task):
    """10 steps an epoch: 50 of warm-up, and 0.97 after each 24."""
    import dataclasses

    from efficientnet.training import FINETUNE, V1
    from efficientnet.training.schedules import learning_rate

    rates = learning_rate(V1, "all", 350, 10)
    by_hand = {0: 0.0, 25: 0.128, 50: 0.256 * 0.97**2, 71: 0.256 * 0.97**2, 72: 0.256 * 0.97**3}
    assert {step: float(np.asarray(rates(step))) for step in by_hand} == pytest.approx(by_hand, rel=1e-5)
    # One epoch up, and half of a cosine down in the other four.
    recipe = dataclasses.replace(FINETUNE, learning_rate=3e-3, full_rate_steps=0)
    rates = learning_rate(recipe, "blocks", 5, 100)
    by_hand = {0: 0.0, 50: 1.5e-3, 100: 3e-3, 300: 1.5e-3, 500: 0.0}
    assert {step: float(np.asarray(rates(step))) for step in by_hand} == pytest.approx(by_hand, rel=1e-4, abs=1e-9)
    # Where an epoch has few steps, a number of steps up; of the fewest, half.
    for steps, top in ((9, 20), (3, 7)):
        rates = learning_rate(recipe, "blocks", 5, steps)
        by_hand = {0: 0.0, top: 3e-3, 5 * steps: 0.0}
        assert {step: float(np.asarray(rates(step))) for step in by_hand} == pytest.approx(by_hand, rel=1e-4, abs=1e-9)


@pytest.mark.slow
def test_decay_is_on_kernels_only(task, keras):
    import dataclasses

    from efficientnet.training import FINETUNE, V1
    from efficientnet.training.schedules import make_optimizer

    def network():
        x = inputs = keras.Input((8, 8, 3))
        x = keras.layers.Conv2D(4, 3, name="block1a_expand_conv")(x)
        x = keras.layers.BatchNormalization(name="block1a_expand_bn", gamma_initializer="random_normal")(x)
        return keras.Model(inputs, keras.layers.Dense(2, name="probs", bias_initializer="ones")(x))

    # In the loss: half of the sum of squares, times the decay.
    model = network()
    make_optimizer(dataclasses.replace(V1, weight_decay=0.1), 0.1, model.trainable_variables, 10)
    kernels = [layer.get_weights()[0] for layer in (model.layers[1], model.layers[3])]
    decay = sum(float(loss) for loss in model.losses)
    assert decay == pytest.approx(0.05 * sum(np.sum(kernel**2) for kernel in kernels), rel=1e-5)

    # Beside the gradient, which is 0 here: weight times 1 - rate x decay.
    model = network()
    before = model.get_weights()
    optimizer = make_optimizer(
        dataclasses.replace(FINETUNE, weight_decay=0.1, layer_decay=1.0), 0.5, model.trainable_variables, 10
    )
    optimizer.apply([keras.ops.zeros(variable.shape) for variable in model.trainable_variables])
    for variable, old in zip(model.weights, before, strict=True):
        factor = 0.95 if variable.name == "kernel" else 1.0
        np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), factor * old, rtol=1e-6, err_msg=variable.path)

    # Adam's first step is the rate, whatever the gradient: here halved for the block.
    model = network()
    before = model.get_weights()
    optimizer = make_optimizer(
        dataclasses.replace(FINETUNE, weight_decay=0.0, layer_decay=0.5), 0.1, model.trainable_variables, 10
    )
    optimizer.apply([keras.ops.ones(variable.shape) for variable in model.trainable_variables])
    steps = {v.path: np.unique(np.round(old - keras.ops.convert_to_numpy(v), 5))
             for v, old in zip(model.weights, before, strict=True) if v.trainable}  # fmt: skip
    assert {path: step.tolist() for path, step in steps.items()} == {
        path: [pytest.approx(0.1 if "probs" in path else 0.05, abs=2e-5)] for path in steps
    }


@pytest.mark.slow
def test_head_then_blocks(tiny, task, keras, tmp_path):
    """The stages of ``finetune``, on a real network: what is frozen stays, and the best model is the one saved."""
    import dataclasses

    from efficientnet import get_variant
    from efficientnet.family.variants import V1_BLOCKS
    from efficientnet.keras_files.metadata import read_class_names, read_preprocessing, read_recipe
    from efficientnet.training import FINETUNE, Task, train
    from efficientnet.training.recipes import to_json

    variant = dataclasses.replace(get_variant("b0"), name="mine", width=0.25, blocks=V1_BLOCKS[:2])
    recipe = dataclasses.replace(
        FINETUNE, epochs=2, head_steps=0, epoch_steps=0, batch_size=6, unfreeze=1, warmup_epochs=0
    )
    train(Task(variant, None, task.data, recipe, 32), tmp_path)
    with (
        np.load(tmp_path / "checkpoint-0-00000002.npz") as head,
        np.load(tmp_path / "checkpoint-1-00000002.npz") as blocks,
    ):
        changed = {name for name in head.files if name.startswith("model/") and (head[name] != blocks[name]).any()}
    layers = {name.split("/")[1] for name in changed} - {"random"}
    assert layers == {"block2b_expand_conv", "block2b_dwconv", "block2b_se_reduce", "block2b_se_expand",
                      "block2b_project_conv", "top_conv", "probs"}  # fmt: skip
    path = tmp_path / "model.keras"
    assert read_class_names(path) == ["a", "b"]
    assert read_preprocessing(path) == "none"
    assert read_recipe(path) == to_json(recipe)
    x = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    assert keras.models.load_model(path).predict(x, verbose=0).shape == (2, 2)
