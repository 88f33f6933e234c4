"""`list`, `info`, `--help`: what can be asked without Keras."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import keras_vit

LIGHT = [
    ["list"],
    ["info", "ViT-B/16"],
    ["--help"],
    ["--version"],
    ["train", "--help"],
    ["check", "-h"],
]


def test_list_has_every_name(cli):
    lines = cli("list").out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == keras_vit.list_models()


def test_list_filters_as_list_models_does(cli):
    result = cli(
        "list",
        "vit_*",
        "deit_*",
        "--tag",
        "*in1k",
        "--exclude",
        "*384*",
        "--family",
        "vit",
        "--json",
    )
    names = [entry["name"] for entry in result.json]
    assert names == keras_vit.list_models(
        ["vit_*", "deit_*"], tag="*in1k", exclude="*384*", family="vit"
    )
    assert names


def test_list_shows_parameters_macs_size_top1_and_licence(cli):
    row = cli("list", "deit_tiny_patch16_224").out.splitlines()[1].split()
    assert row == ["deit_tiny_patch16_224.fb_in1k", "5.72M", "1.25G", "224", "72.19", "apache-2.0"]


@pytest.mark.parametrize(
    ("flag", "pretrained"), [("--pretrained", True), ("--no-pretrained", False)]
)
def test_list_by_whether_weights_are_published(cli, flag, pretrained):
    entries = cli("list", flag, "--json").json
    assert [entry["name"] for entry in entries] == keras_vit.list_models(pretrained=pretrained)


def test_list_of_nothing_says_so_beside_the_result(cli):
    result = cli("list", "zebra")
    assert (result.code, result.out) == (0, "")
    assert "no model matches" in result.err


def test_list_of_nothing_is_still_json(cli):
    assert cli("list", "zebra", "--json").json == []


def test_info_as_json_is_the_card(cli):
    card = cli("info", "vit_tiny_patch16_224", "--json").json
    assert card == json.loads(json.dumps(keras_vit.info("vit_tiny_patch16_224").to_dict()))


def test_info_in_words_has_every_fact(cli):
    card = keras_vit.info("ViT-Ti/16")
    text = cli("info", "ViT-Ti/16").out
    facts = [card.name, card.licence, card.hub_id, card.source_url, card.paper, card.description]
    facts += [*card.aliases, f"{card.parameters:,}", f"{card.macs:,}", f"{card.scores[0].top1:.2f}"]
    assert [fact for fact in facts if fact not in text] == []
    assert [name for name in card.arguments if name not in text] == []


def test_info_of_an_unknown_name_gives_the_nearest(cli):
    result = cli("info", "vit_tiny_patch16_225")
    assert result.code == 2
    assert "vit_tiny_patch16_224" in result.err


@pytest.mark.parametrize("args", LIGHT, ids=" ".join)
def test_neither_keras_nor_a_backend_is_imported(args):
    code = (
        "import sys; from keras_vit.cli import main; code = main(sys.argv[1:])\n"
        "heavy = {'keras', 'tensorflow', 'torch', 'jax', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_list_takes_less_than_three_tenths_of_a_second_of_cpu_time():
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "keras_vit.cli", "list"], capture_output=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(10)) < 0.3


def test_version(cli):
    assert cli("--version").out == f"keras-vit, version {keras_vit.__version__}\n"


def test_without_arguments_it_helps(cli):
    result = cli()
    assert result.code == 0
    assert result.out == cli("--help").out


def test_help_has_every_command(cli):
    text = cli("--help").out
    commands = [
        "list",
        "info",
        "convert",
        "predict",
        "recipes",
        "train",
        "evaluate",
        "fewshot",
        "experiment",
        "export",
        "check",
        "doctor",
    ]
    assert [name for name in commands if f"\n  {name} " not in text] == []


def test_recipes_are_listed_and_worked_out(cli):
    listed = [entry["name"] for entry in json.loads(cli("recipes", "--json").out)]
    assert {"finetune", "scratch", "deit3", "bit-hyperrule"} <= set(listed)
    asked = ["recipes", "mae-finetune", "--model", "vit_large_patch16_224", "--train-size", "51200"]
    result = cli(*asked)
    assert "50 epochs, 2,500 steps, 250 of warm-up" in result.out
    assert "loaded with drop_path_rate=0.2, global_pool=avg" in result.out
    assert json.loads(cli(*asked, "--json").out)["settings"]["layer_decay"] == 0.75
    assert cli("recipes", "deit").code == 2


def test_the_installed_command_is_the_same():
    script = Path(sys.executable).with_name("keras-vit")
    if not script.exists():
        pytest.skip("keras-vit is not installed beside this Python")
    result = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert result.stdout == f"keras-vit, version {keras_vit.__version__}\n"


def test_a_reader_that_leaves_early_sees_no_error():
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_vit.cli", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141
