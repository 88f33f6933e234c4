"""Groups, schedules, losses and LAMB equal timm's on the same inputs."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import optimisation_cases as cases
import pytest

import keras_vit
from keras_vit.catalogue import info
from keras_vit.training import (
    GroupedOptimizer,
    Lamb,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    WarmupDecay,
    parameter_groups,
)
from keras_vit.training.groups import Group
from keras_vit.weights.name_map import layouts_of

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def timms(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("timm")
    script = Path(__file__).with_name("timm_optimisation.py")
    subprocess.run([sys.executable, str(script), str(folder)], check=True)
    return folder


@pytest.mark.parametrize("name", cases.MODELS)
def test_rates_and_decays_of_every_variable(name, timms):
    expected = json.loads((timms / "groups.json").read_text())[name]
    model = keras_vit.load(name, weights=None, num_classes=5)
    layout = layouts_of(info(name).name_map)["timm"]
    layout = layout.for_model(v.path for v in model.weights)
    found = {
        row: [group.scale, group.decays]
        for group in parameter_groups(model, 0.65)
        for path in group.paths
        for row in layout.find(path).names
    }
    assert found.keys() == expected.keys()
    for tensor, (scale, decays) in expected.items():
        assert found[tensor][1] == decays, tensor
        assert found[tensor][0] == pytest.approx(scale, rel=1e-12), tensor


@pytest.mark.parametrize("index", range(len(cases.SCHEDULES)))
def test_schedules(index, timms):
    rate, steps, warmup, end, start, prefix = cases.SCHEDULES[index]
    schedule = WarmupDecay(rate, steps, warmup, "cosine", end, start, from_start=not prefix)
    expected = json.loads((timms / "schedules.json").read_text())[index]
    found = [float(schedule(step)) for step in range(len(expected))]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-7 * rate)


LOSSES = {
    "smoothed": (SoftmaxCrossEntropy(0.1), cases.CLASSES),
    "soft": (SoftmaxCrossEntropy(0.1), cases.SHARES),
    "binary": (SigmoidCrossEntropy(), cases.CLASSES),
    "binary_smoothed": (SigmoidCrossEntropy(0.1), cases.CLASSES),
    "binary_soft": (SigmoidCrossEntropy(), cases.SHARES),
    "binary_threshold": (SigmoidCrossEntropy(threshold=0.0), cases.SHARES),
    "binary_sum": (SigmoidCrossEntropy(sum_classes=True), cases.SHARES),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name, timms):
    loss, labels = LOSSES[name]
    found = float(
        loss(keras.ops.convert_to_tensor(labels), keras.ops.convert_to_tensor(cases.LOGITS))
    )
    assert found == pytest.approx(float(np.load(timms / "arrays.npz")[name]), rel=2e-6)


def test_lamb(timms):
    expected = np.load(timms / "arrays.npz")
    rate, decay, clip, epsilon, steps = cases.LAMB
    variables = [keras.Variable(w, name=f"w{i}") for i, w in enumerate(cases.WEIGHTS)]
    groups = [Group(1.0, i == 0, 0, (v.path,)) for i, v in enumerate(variables)]
    optimizer = GroupedOptimizer(Lamb(rate, decay, epsilon=epsilon), groups, clip_norm=clip)
    optimizer.build(variables)
    for step in range(steps):
        gradients = [keras.ops.convert_to_tensor(cases.lamb_gradient(step, i)) for i in (0, 1)]
        optimizer.apply(gradients, variables)
        for i, variable in enumerate(variables):
            np.testing.assert_allclose(
                keras.ops.convert_to_numpy(variable), expected[f"lamb_{step}_{i}"], rtol=2e-5
            )
