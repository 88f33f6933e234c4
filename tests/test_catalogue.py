"""The catalogue: every name, every card, the listing, the errors, and what timm says of the same models."""

import inspect
import json
import re
import runpy
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import keras_vit
from keras_vit import catalogue, zoo
from keras_vit.catalogue import labels
from keras_vit.errors import UnknownModelError, UsageError

NAMES = keras_vit.list_models()
IN_TIMM_FAMILIES = {
    "vit": 43,
    "deit": 8,
    "deit3": 16,
    "bit": 15,
    "hybrid": 12,
    "clip": 87,
    "siglip": 71,
    "vit_timm": 48,
    "flexivit": 13,
    "dinov2": 8,
    "radio": 6,
    "dino": 4,
    "ijepa": 4,
    "tips": 4,
    "mae": 3,
    "mobileclip": 3,
    "eva02": 21,
    "dinov3": 17,
    "rope_vit": 16,
    "perception_encoder": 14,
    "eva": 6,
    "sapiens2": 5,
    "lingbot": 4,
}
IN_TIMM = keras_vit.list_models(family=IN_TIMM_FAMILIES)
ZOO = Path(zoo.__file__).parent
OWN_REPOSITORIES = {
    "vit_base_mci_224.apple_mclip": "apple/mobileclip_b_timm",
    "vit_base_mci_224.apple_mclip_lt": "apple/mobileclip_b_lt_timm",
}
LICENCES = {
    *("apache-2.0", "mit", "cc-by-nc-4.0", "apple-ascl", "apple-amlr"),
    *("nvidia-open-model-license", "not stated"),
    *("dinov3-license", "fair-noncommercial-research-license", "sapiens2-license"),
}
# Class counts that have names; others are of sets without, or the width of a space shared with texts.
NAMED = (1000, 11221, 11821, 21841, 21843)
OURS_ALONE = (
    *("representation_size", "drop_path_rate", "drop_path_schedule", "weight_init"),
    "rope_rounded_periods",
)

# What timm resizes otherwise when it loads these families; tests/parity holds them to it.
OF_LOADING = dict.fromkeys(("flexivit", "radio"), ("pos_resize", "patch_resize"))

each_name = pytest.mark.parametrize("name", NAMES)
each_name_of_timm = pytest.mark.parametrize("name", IN_TIMM)


def cards():
    return [keras_vit.info(name) for name in NAMES]


# Cards


def test_timms_families_are_complete():
    families = Counter(keras_vit.info(name).family for name in IN_TIMM)
    assert families == IN_TIMM_FAMILIES


@each_name
def test_name_parses_and_round_trips(name):
    card = keras_vit.info(name)
    assert card.name == name == f"{card.architecture}.{card.tag}"


@each_name
def test_card_has_a_licence_a_paper_and_words(name):
    card = keras_vit.info(name)
    assert card.licence in LICENCES
    assert card.paper.startswith("https://arxiv.org/abs/")
    assert card.title
    assert card.description


@each_name
def test_pretrained_means_a_hub_file_with_a_source(name):
    card = keras_vit.info(name)
    if card.family == "ijepa":  # its files are at the authors' alone
        assert not card.pretrained
        assert card.source_url.startswith("https://dl.fbaipublicfiles.com/ijepa/")
        return
    assert card.pretrained == (card.tag != "untrained")
    if card.family == "cvt":  # timm has none
        assert re.fullmatch(r"microsoft/cvt-(13|21|w24)(-384)?(-22k)?", card.hub_id)
        assert card.hub_file == "pytorch_model.bin"
    else:
        # A tower under two activations is one file, under the name of timm's default.
        owner = "belfner" if card.family == "lingbot" else "timm"
        repository = OWN_REPOSITORIES.get(name, f"{owner}/{name.replace('_quickgelu_', '_')}")
        assert card.pretrained == (card.hub_id == repository)
        assert card.pretrained == (card.hub_file == "model.safetensors")
    assert card.pretrained == bool(card.source_url and card.source_url.startswith("https://"))


@each_name
def test_label_set_is_as_long_as_the_head(name):
    card = keras_vit.info(name)
    if card.labels is not None:
        assert len(labels(card.labels)) == card.num_classes
    assert (card.labels is not None) == (card.num_classes in NAMED and card.pretrained)


@each_name
def test_fine_tuned_on_imagenet_means_a_published_score(name):
    card = keras_vit.info(name)
    assert bool(card.scores) == (card.num_classes == 1000 and card.pretrained)
    for score in card.scores:
        assert score.dataset == "imagenet1k"
        assert (score.image_size,) * 2 == card.arguments["image_size"]
        assert 30 < score.top1 < 91
        assert score.top5 is None or score.top1 < score.top5 < 100
        assert score.source.startswith("https://github.com/")


@each_name
def test_card_is_plain_json(name):
    data = keras_vit.info(name).to_dict()
    assert json.loads(json.dumps(data))["name"] == name


@each_name
def test_preprocessing_has_the_size_of_the_model(name):
    card = keras_vit.info(name)
    assert card.preprocessing.image_size == card.arguments["image_size"]
    assert 0 < card.preprocessing.crop_pct <= 1


def test_cards_do_not_share_what_can_be_changed():
    keras_vit.info("ViT-B/16").arguments["depth"] = 1
    keras_vit.info("ViT-B/16").numerics_arguments["source"]["act"] = "relu"
    card = keras_vit.info("ViT-B/16")
    assert card.arguments["depth"] == 12
    assert card.arguments_for("source")["act"] == "gelu_tanh"


# Arguments


@each_name
def test_arguments_are_those_of_the_builder(name):
    """What the builder requires, some of its options, and the patch resize that only loading needs."""
    card = keras_vit.info(name)
    required, optional = builder_arguments(card.builder)
    assert required < set(card.arguments)
    assert set(card.arguments) - required - optional <= {"patch_resize"}


def builder_arguments(builder):
    """(required, optional) keyword arguments."""
    from keras_vit.models.factory import builder_of

    parameters = inspect.signature(builder_of(builder)).parameters.values()
    required = {p.name for p in parameters if p.default is inspect.Parameter.empty}
    return required, {p.name for p in parameters} - required


@each_name
def test_only_optional_arguments_are_none(name):
    arguments = keras_vit.info(name).arguments
    assert {key for key, value in arguments.items() if value is None} <= {
        *("init_values", "representation_size", "num_kv_heads", "rope", "rope_reference_grid"),
        *("attn_pool_heads", "attn_pool_ratio"),
    }


@each_name
def test_all_numerics_set_the_same_arguments(name):
    card = keras_vit.info(name)
    assert card.numerics in card.numerics_arguments
    assert set(card.numerics_arguments) <= {"timm", "source", "huggingface"}
    for numerics in card.numerics_arguments:
        assert set(card.arguments_for(numerics)) == set(card.arguments)


@pytest.mark.parametrize("path", sorted(ZOO.glob("*.toml")), ids=lambda path: path.stem)
def test_no_argument_stands_both_in_numerics_and_outside(path):
    document = catalogue._catalogue().families[path.stem]
    numerics = {key for name, t in document["numerics"].items() if name != "default" for key in t}
    tables = [document["defaults"], *document["architectures"].values()]
    tables += [
        facts for entry in document["architectures"].values() for facts in entry["tags"].values()
    ]
    assert not [key for table in tables for key in table if key in numerics]


def test_default_numerics_are_timms():
    card = keras_vit.info("vit_base_patch16_224.augreg_in21k")
    assert card.numerics == "timm"
    assert card.arguments_for() == card.arguments_for("timm") == card.arguments


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("vit", ("gelu_tanh", 1e-6, "linear_align_corners", "bilinear", "jax", None)),
        ("deit", ("gelu", 1e-6, "bicubic", "bicubic_antialias", "timm", None)),
        ("deit3", ("gelu", 1e-6, "bicubic", "bicubic_antialias", "timm", 1e-4)),
    ],
)
def test_source_numerics(family, expected):
    """vit_jax models_vit.py and checkpoint.py, big_vision flexi/vit.py; deit main.py and models_v2.py."""
    keys = ("act", "norm_eps", "pos_resize", "patch_resize", "weight_init", "init_values")
    for name in keras_vit.list_models(family=family):
        arguments = keras_vit.info(name).arguments_for("source")
        assert tuple(arguments[key] for key in keys) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vit_small_patch14_dinov2.lvd142m", ("gelu", "bicubic_offset")),
        ("vit_small_patch14_reg4_dinov2.lvd142m", ("gelu", "bicubic_antialias")),
        ("vit_giant_patch14_dinov2.lvd142m", ("silu", "bicubic_offset")),
        ("vit_base_patch16_224.dino", ("gelu", "bicubic_offset")),
        ("vit_base_patch16_224.mae", ("gelu", "bicubic")),
        ("vit_base_patch16_clip_224.openai", ("quick_gelu", "bicubic_antialias")),
        ("vit_base_patch16_clip_224.laion2b", ("gelu", "bicubic_antialias")),
        ("vit_base_patch16_clip_224.openai_ft_in1k", ("gelu", "bicubic_antialias")),
        ("vit_base_patch16_siglip_224.webli", ("gelu_tanh", "linear_align_corners")),
        ("vit_so400m_patch14_siglip_378.webli_ft_in1k", ("gelu", "linear_align_corners")),
        ("flexivit_small.1200ep_in1k", ("gelu_tanh", "bilinear_antialias")),
    ],
)
def test_source_numerics_of_a_checkpoint(name, expected):
    arguments = keras_vit.info(name).arguments_for("source")
    assert (arguments["act"], arguments["pos_resize"]) == expected


def test_a_family_may_leave_an_architectures_default_to_another():
    assert keras_vit.info("vit_base_patch16_224").family == "vit"
    assert keras_vit.info("vit_base_patch16_224.mae").family == "mae"


def test_cvt_has_seven_checkpoints_of_three_depths():
    found = {name: keras_vit.info(name) for name in keras_vit.list_models(family="cvt")}
    assert len(found) == len({card.hub_id for card in found.values()}) == 7
    assert {card.parameters for card in found.values()} == {19_997_480, 31_622_696, 277_196_392}
    with pytest.raises(UsageError, match="must be 'source' or 'huggingface' for cvt_13"):
        keras_vit.info("CvT-13").arguments_for("timm")


@pytest.mark.parametrize("name", keras_vit.list_models(family="cvt"))
def test_cvt_is_resized_as_its_authors_do(name):
    """microsoft/CvT lib/dataset/transformas/build.py: a crop at 224, none at 384."""
    values = keras_vit.info(name).preprocessing
    expected = ("center", 0.875) if "224" in name else ("squash", 1.0)
    assert (values.crop_mode, values.crop_pct) == expected
    assert (values.interpolation, values.mean[0], values.std[0]) == ("bicubic", 0.485, 0.229)


@pytest.mark.parametrize(
    ("family", "timms", "sources"),
    [
        (
            "bit",
            {"norm_eps": 1e-5, "conv_eps": 1e-8, "conv_form": "variance"},
            {"norm_eps": 1e-5, "conv_eps": 1e-10, "conv_form": "variance"},
        ),
        (
            "hybrid",
            {"stem_norm_eps": 1e-5, "conv_eps": 1e-8, "conv_form": "variance", "act": "gelu"},
            {"stem_norm_eps": 1e-6, "conv_eps": 1e-5, "conv_form": "deviation", "act": "gelu_tanh"},
        ),
    ],
)
def test_numerics_of_the_resnets(family, timms, sources):
    """timm std_conv.py, norm_act.py; bit_pytorch models.py; vit_jax models_resnet.py and flax."""
    for name in keras_vit.list_models(family=family):
        card = keras_vit.info(name)
        assert timms.items() <= card.arguments_for("timm").items()
        assert sources.items() <= card.arguments_for("source").items()


def test_unknown_numerics_is_an_error():
    with pytest.raises(UsageError, match="must be 'timm' or 'source' for vit_tiny"):
        keras_vit.info("ViT-Ti/16").arguments_for("jax")


# Listing


def test_list_is_sorted_naturally():
    names = keras_vit.list_models("vit_base*", family=("vit", "hybrid"))
    bases = [keras_vit.info(name).architecture for name in names]
    assert list(dict.fromkeys(bases)) == [
        "vit_base_patch8_224",
        "vit_base_patch16_224",
        "vit_base_patch16_384",
        "vit_base_patch32_224",
        "vit_base_patch32_384",
        "vit_base_r26_s32_224",
        "vit_base_r50_s16_224",
        "vit_base_r50_s16_384",
    ]


def test_list_has_no_name_twice():
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"pattern": "vit_tiny*patch*384*"}, ["vit_tiny_patch16_384.augreg_in21k_ft_in1k"]),
        (
            {"pattern": "vit_tiny_patch16_224"},
            ["vit_tiny_patch16_224.augreg_in21k", "vit_tiny_patch16_224.augreg_in21k_ft_in1k"],
        ),
        (
            {"pattern": ["test_*", "deit_tiny_patch*"], "exclude": "test_vit?"},
            ["deit_tiny_patch16_224.fb_in1k", "test_vit.r160_in1k"],
        ),
        (
            {"pretrained": False, "family": ("vit", "hybrid")},
            [
                "vit_base_r26_s32_224.untrained",
                "vit_giant_patch14_224.untrained",
                "vit_gigantic_patch14_224.untrained",
                "vit_huge_patch14_224.untrained",
                "vit_large_patch14_224.untrained",
            ],
        ),
        (
            {"pattern": "vit_large*", "tag": "augreg*", "exclude": ["*384*", "*r50*"]},
            ["vit_large_patch16_224.augreg_in21k", "vit_large_patch16_224.augreg_in21k_ft_in1k"],
        ),
        (
            {"family": "deit3", "pattern": "*huge*", "tag": ["nothing", "fb_in1k"]},
            ["deit3_huge_patch14_224.fb_in1k"],
        ),
        ({"pattern": "no_such_model"}, []),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_list_filters(query, expected):
    assert keras_vit.list_models(**query) == expected


def test_list_by_family_and_pretrained_partition_the_names():
    families = {card.family for card in cards()}
    by_family = [name for family in families for name in keras_vit.list_models(family=family)]
    assert sorted(by_family) == sorted(NAMES)
    with_weights = keras_vit.list_models(pretrained=True)
    assert sorted(with_weights + keras_vit.list_models(pretrained=False)) == sorted(NAMES)


def test_unknown_family_is_an_error():
    with pytest.raises(UsageError, match=r"unknown family 'vitt': there are .*deit, deit3, .*vit"):
        keras_vit.list_models(family="vitt")


# Names


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("ViT-B/16", "vit_base_patch16_224.augreg2_in21k_ft_in1k"),
        ("vit-b_16", "vit_base_patch16_224.augreg2_in21k_ft_in1k"),
        ("ViT-Ti/16-384", "vit_tiny_patch16_384.augreg_in21k_ft_in1k"),
        ("ViT-H/14", "vit_huge_patch14_224.orig_in21k"),
        ("DeiT-B", "deit_base_patch16_224.fb_in1k"),
        ("DeiT-Ti distilled", "deit_tiny_distilled_patch16_224.fb_in1k"),
        ("DeiT-B⚗↑384", "deit_base_distilled_patch16_384.fb_in1k"),
        ("DeiT-III-L-384-21k", "deit3_large_patch16_384.fb_in22k_ft_in1k"),
        ("vit_large_patch14_224", "vit_large_patch14_224.untrained"),
        ("R50+ViT-B/16", "vit_base_r50_s16_224.orig_in21k"),
        ("r50+vit-b_16-384", "vit_base_r50_s16_384.orig_in21k_ft_in1k"),
        ("R+ViT-Ti/16", "vit_tiny_r_s16_p8_224.augreg_in21k_ft_in1k"),
        ("BiT-M-R50x1", "resnetv2_50x1_bit.goog_in21k"),
        ("BiT-M-R152x4-ILSVRC2012", "resnetv2_152x4_bit.goog_in21k_ft_in1k"),
        ("CvT-13", "cvt_13_224.ms_in1k"),
        ("CvT-13-384", "cvt_13_384.ms_in1k"),
        ("CvT-W24", "cvt_w24_384.ms_in22k_ft_in1k"),
        ("microsoft/cvt-21-384-22k", "cvt_21_384.ms_in22k_ft_in1k"),
        ("hf-hub:timm/test_vit.r160_in1k", "test_vit.r160_in1k"),
        ("hf_hub:timm/test_vit.r160_in1k", "test_vit.r160_in1k"),
        ("timm/test_vit.r160_in1k", "test_vit.r160_in1k"),
    ],
)
def test_info_takes_other_spellings(spelling, name):
    assert keras_vit.info(spelling).name == name


def aliases():
    families = catalogue._catalogue().families.values()
    return [
        (alias, target) for document in families for alias, target in document["aliases"].items()
    ]


@pytest.mark.parametrize(("alias", "target"), aliases())
def test_alias_resolves(alias, target):
    card = keras_vit.info(alias)
    assert target in (card.name, card.architecture)
    assert alias in card.aliases


def test_no_two_aliases_read_the_same():
    folded = Counter(catalogue._fold(alias) for alias, _ in aliases())
    assert max(folded.values()) == 1
    assert not set(folded) & {catalogue._fold(card.architecture) for card in cards()}


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("vit_bse_patch16_224", "vit_base_patch16_224"),
        ("vit_tiny_patch16_224.augreg", "vit_tiny_patch16_224.augreg_in21k"),
        ("ViT-B16", "ViT-B/16"),
        ("deit_tiny_distiled_patch16_224", "deit_tiny_distilled_patch16_224"),
        ("", ""),
    ],
)
def test_unknown_name_gives_the_three_nearest(wrong, nearest):
    with pytest.raises(UnknownModelError) as error:
        keras_vit.info(wrong)
    message = str(error.value)
    assert "\n" not in message
    suggested = message.partition("the nearest names are ")[2].split(", ")
    assert len(suggested) == 3
    assert suggested[0].startswith(nearest)
    for name in suggested:
        assert keras_vit.info(name)


@pytest.mark.parametrize("file", sorted((ZOO / "labels").glob("*.txt")), ids=lambda file: file.stem)
def test_labels_are_distinct_short_names(file):
    names = labels(file.stem)
    assert len(set(names)) == len(names)
    assert all(name == name.strip() and 0 < len(name) < 80 for name in names)


@pytest.mark.parametrize(
    ("set_name", "index", "name"),
    [
        ("imagenet1k", 0, "tench"),
        ("imagenet1k", 134, "crane bird"),
        ("imagenet1k", 517, "crane"),
        ("imagenet1k", 999, "toilet tissue"),
        ("imagenet21k", 0, "organism"),
    ],
)
def test_labels_are_in_the_order_of_the_logits(set_name, index, name):
    assert labels(set_name)[index] == name


def test_unknown_label_set_is_an_error():
    with pytest.raises(
        UsageError, match=r"unknown label set 'coco': there are .*imagenet1k, imagenet21k"
    ):
        labels("coco")


# Cost


def test_listing_imports_neither_keras_nor_tensorflow():
    program = (
        "import keras_vit, sys; keras_vit.list_models(); keras_vit.info('ViT-B/16').to_dict();"
        "print([m for m in ('keras', 'tensorflow', 'torch', 'jax', 'numpy') if m in sys.modules])"
    )
    assert run(program).strip() == "[]"


def test_listing_takes_under_300_ms_of_processor_time():
    """The best of three, interpreter included, so that a busy machine is not a slow catalogue."""
    program = (
        "import keras_vit, os; keras_vit.list_models(); t = os.times(); print(t.user + t.system)"
    )
    assert min(float(run(program)) for _ in range(3)) < 0.3


def run(program):
    """What a fresh interpreter prints."""
    command = [sys.executable, "-P", "-c", program]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


# timm


@pytest.fixture(scope="module")
def timm(request):
    """What timm says of the names that are to be tested."""
    asking = (item for item in request.session.items if "timm" in getattr(item, "fixturenames", ()))
    return ask_timm(sorted({item.callspec.params["name"] for item in asking}))


def ask_timm(names, *options):
    """What timm says of models, from a process without TensorFlow."""
    script = Path(__file__).with_name("timm_configurations.py")
    command = [sys.executable, "-P", script, *options]
    asked = json.dumps(names)
    process = subprocess.run(command, input=asked, check=True, capture_output=True, text=True)
    return json.loads(process.stdout)


@pytest.mark.parity
@pytest.mark.in_turn(15)
@each_name_of_timm
def test_default_tag_is_timms(timm, name):
    architecture = name.partition(".")[0]
    assert keras_vit.info(architecture).tag == timm[name]["default_tag"]


@pytest.mark.parity
@pytest.mark.in_turn(15)
@each_name_of_timm
def test_checkpoint_is_timms(timm, name):
    card, theirs = keras_vit.info(name), timm[name]["configuration"]
    ours = card.preprocessing
    assert (theirs["architecture"], theirs["tag"]) == (card.architecture, card.tag)
    assert [3, *ours.image_size] == theirs["input_size"]
    assert (list(ours.mean), list(ours.std)) == (theirs["mean"], theirs["std"])
    assert ours.interpolation == theirs["interpolation"]
    assert ours.crop_pct == theirs["crop_pct"]
    assert ours.crop_mode == theirs["crop_mode"]
    assert card.num_classes == theirs["num_classes"]
    assert card.licence == (theirs.get("license") or "not stated")
    assert card.hub_id == theirs.get("hf_hub_id")
    assert not theirs["url"] or card.source_url == theirs["url"]


@pytest.mark.parity
@pytest.mark.in_turn(15)
@each_name_of_timm
def test_architecture_is_timms(timm, name):
    """All arguments but those that timm has no sign of in a model."""
    ours = keras_vit.info(name).arguments_for("timm")
    theirs = timm[name]["arguments"]
    for ours_alone in (*OURS_ALONE, *OF_LOADING.get(keras_vit.info(name).family, ())):
        ours.pop(ours_alone, None)
        theirs.pop(ours_alone, None)
    assert json.loads(json.dumps(ours)) == theirs


@pytest.mark.parity
@pytest.mark.in_turn(15)
@each_name_of_timm
def test_parameters_are_timms(timm, name):
    assert keras_vit.info(name).parameters == timm[name]["parameters"]


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.in_turn(15)
@pytest.mark.parametrize("first", range(0, len(IN_TIMM), 30))
def test_macs_are_those_that_torch_counts(first):
    """torch.utils.flop_counter on timm's models, fused attention and all; thirty at a time."""
    names = IN_TIMM[first : first + 30]
    theirs = ask_timm(names, "--macs")
    ours = {name: keras_vit.info(name).macs for name in names}
    assert ours == {name: theirs[name]["macs"] for name in names}


@pytest.mark.parity
def test_labels_are_in_torchvisions_order():
    program = "import json; from torchvision.models._meta import _IMAGENET_CATEGORIES as names;"
    theirs = json.loads(run(program + "print(json.dumps(names))"))
    assert [name.lower() for name in labels("imagenet1k")] == [name.lower() for name in theirs]


def test_the_tables_of_models_are_the_catalogues() -> None:
    """`python tools/write_models.py` writes them."""
    root = Path(__file__).parents[1]
    writer = runpy.run_path(str(root / "tools" / "write_models.py"))
    text = (root / "README.md").read_text(encoding="utf-8")
    assert writer["readme"](text) == text
    assert writer["models"]() == (root / "zoo" / "README.md").read_text(encoding="utf-8")


def test_a_short_name_of_a_source_means_one_publication() -> None:
    pairs = {(score.measured_by, score.source) for card in cards() for score in card.scores}
    assert len(pairs) == len(dict(pairs))
