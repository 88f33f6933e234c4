"""Every experiment is complete at both scales, and every argument is one that its stage takes."""

import inspect

import pytest

import keras_vit
from keras_vit import catalogue
from keras_vit.errors import UsageError
from keras_vit.experiments import stages
from keras_vit.experiments.specs import experiment_of, list_experiments
from keras_vit.training.plans import list_recipes

NAMES = list(list_experiments())
SCALES = ("real", "small")


def _parameters(do: str) -> set[str]:
    known = set(inspect.signature(stages.STAGES[do]).parameters) - {"output", "seed"}
    further = {"train": keras_vit.train, "evaluate": keras_vit.evaluate}
    return known | set(inspect.signature(further[do]).parameters) if do in further else known


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", NAMES)
def test_stages_have_what_they_take(name, scale):
    made = experiment_of(name, scale)
    names = [variant.name for variant in made.variants]
    assert len(set(names)) == len(names) > 1 and made.seeds >= 1
    for variant in made.variants:
        known: set[str] = set()
        for stage in variant.stages:
            assert set(stage.arguments) <= _parameters(stage.do), (variant.name, stage.do)
            assert {"model", "data"} <= set(stage.arguments), (variant.name, stage.do)
            for value in stage.arguments.values():
                assert not (isinstance(value, str) and value.startswith("$")), value
                assert not (isinstance(value, str) and value.startswith("@")) or value[1:] in known
            model = stage.arguments["model"]
            assert model.startswith("@") or catalogue.info(model)
            assert stage.arguments.get("recipe", "plain") in list_recipes()
            known.add(stage.name or "")
    for comparison in made.comparisons:
        assert {comparison.of, comparison.against} <= set(names)


@pytest.mark.parametrize("name", NAMES)
def test_the_scales_have_the_same_variants(name):
    names = [[variant.name for variant in experiment_of(name, scale).variants] for scale in SCALES]
    assert names[0] == names[1]


@pytest.mark.parametrize("name", NAMES)
def test_the_small_scale_needs_no_download(name):
    for variant in experiment_of(name, "small").variants:
        for stage in variant.stages:
            assert stage.arguments["data"] in ("digits", "mnist5k")
            reference = str(stage.arguments["model"]).startswith("@")
            assert reference or stage.arguments.get("weights", "pretrained") != "pretrained"


def test_curves_have_a_place_for_every_variant():
    made = experiment_of("few-shot", "small")
    assert {variant.line for variant in made.variants} == {"linear", "fine-tuned"}
    assert [variant.x for variant in made.variants] == [1, 5, 10, 25] * 2
    assert made.variants[1].name == "least squares, 5 a class"
    assert made.variants[1].stages[-1].arguments["shots"] == 5


def test_changes_come_last():
    made = experiment_of("resolution", "small", {"train": {"epochs": 1, "seed": 3}})
    for variant in made.variants:
        for stage in variant.stages:
            assert (stage.arguments.get("epochs") == 1) == (stage.do == "train")


def test_an_unknown_name_gives_the_nearest():
    with pytest.raises(UsageError, match="no experiment 'positions'; the nearest are position-emb"):
        experiment_of("positions")


def test_a_change_of_what_is_not_done_is_misuse():
    with pytest.raises(
        UsageError, match="position-embedding has no fewshot to change; it has train"
    ):
        experiment_of("position-embedding", "small", {"fewshot": {"shots": 3}})
