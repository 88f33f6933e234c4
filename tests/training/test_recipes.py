"""Recipes on a model: what `compile` and `fit` get, what is frozen, what is told."""

import json

import keras
import numpy as np
import pytest

import keras_vit
from keras_vit.config import Preprocessing
from keras_vit.data import Augmentation, load
from keras_vit.errors import UsageError
from keras_vit.training import AverageWeights, averaged

SMALL = {"image_size": 32, "depth": 2, "embed_dim": 24, "num_heads": 2, "num_classes": 10}


def small(**overrides):
    return keras_vit.load("vit_tiny_patch16_224", weights=None, **{**SMALL, **overrides})


@pytest.fixture(scope="module")
def few():
    return load("digits").take(np.arange(96))


def test_fits_evaluates_and_saves_the_averages(few, tmp_path):
    model = small(depth=1)
    r = keras_vit.recipe(
        "finetune",
        model,
        train_size=len(few),
        batch_size=16,
        epochs=2,
        average=0.9,
        mixup=0.2,
        layer_decay=0.8,
    )
    model.compile(**r.compile)
    history = model.fit(
        r.augment(few), validation_data=r.evaluation(few), verbose=0, **r.fit
    ).history
    assert len(history["val_accuracy"]) == 2 and r.fit["steps_per_epoch"] == 6
    after = model.evaluate(r.evaluation(few), verbose=0, return_dict=True)
    # The last validation was of the averages, and the averages are what is left.
    assert after["loss"] == pytest.approx(history["val_loss"][-1], rel=1e-5)
    model.save(tmp_path / "m.keras")
    again = keras_vit.load(tmp_path / "m.keras")
    assert again.evaluate(r.evaluation(few), verbose=0, return_dict=True) == pytest.approx(after)
    assert int(again.optimizer.iterations) == 12
    for one, other in zip(again.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (one, other)))


def test_averages_can_be_looked_at_in_mid_run(few):
    model = small()
    r = keras_vit.recipe("finetune", model, train_size=96, epochs=1, average=0.9)
    model.compile(**r.compile)
    before = model.get_weights()
    variable = model.optimizer.state.averages[0]
    variable.assign(keras.ops.ones_like(variable))
    with averaged(model):
        assert (model.get_weights()[0] == 1).all()
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert isinstance(r.fit["callbacks"][0], AverageWeights)


def test_the_optimizer_is_the_recipes():
    model = small()
    r = keras_vit.recipe("mae-finetune", model, train_size=10_000)
    optimizer = r.compile["optimizer"]
    template = optimizer.template
    assert (template.beta_2, template.epsilon, template.weight_decay) == (0.999, 1e-8, 0.05)
    scales = {group.scale for group in optimizer.groups}
    assert scales == {0.65**i for i in range(4)}
    assert r.augmentation == Augmentation(
        crop="inception",
        flip=True,
        policy="rand-m9-mstd0.5-inc1",
        erasing=0.25,
        mixup=0.8,
        cutmix=1.0,
        label_smoothing=0.1,
    )


def test_it_prints_and_becomes_json():
    r = keras_vit.recipe("deit3", small(), train_size=1_281_167)
    assert json.loads(json.dumps(r.to_dict()))["settings"]["optimizer"] == "lamb"
    text = str(r)
    for told in ("deit3", "2204.07118", "lamb", "0.003, cosine", "policy=three", "loss"):
        assert told in text
    assert all(len(line) < 400 for line in text.splitlines())


def test_what_the_model_should_have_is_told():
    r = keras_vit.recipe("deit", small(), train_size=1000)
    assert r.notes == (
        "the recipe trains with drop_path_rate=0.1, the model has 0.0: load it with drop_path_rate=0.1",
    )
    assert not keras_vit.recipe("deit", small(drop_path_rate=0.1), train_size=1000).notes


def test_a_linear_probe_trains_the_classifier_alone():
    model = small()
    keras_vit.recipe("linear-probe", model, train_size=1000)
    assert [v.path for v in model.trainable_variables] == ["head/kernel", "head/bias"]
    assert not np.any(model.get_layer("head").kernel)


def test_lora_trains_low_rank_updates_and_the_classifier(few):
    model = small()
    r = keras_vit.recipe("lora", model, train_size=96, batch_size=32, epochs=1, lora_rank=3)
    trained = {v.path for v in model.trainable_variables}
    dense = ("attn/qkv", "attn/proj", "mlp/fc1", "mlp/fc2")
    updates = {f"blocks_{i}/{d}/lora_kernel_{x}" for i in (0, 1) for d in dense for x in "ab"}
    assert trained == updates | {"head/kernel", "head/bias"}
    frozen = {v.path: keras.ops.convert_to_numpy(v) for v in model.non_trainable_variables}
    model.compile(**r.compile)
    model.fit(r.augment(few), verbose=0, **r.fit)
    for variable in model.non_trainable_variables:
        if "seed" not in variable.path:
            np.testing.assert_array_equal(
                keras.ops.convert_to_numpy(variable), frozen[variable.path], err_msg=variable.path
            )


def test_first_blocks_can_be_frozen():
    model = small()
    r = keras_vit.recipe("finetune", model, train_size=1000, freeze_blocks=1, layer_decay=0.5)
    trained = {v.path.split("/")[0] for v in model.trainable_variables}
    assert trained == {"blocks_1", "norm", "head"}
    with pytest.raises(UsageError, match="freeze_blocks is 0 to 2"):
        keras_vit.recipe("finetune", small(), train_size=1000, freeze_blocks=3)
    assert {p.split("/")[0] for g in r.compile["optimizer"].groups for p in g.paths} == trained


def test_the_backbone_thaws_after_the_epochs_that_it_is_frozen_for(few):
    model = small(depth=1)
    r = keras_vit.recipe(
        "finetune", model, train_size=96, batch_size=32, epochs=2, freeze_epochs=1, warmup_epochs=0
    )
    model.compile(**r.compile)
    seen = []

    def note(epoch: int, logs: object) -> None:
        seen.append({v.path: keras.ops.convert_to_numpy(v) for v in model.trainable_variables})

    start = {v.path: keras.ops.convert_to_numpy(v) for v in model.trainable_variables}
    model.fit(
        r.augment(few),
        verbose=0,
        epochs=2,
        steps_per_epoch=3,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=note)],
    )
    for path, value in start.items():
        moved = [bool(np.any(value != epoch[path])) for epoch in seen]
        assert moved == [path.startswith("head"), True], path


def test_a_fresh_classifier_starts_as_the_paper_says():
    model = small()
    keras_vit.recipe("augreg", model, train_size=20_000_000)
    head = model.get_layer("head")
    assert not np.any(head.kernel) and np.all(np.asarray(head.bias) == -10.0)


def test_a_classifier_from_a_checkpoint_stays_as_it_is(tmp_path):
    keras_vit.save_weights(small(), tmp_path / "w.safetensors", layout="timm")
    model = keras_vit.load("vit_tiny_patch16_224", weights=tmp_path / "w.safetensors", **SMALL)
    keras_vit.recipe("vit-finetune", model, train_size=100)
    assert np.any(model.get_layer("head").kernel)
    fresh = keras_vit.load(
        "vit_tiny_patch16_224",
        weights=tmp_path / "w.safetensors",
        **{**SMALL, "num_classes": 3},
    )
    keras_vit.recipe("vit-finetune", fresh, train_size=100)
    assert not np.any(fresh.get_layer("head").kernel)


def test_a_model_without_a_classifier_is_refused():
    features = keras_vit.load("vit_tiny_patch16_224", weights=None, **{**SMALL, "num_classes": 0})
    with pytest.raises(UsageError, match="gives features, not classes"):
        keras_vit.recipe("finetune", features, train_size=9)


def test_a_stream_of_the_users_own_is_trained_on(few):
    import tensorflow as tf

    model = small()
    r = keras_vit.recipe("finetune", model, train_size=96, batch_size=32, steps=7, mixup=0.5)
    stream = tf.data.Dataset.from_tensor_slices((np.stack(few.images), few.labels))
    images, labels = next(iter(r.augment(stream)))
    assert images.shape == (32, 32, 32, 3) and labels.shape == (32, 10)
    steps = r.fit["epochs"] * r.fit["steps_per_epoch"]
    assert len(list(r.augment(stream).take(steps))) == steps
    assert sum(len(labels) for _, labels in r.evaluation(stream)) == 96


def test_any_keras_model_will_do(few):
    images = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, strides=4, name="conv")(images)
    x = keras.layers.Dense(10, name="out")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(images, x)
    known = Preprocessing((16, 16))
    r = keras_vit.recipe(
        "finetune", model, train_size=96, epochs=1, preprocessing=known, layer_decay=0.5
    )
    scales = {p: g.scale for g in r.compile["optimizer"].groups for p in g.paths}
    assert scales["conv/kernel"] == 0.5 and scales["out/kernel"] == 1.0
    model.compile(**r.compile)
    model.fit(r.augment(few), verbose=0, **r.fit)
