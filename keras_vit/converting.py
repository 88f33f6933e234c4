"""`convert`: a published checkpoint, or a saved model, rewritten as a file of Keras or another library."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_vit import catalogue
from keras_vit.errors import CheckpointError, UsageError
from keras_vit.export.staging import publish, staging
from keras_vit.outputs import require_free, require_output
from keras_vit.weights.files import open_checkpoint
from keras_vit.weights.huggingface import CONFIG_FILE
from keras_vit.weights.report import LoadReport

_SUFFIXES = (".keras", ".safetensors", ".npz")


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
    partial: bool = False,
    overwrite: bool = False,
    **arguments: Any,
) -> ConvertReport:
    """Reads a checkpoint into a model and writes the model.

    Args:
        checkpoint: whatever `keras_vit.load` takes as `weights`: a file or folder (.safetensors, .bin,
            .pth, .npz, .keras), `"hf://org/name"`, or `"pretrained"`, which is `model`'s own.
        output: a `.keras` file, or a `.safetensors` or `.npz` file with another library's tensor names.
            Its folder has to exist.
        model: name of the model that the checkpoint belongs to; None for a `.keras` file, which knows.
        layout: tensor names of the output, as in `keras_vit.save_weights`; of a `.safetensors` file the
            family's native ones, mostly `"timm"`, when None.
        partial: accept weights that the checkpoint lacks or has in another shape; they are new then.
        overwrite: whether an existing output may be replaced.
        **arguments: others of `keras_vit.load`, such as `num_classes` where the checkpoint's classifier
            is not the published one, `numerics`, `source`, `checkpoint_key` or `sha256`.

    Returns:
        What was read and written.

    Raises:
        UsageError: for an argument that does not fit, or an output that exists. Nothing was read.
        CheckpointError: if the checkpoint is damaged or another model's. Nothing was written.
    """
    path = Path(output)
    require_output(path, _SUFFIXES, overwrite)
    if path.suffix == ".keras" and layout is not None:
        raise UsageError("a .keras file has Keras' own names; layout is for .safetensors and .npz")
    _require_input(checkpoint, model, arguments)
    from keras_vit.loading import load  # Keras, seconds: not before there is work for it

    if model is None:
        network = load(checkpoint, sha256=arguments.get("sha256"))
    else:
        network = load(model, weights=checkpoint, partial=partial, dtype="float32", **arguments)
    _require_whole(network.load_report, partial)
    return _write(network, path, layout, overwrite)


def _require_input(
    checkpoint: str | os.PathLike[str], model: str | None, arguments: Mapping[str, Any]
) -> None:
    """Refuse a name or a file that cannot be read, before Keras takes seconds to import."""
    asked = [name for name, value in arguments.items() if value is not None and name != "sha256"]
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
        with open_checkpoint(Path(checkpoint), key=arguments.get("checkpoint_key")):
            pass


def _require_whole(report: LoadReport | None, partial: bool) -> None:
    """A conversion keeps what is in the checkpoint: new weights are not wanted unasked."""
    if report is not None and report.reinitialised and not partial:
        raise CheckpointError(
            f"{report.source} gives nothing that fits {', '.join(report.reinitialised)}: pass "
            "num_classes=N as the checkpoint has it, or partial=True to initialise what it lacks"
        )


def _write(network: Any, path: Path, layout: str | None, overwrite: bool) -> ConvertReport:
    """Write whole files under other names, then give them their own."""
    from keras_vit.saving import choose_layout, save_weights

    with staging(path) as folder:
        draft = folder / path.name
        if path.suffix == ".keras":
            layout = "keras"
            network.save(draft)
        else:
            layout = choose_layout(network, path, layout)
            save_weights(network, draft, layout)
        size = draft.stat().st_size
        moves = [(draft, path)]
        if (folder / CONFIG_FILE).exists():
            moves.append((folder / CONFIG_FILE, path.with_name(CONFIG_FILE)))
            require_free(path.with_name(CONFIG_FILE), overwrite)
        publish(moves, folder)
    return ConvertReport(
        path=str(path),
        size=size,
        name=network.config.name if network.config else network.name,
        layout=layout,
        load=network.load_report,
    )
