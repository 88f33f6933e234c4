"""`convert`: a published checkpoint, or a saved model, rewritten as a `.keras` or `.safetensors` file."""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_vit import catalogue
from keras_vit.errors import CheckpointError, UsageError
from keras_vit.export.staging import staging
from keras_vit.outputs import require_output
from keras_vit.weights.files import open_checkpoint
from keras_vit.weights.report import LoadReport

_SUFFIXES = (".keras", ".safetensors")


@dataclass(frozen=True)
class ConvertReport:
    """What `convert` read and wrote.

    Attributes:
        path: the new file.
        size: its bytes.
        name: the model's, `architecture.tag`.
        layout: whose tensor names the file has: `"keras"` in a `.keras` file, or such as `"timm"`.
        load: what became of each tensor of the checkpoint; None for a saved model that was never
            loaded from one.
    """

    path: str
    size: int
    name: str
    layout: str
    load: LoadReport | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return dataclasses.asdict(self)


def convert(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str],
    model: str | None = None,
    *,
    layout: str | None = None,
    num_classes: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    in_chans: int | None = None,
    labels: Sequence[str] | str | None = None,
    numerics: str | None = None,
    source: str | None = None,
    checkpoint_key: str | None = None,
    partial: bool = False,
    overwrite: bool = False,
    **overrides: Any,
) -> ConvertReport:
    """Reads a checkpoint into a model and writes the model.

    Args:
        checkpoint: whatever `keras_vit.load` takes as `weights`: a file or folder (.safetensors, .bin,
            .pth, .npz, .keras), `"hf://org/name"`, or `"pretrained"`, which is `model`'s own.
        output: a `.keras` file, or a `.safetensors` file with another library's tensor names. Its
            folder has to exist.
        model: name of the model that the checkpoint belongs to; None for a `.keras` file, which knows.
        layout: tensor names of a `.safetensors` output; `"timm"` when None.
        num_classes: of the checkpoint's classifier, where it is not the published one.
        image_size, in_chans, labels, numerics, source, checkpoint_key, overrides: as in
            `keras_vit.load`.
        partial: accept weights that the checkpoint lacks or has in another shape; they are new then.
        overwrite: whether an existing output may be replaced.

    Returns:
        What was read and written.

    Raises:
        UsageError: for an argument that does not fit, or an output that exists. Nothing was read.
        CheckpointError: if the checkpoint is damaged or another model's. Nothing was written.
    """
    path = Path(output)
    arguments = {
        "num_classes": num_classes,
        "image_size": image_size,
        "in_chans": in_chans,
        "labels": labels,
        "numerics": numerics,
        "source": source,
        "checkpoint_key": checkpoint_key,
        **overrides,
    }
    asked = [name for name, value in arguments.items() if value is not None]
    require_output(path, _SUFFIXES, overwrite)
    if path.suffix == ".keras" and layout is not None:
        raise UsageError("layout is for .safetensors files; a .keras file has Keras' own names")
    _require_input(checkpoint, model, asked, checkpoint_key)
    from keras_vit.loading import load  # Keras, seconds: not before there is work for it

    if model is None:
        network = load(checkpoint)
    else:
        network = load(model, weights=checkpoint, partial=partial, dtype="float32", **arguments)
    _require_whole(network.load_report, partial)
    return _write(network, path, layout)


def _require_input(
    checkpoint: str | os.PathLike[str],
    model: str | None,
    asked: Sequence[str],
    checkpoint_key: str | None,
) -> None:
    """Refuse a name or a file that cannot be read, before Keras takes seconds to import."""
    is_saved = str(checkpoint).endswith(".keras")
    if model is not None:
        catalogue.info(model)
    elif not is_saved:
        raise UsageError(f"{checkpoint} does not say which model it is for: pass model=NAME")
    elif asked:
        raise UsageError(
            f"{checkpoint} is converted as it was saved; to change {', '.join(asked)}, pass model=NAME"
        )
    if is_saved and not Path(checkpoint).is_file():
        raise CheckpointError(f"there is no file {checkpoint}")
    if not is_saved and checkpoint != "pretrained" and not str(checkpoint).startswith("hf://"):
        with open_checkpoint(Path(checkpoint), key=checkpoint_key):
            pass


def _require_whole(report: LoadReport | None, partial: bool) -> None:
    """A conversion keeps what is in the checkpoint: new weights are not wanted unasked."""
    if report is not None and report.reinitialised and not partial:
        raise CheckpointError(
            f"{report.source} gives nothing that fits {', '.join(report.reinitialised)}: pass "
            "num_classes=N as the checkpoint has it, or partial=True to initialise what it lacks"
        )


def _write(network: Any, path: Path, layout: str | None) -> ConvertReport:
    """Write the whole file under another name, then give it its own."""
    from keras_vit.saving import save_weights

    with staging(path) as folder:
        draft = folder / path.name
        if path.suffix == ".keras":
            layout = "keras"
            network.save(draft)
        else:
            layout = layout or "timm"
            save_weights(network, draft, layout)
        size = draft.stat().st_size
        draft.replace(path)
    return ConvertReport(
        path=str(path),
        size=size,
        name=network.config.name if network.config else network.name,
        layout=layout,
        load=network.load_report,
    )
