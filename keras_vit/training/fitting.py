"""`train`: a model and labelled images in, one whole `.keras` file out, or the folder of a run."""

import dataclasses
import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vit import catalogue
from keras_vit.config import ModelConfig, Preprocessing
from keras_vit.data.dataset import Dataset
from keras_vit.data.records import Records
from keras_vit.data.sources import load
from keras_vit.data.transforms import eval_batch, normalize
from keras_vit.distillation.learning import Distillation, distillation_of, require_distillation
from keras_vit.distributed.kinds import require_distribution
from keras_vit.distributed.team import join
from keras_vit.errors import UsageError
from keras_vit.loading import load as load_model
from keras_vit.training.classifiers import (
    ModelLike,
    class_count,
    configuration,
    known_preprocessing,
)
from keras_vit.training.determinism import require_determinism
from keras_vit.training.environment import environment
from keras_vit.training.image_range import range_warning
from keras_vit.training.plans import PLAIN, plan
from keras_vit.training.recipes import Recipe
from keras_vit.training.recipes import recipe as make_recipe
from keras_vit.training.run import Listeners, Work
from keras_vit.training.run_folder import RunFolder, is_folder, plain, require_run
from keras_vit.training.session import Session
from keras_vit.training.training_report import Epoch, TrainingReport

_FRESH_RATE = 1e-3  # of that recipe, for a model that starts from scratch
_SPLITS = ("train", "validation")
_LOOKED_AT = 64  # training images whose range is checked


def train(
    model: str | keras.Model,
    data: Any,
    output: str | Path,
    *,
    recipe: str | None = None,
    settings: Mapping[str, Any] | None = None,
    weights: str | Path | None = "pretrained",
    image_size: int | tuple[int, int] | None = None,
    labels: Sequence[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    shift: float | None = None,
    flip: bool | None = None,
    validation: Any = None,
    fraction: float = 0.2,
    on_corrupt: str = "fail",
    classes: Sequence[str] | str | Path | None = None,
    download: bool = False,
    seed: int = 0,
    overwrite: bool = False,
    resume: bool = False,
    checkpoint_steps: int | None = None,
    checkpoint_seconds: float | None = 600.0,
    deterministic: bool = False,
    preprocessing: Preprocessing | None = None,
    teacher: ModelLike | None = None,
    distillation: str | None = None,
    alpha: float | None = None,
    temperature: float | None = None,
    teacher_preprocessing: Preprocessing | None = None,
    distribute: str | None = None,
    model_devices: int | None = None,
    progress: Callable[[Epoch], None] | None = None,
    on_step: Callable[[int, int], None] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> TrainingReport:
    """Fine-tune a classifier with `fit`, or train it from scratch, and save it.

    The saved model has the last epoch's weights, averaged ones where the recipe averages, the class
    names, the preprocessing, and how it was trained (`model.config.training`). It appears under its
    name when it is whole and gives the same logits after reopening.

    A `.keras` output is that one file, and an interrupted run leaves nothing. An output without a
    suffix is a run folder: `model.keras`, `report.html`, `log.csv`, `tensorboard/`, `run.json` (the
    whole configuration) and `checkpoints/`. Killed at any moment, such a run goes on with `resume=True`
    from its newest checkpoint as if it had never stopped: weights, optimizer, averages, random numbers,
    the order of the data, the logs. The state of `callbacks` is not kept.

    Args:
        model: a catalogue name, or a Keras model with one logit a class, which is trained in place.
        data: as in `keras_vit.data.load`: `"digits"`, a folder, `"tfds:cifar10"`, arrays, ...
        output: the file to write, `.keras`, or a run folder.
        recipe: `keras_vit.list_recipes()` has them. None is `"plain"`: AdamW at 1e-3 from scratch and
            1e-4 for loaded weights, a warm-up of one epoch, cosine decay, gradients clipped to norm 1.
            A model made by its name gets the arguments that the recipe trains with, such as
            `drop_path_rate`, unless `overrides` has them.
        settings: further settings of the recipe, as in `keras_vit.recipe`: `{"mixup": 0.2}`.
        weights, image_size: as in `keras_vit.load`, for a name. `weights=None` trains from scratch.
        labels: class names instead of the data's, in the same order.
        overrides: further arguments of the model's builder, for a name: `{"drop_path_rate": 0.1}`.
        epochs: passes over the training images. batch_size: images a step.
        learning_rate: the highest. weight_decay: of kernels alone.
        shift: random moves of training images, as a share of their side.
        flip: mirror training images at random; wrong for digits and letters.
        validation: other data to validate with; by default the data's own validation split.
        fraction, on_corrupt, classes, download: as in `keras_vit.data.load`. The images held out depend
            on `fraction` alone and not on `seed`, so that `evaluate` finds them again.
        seed: of fresh weights, order, augmentation and dropout (`keras.utils.set_random_seed`).
        overwrite: whether the file, or the run in the folder, may be replaced.
        resume: go on with the run in the folder; where there is none, begin it. Other data, another
            configuration or another backend is refused.
        checkpoint_steps, checkpoint_seconds: checkpoints inside epochs, every so many steps or seconds;
            None for none. Every epoch ends with one.
        deterministic: compute so that a repeated run gives the same bits, at some cost in speed, for
            the rest of the process; see `keras_vit.training.determinism`.
        preprocessing: of a Keras model that carries none.
        teacher: whatever `keras_vit.evaluate` takes: a Keras model, a `.keras`, `.tflite` or `.onnx` file,
            a SavedModel or a name. The model learns from its answers to the same changed images, too; of
            a distilled DeiT it is the distillation token that learns from them.
        distillation, alpha, temperature: of the teacher, as in `keras_vit.distillation.Distillation`:
            `"hard"` by default, 0.5 and, of `"soft"`, 1.0.
        teacher_preprocessing: of a teacher that carries none.
        distribute: train a model, by its name, on several devices: `"mirrored"` on TensorFlow (all GPUs of
            this machine); on JAX `"data-parallel"`, `"model-parallel"` (layers split over devices), and
            `"multiworker"`: data-parallel over processes, perhaps on several machines, each with
            KERAS_DISTRIBUTION_JOB_ADDRESSES, _NUM_PROCESSES and _PROCESS_ID in its environment and the
            run folder on a disk that they share. `batch_size` is that of all devices together.
        model_devices: that share one copy of the model under `"model-parallel"`; by default all.
        progress: called after every epoch. on_step: called with (steps done, steps) after every step.
        callbacks: Keras callbacks for `fit`.

    Returns:
        The report; of a run that is finished already and asked to go on, the one that it ended with.

    Raises:
        UsageError: an output that exists or cannot be, other classes than the data's, a wrong
            argument, a run of another configuration.
        KerasVitError: damaged data, a loss that is not finite, an output that cannot be written.
        KeyboardInterrupt: as it came.
    """
    output = Path(output)
    require_run(output, resume, overwrite)
    _require_positive(checkpoint_steps=checkpoint_steps, checkpoint_seconds=checkpoint_seconds)
    require_distillation(teacher, distillation, alpha, temperature)
    require_distribution(distribute, model_devices)
    found = {"on_corrupt": on_corrupt, "classes": classes, "download": download}
    training, held_out = _datasets(data, validation, labels, fraction, found)
    team = join(distribute, model_devices)
    require_determinism(deterministic)
    keras.utils.set_random_seed(seed)
    named = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "shift": shift,
        "flip": flip,
    }
    chosen: dict[str, Any] = {k: value for k, value in named.items() if value is not None}
    chosen |= {**(settings or {}), "seed": seed, "train_size": len(training)}
    with team.scope():
        if isinstance(model, keras.Model):
            _require_no_building(image_size, overrides, distribute)
        else:
            changes = {**(overrides or {}), "image_size": image_size}
            model = _loaded(model, weights, training.class_names, changes, recipe or PLAIN, chosen)
        config = _configuration(model, preprocessing, training.class_names)
        if recipe is None and not config.weights:
            chosen = {"learning_rate": _FRESH_RATE, **chosen}
        made = make_recipe(recipe or PLAIN, model, preprocessing=preprocessing, **chosen)
    team.require_plan(made.plan)
    shown, part = team.held_out(len(held_out), made.plan.loaded_batch)
    _warn(training, config.preprocessing, made)
    taught = distillation_of(
        teacher,
        config.preprocessing,
        training.class_names,
        teacher_preprocessing,
        (distillation, alpha, temperature),
    )
    session = Session(
        model=model,
        config=config,
        train=training,
        held_out=held_out,
        work=_taught(
            Work(
                compile=made.compile,
                callbacks=(*made.fit["callbacks"], *callbacks),
                stream=lambda step: made.augment(training, start=step, shard=team.shard),
                held_out=made.evaluation(held_out, batch_size=shown, shard=part),
                epochs=made.plan.epochs,
                steps=made.plan.steps_per_epoch,
                every_steps=checkpoint_steps,
                every_seconds=checkpoint_seconds,
                team=team,
                whole=made.evaluation(held_out),
            ),
            taught,
        ),
        description={
            "source": str(data) if isinstance(data, str | Path) else type(data).__name__,
            "environment": {**environment(), "distribution": team.to_dict()},
            "configuration": plain(
                {
                    "model": _model_fields(model, config),
                    "preprocessing": config.preprocessing.to_dict(),
                    "data": _data_fields(training, held_out),
                    "recipe": made.to_dict(),
                    "backend": keras.backend.backend(),
                    "deterministic": deterministic,
                    **({} if taught is None else {"distillation": taught.to_dict()}),
                }
            ),
        },
        listeners=_listeners(progress, on_step, made.plan.epochs),
    )
    if is_folder(output):
        return session.to_folder(RunFolder(output), resume)
    return session.to_file(output, overwrite)


def _taught(work: Work, distillation: Distillation | None) -> Work:
    """The same work under a teacher."""
    if distillation is None:
        return work
    return dataclasses.replace(
        work,
        compile=distillation.compile(work.compile),
        stream=lambda step: distillation.targets(work.stream(step)),
        fitted=distillation.student,
    )


def _require_no_building(*arguments: Any) -> None:
    """Refuse arguments that a built model comes too late for."""
    if any(arguments):
        raise UsageError(
            "image_size, overrides and distribute are for a model's name, not a built model"
        )


def _require_positive(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not value > 0:
            raise UsageError(f"{name} must be above 0; got {value}")


def _loaded(
    name: str,
    weights: str | Path | None,
    labels: Sequence[str],
    changes: Mapping[str, Any],
    recipe: str,
    chosen: Mapping[str, Any],
) -> keras.Model:
    """The model of a name, with the arguments that the recipe trains with where none are given."""
    architecture = catalogue.info(name).name.split(".")[0]
    wanted = plan(recipe, architecture, **chosen).model_arguments
    given = {key: value for key, value in changes.items() if value is not None}
    return load_model(name, weights=weights, labels=labels, **{**wanted, **given})


def _listeners(
    progress: Callable[[Epoch], None] | None,
    on_step: Callable[[int, int], None] | None,
    epochs: int,
) -> Listeners:
    def ended(rows: Sequence[Mapping[str, Any]]) -> None:
        if progress is not None:
            progress(Epoch.of(rows[-1], epochs))

    return Listeners(epoch=ended, step=on_step or (lambda done, total: None))


def _warn(training: Dataset, preprocessing: Preprocessing, made: Recipe) -> None:
    """Say what looks wrong before hours are spent on it."""
    count = min(len(training), _LOOKED_AT)
    some = training.take(np.linspace(0, len(training) - 1, count).astype(int))
    seen = normalize(eval_batch(some.images, preprocessing), preprocessing)
    found = range_warning(seen, preprocessing)
    for warning in ([found] if found else []) + list(made.notes):
        warnings.warn(warning, stacklevel=3)


def _model_fields(model: keras.Model, config: ModelConfig) -> dict[str, Any]:
    """What of a model makes a run that run."""
    return {
        "name": config.name,
        "arguments": dict(config.arguments),
        "numerics": config.numerics,
        "weights": config.weights,
        "dtype": model.dtype_policy.name,
        "parameters": model.count_params(),
    }


def _data_fields(training: Dataset, held_out: Dataset) -> dict[str, Any]:
    """What of the data makes a run that run."""
    return {
        "train_images": len(training),
        "validation_images": len(held_out),
        "classes": training.class_names,
        "train_fingerprint": _fingerprint(training),
        "validation_fingerprint": _fingerprint(held_out),
    }


def _fingerprint(dataset: Dataset) -> str:
    """16 hexadecimal digits of labels and images in their order: of pixels, or of where those lie."""
    digest = hashlib.blake2b(dataset.labels.astype("<i8").tobytes(), digest_size=8)
    images = dataset.images
    if isinstance(images, np.ndarray):
        digest.update(np.ascontiguousarray(images).data)
    elif isinstance(images, Records):
        digest.update("/".join(path.name for path in images.files).encode())
        for places in (images.file, images.offset, images.size):
            digest.update(places.astype("<i8").tobytes())
    else:
        digest.update("\n".join(f"{path.parent.name}/{path.name}" for path in images).encode())
    return digest.hexdigest()


def _datasets(
    data: Any,
    validation: Any,
    labels: Sequence[str] | None,
    fraction: float,
    options: Mapping[str, Any],
) -> tuple[Dataset, Dataset]:
    """What to train on, and what to validate with, under the same class names."""
    if validation is None:
        both = [load(data, split, fraction=fraction, **options) for split in _SPLITS]
    else:
        both = [load(spec, **options) for spec in (data, validation)]
    names = both[0].class_names
    if both[1].class_names != names:
        raise UsageError(
            f"the validation data has {len(both[1].class_names)} classes of other names or in "
            f"another order than the {len(names)} of the training data"
        )
    if labels is not None:
        if len(labels) != len(names):
            raise UsageError(f"{len(labels)} labels for {len(names)} classes")
        both = [dataclasses.replace(part, class_names=tuple(labels)) for part in both]
    return both[0], both[1]


def _configuration(
    model: keras.Model, preprocessing: Preprocessing | None, names: Sequence[str]
) -> ModelConfig:
    """What the saved model will say of itself, before training; checks that it fits the data."""
    config = configuration(model)
    known = known_preprocessing(model.name, config.preprocessing if config else None, preprocessing)
    classes = class_count(model.name, [tuple(output.shape) for output in model.outputs])
    if classes != len(names):
        raise UsageError(
            f"{model.name} has {classes} outputs, the data {len(names)} classes "
            f"({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        )
    shape = (*known.image_size, len(known.mean))
    taken = model.input.shape[1:]
    if len(taken) != 3 or any(t not in (None, s) for t, s in zip(taken, shape, strict=True)):
        raise UsageError(
            f"{model.name} takes images {tuple(taken)}, its preprocessing makes {shape}"
        )
    return config or ModelConfig(model.name, "custom", {}, known)
