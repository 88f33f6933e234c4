"""What is refused, and why, before anything is loaded."""

import pytest

from keras_vit.distributed.kinds import ADDRESSES, require_kind
from keras_vit.distributed.team import Team
from keras_vit.errors import UsageError
from keras_vit.training import plan

COMPANY = {ADDRESSES: "a:1,b:1"}


@pytest.mark.parametrize(
    ("backend", "kind"),
    [
        ("tensorflow", None),
        ("torch", None),
        ("tensorflow", "mirrored"),
        ("jax", "data-parallel"),
        ("jax", "model-parallel"),
        ("jax", "multiworker"),
    ],
)
def test_what_goes(backend, kind):
    require_kind(kind, backend, None, COMPANY)


@pytest.mark.parametrize(
    ("backend", "kind", "devices", "environment", "message"),
    [
        ("torch", "mirrored", None, {}, "not on PyTorch: set KERAS_BACKEND=jax or tensorflow"),
        ("tensorflow", "multiworker", None, COMPANY, "keras#20585.*KERAS_BACKEND=jax"),
        ("tensorflow", "data-parallel", None, {}, "take mirrored, or set KERAS_BACKEND=jax"),
        ("tensorflow", "model-parallel", None, {}, "set KERAS_BACKEND=jax"),
        ("jax", "mirrored", None, {}, "on JAX take data-parallel"),
        ("jax", "multiworker", None, {}, "multiworker needs KERAS_DISTRIBUTION_JOB_ADDRESSES"),
        ("jax", "parallel", None, {}, "must be one of mirrored, multiworker, data-parallel"),
        ("jax", "data-parallel", 2, {}, "model_devices is of model-parallel"),
        ("jax", None, 2, {}, "model_devices is of model-parallel"),
        ("jax", "model-parallel", 0, {}, "model_devices must be above 0"),
    ],
)
def test_what_does_not(backend, kind, devices, environment, message):
    with pytest.raises(UsageError, match=message):
        require_kind(kind, backend, devices, environment)


@pytest.mark.parametrize("images", [40, 41, 43, 7, 1])
@pytest.mark.parametrize(("replicas", "processes"), [(1, 1), (2, 1), (4, 1), (2, 2), (8, 2)])
def test_validation_is_shared_evenly_or_not_at_all(images, replicas, processes):
    size, shard = Team("data-parallel", replicas, processes).held_out(images, 16)
    last, here = images % size, replicas // processes
    if images % replicas == 0:
        assert shard == (0, processes) and size % replicas == 0 and last % replicas == 0
    else:  # whole on every process: each of its devices has all of every batch, or there is one
        assert shard == (0, 1) and (here == 1 or size % here or last == 0)


@pytest.mark.parametrize("images", [40, 41, 7])
def test_mirrored_validation_begins_with_an_even_batch(images):
    size, _ = Team("mirrored", 2).held_out(images, 16)
    assert size % 2 == 0 and size <= images


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 9}, "a batch of 9 images cannot be shared by 2 devices"),
        ({"average": 0.9}, "neither averages weights nor accumulates gradients"),
        ({"accumulation": 2, "batch_size": 8}, "neither averages weights nor accumulates"),
    ],
)
def test_plans_that_cannot_be_shared_are_misuse(changes, message):
    made = plan("plain", train_size=100, epochs=1, **changes)
    with pytest.raises(UsageError, match=message):
        Team("mirrored", 2).require_plan(made)
