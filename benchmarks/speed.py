"""Forward pass and training step of ViTs, against timm (torch, eager) and keras-hub, as ratios.

    python benchmarks/speed.py --models tiny,small --tasks forward --batches 1,8 --threads 1

prints one Markdown table a task: milliseconds of timm, and each contender's time over timm's.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from harness import Sample, Worker, interleave, summary

# Name: library, Keras backend, whether it is compiled (XLA; the JAX backend always is).
CONTENDERS: dict[str, tuple[str, str, bool]] = {
    "timm": ("timm", "", False),
    "tf xla": ("keras_vit", "tensorflow", True),
    "tf": ("keras_vit", "tensorflow", False),
    "torch": ("keras_vit", "torch", False),
    "jax": ("keras_vit", "jax", True),
    "hub tf xla": ("keras_hub", "tensorflow", True),
    "hub tf": ("keras_hub", "tensorflow", False),
    "hub torch": ("keras_hub", "torch", False),
    "hub jax": ("keras_hub", "jax", True),
}


def weights_folder() -> Path:
    """Where the weights of all runs lie."""
    folder = Path(tempfile.gettempdir()) / "keras_vit_benchmarks"
    folder.mkdir(exist_ok=True)
    return folder


def make_weights(model: str, folder: Path) -> Path:
    """The initial weights of a timm model as a file, made in a child process."""
    path = folder / f"{model}.safetensors"
    if not path.exists():
        code = (
            "import sys, timm, torch; from safetensors.torch import save_file; torch.manual_seed(0);"
            "save_file(timm.create_model(sys.argv[1]).state_dict(), sys.argv[2])"
        )
        subprocess.run([sys.executable, "-P", "-c", code, model, str(path)], check=True)
    return path


def measure(case: dict[str, Any], names: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Runs the contenders of one case (model, task, batch, dtype)."""
    workers: dict[str, Worker] = {}
    try:
        for name in names:
            library, backend, jit = CONTENDERS[name]
            spec = {**case, "library": library, "jit": jit}
            workers[name] = Worker(
                "speed_worker.py", spec, options.threads, {"KERAS_BACKEND": backend or "numpy"}
            )
        for name in names:
            _check_agreement(name, CONTENDERS[name][0], case, workers)
        samples = interleave(workers, options.rounds, options.steps)
    finally:
        for worker in workers.values():
            worker.close()
    return {"case": case, "samples": samples}


def _check_agreement(
    name: str, library: str, case: dict[str, Any], workers: dict[str, Worker]
) -> None:
    """The same weights must give timm's logits: a fast step that computes something else is none."""
    if library != "keras_vit" or case["task"] != "forward":
        return
    ours, theirs = (np.array(workers[n].ready["first"]) for n in (name, "timm"))
    error = np.abs(ours - theirs).max() / theirs.std()
    if error > (1e-4 if case["dtype"] == "float32" else 0.1):
        raise RuntimeError(f"{name} is {error:.1e} of the logits' scale from timm: {case}")


def table(results: list[dict[str, Any]], names: list[str], clock: str) -> str:
    """Markdown: a row a case, timm's milliseconds, and ratios with their quartiles."""
    lines = [
        f"| {clock} time | timm ms | " + " | ".join(n for n in names if n != "timm") + " |",
        "| --- " * (len(names) + 1) + "|",
    ]
    for result in results:
        case, rows = result["case"], summary(result["samples"], "timm", clock)
        cells = [f"{r['ratio']:.2f} ({r['low']:.2f}-{r['high']:.2f})" for n, r in rows.items()]
        what = (
            f"ViT-{case['model'].split('_')[1].capitalize()} {case['task']} batch {case['batch']}"
        )
        lines.append(
            f"| {what} {case['dtype']} | {rows['timm']['ms']:.0f} | " + " | ".join(cells[1:]) + " |"
        )
    return "\n".join(lines)


def as_json(results: list[dict[str, Any]]) -> str:
    def plain(value: Any) -> Any:
        if isinstance(value, Sample):
            return {"wall": value.wall, "cpu": value.cpu}
        raise TypeError(type(value))

    return json.dumps(results, default=plain, indent=1)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])

    def listed(text: str) -> list[str]:
        return text.split(",")

    parser.add_argument("--models", type=listed, default=["tiny", "small", "base"])
    parser.add_argument("--tasks", type=listed, default=["forward", "train"])
    parser.add_argument("--batches", type=listed, default=["1", "8"])
    parser.add_argument("--dtypes", type=listed, default=["float32", "mixed_bfloat16"])
    parser.add_argument("--contenders", type=listed, default=list(CONTENDERS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=1, help="steps a round")
    parser.add_argument("--json", type=Path, help="write the samples here")
    return parser.parse_args(argv)


def main() -> None:
    options = arguments()
    names = ["timm", *(n for n in options.contenders if n != "timm")]
    cases = [
        {"model": f"vit_{size}_patch16_224", "task": task, "batch": int(batch), "dtype": dtype}
        for dtype in options.dtypes
        for task in options.tasks
        for size in options.models
        for batch in options.batches
        if task == "forward" or batch == "8"
    ]
    folder = weights_folder()
    results = []
    for case in cases:
        case["weights"] = str(make_weights(case["model"], folder))
        results.append(measure(case, names, options))
        for clock in ("cpu", "wall"):
            print(table(results[-1:], names, clock), flush=True)
    if options.json:
        options.json.write_text(as_json(results))


if __name__ == "__main__":
    main()
