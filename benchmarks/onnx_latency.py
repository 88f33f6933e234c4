"""Latency of our ONNX files against timm's own: torch.onnx' dynamo export, opset 20, the same weights.

    python benchmarks/onnx_latency.py --models tiny,base --runs 5

All files of a model are sessions in one process of onnxruntime, one thread, CPU time; each round runs each
once, in random order, and the ratio is taken within a round. A run is the median over its rounds, in a new
process; every run is printed. Below 1 ours is faster.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from harness import bind, environment
from speed import make_weights, weights_folder

WAYS = {
    "ours": {"opset": 20},
    "ours, NCHW": {"opset": 20, "layout": "nchw"},
    "ours, Attention": {"opset": 23, "attention": "operator"},
}

TIMM_EXPORT = """
import sys, timm, torch
from safetensors.torch import load_file
model = timm.create_model(sys.argv[1]).eval()
model.load_state_dict(load_file(sys.argv[2]))
torch.onnx.export(
    model, (torch.zeros(2, 3, 224, 224),), sys.argv[3], dynamo=True, opset_version=20,
    input_names=["images"], output_names=["logits"], external_data=False,
    dynamic_shapes=({0: torch.export.Dim("batch")},),
)
"""

OUR_EXPORT = """
import json, sys, keras_vit
model = keras_vit.load(sys.argv[1], weights=sys.argv[2])
for name, options in json.loads(sys.argv[3]).items():
    report = keras_vit.export_model(model, name, verify=False, overwrite=True, **options)
    assert report.writer == "direct"
"""


def export(model: str, folder: Path) -> dict[str, Path]:
    """The files of a model, each library's in a child process of its own."""
    weights = make_weights(model, folder)
    files = {"timm": folder / f"{model}.timm.onnx"}
    files |= {way: folder / f"{model}.{i}.onnx" for i, way in enumerate(WAYS)}
    chosen = json.dumps({str(files[way]): options for way, options in WAYS.items()})
    for code, last in ((TIMM_EXPORT, str(files["timm"])), (OUR_EXPORT, chosen)):
        command = [sys.executable, "-P", "-c", code, model, str(weights), last]
        done = subprocess.run(
            command, env=environment(2, {}), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
    return files


def measure(files: dict[str, str], rounds: int, batch: int) -> dict[str, Any]:
    """One run, in a process of its own: the median ratio to timm's and milliseconds of each file."""
    bind(1)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions = {
        name: onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for name, path in files.items()
    }
    images = np.random.default_rng(0).normal(size=(batch, 224, 224, 3)).astype(np.float32)
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    fed = {
        name: channels_first if session.get_inputs()[0].shape[1] == 3 else images
        for name, session in sessions.items()
    }
    answers = {name: s.run(None, {"images": fed[name]})[0] for name, s in sessions.items()}
    times: dict[str, list[float]] = {name: [] for name in sessions}
    order = list(sessions)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            start = process_time()
            sessions[name].run(None, {"images": fed[name]})
            times[name].append(process_time() - start)
    return {
        name: {
            "ratio": statistics.median(
                mine / timms for mine, timms in zip(taken, times["timm"], strict=True)
            ),
            "ms": 1e3 * statistics.median(taken),
            "difference": float(np.abs(answers[name] - answers["timm"]).max()),
        }
        for name, taken in times.items()
    }


def runs(
    files: dict[str, Path], count: int, rounds: int, batch: int
) -> list[dict[str, dict[str, float]]]:
    """Several runs, each in a new process."""
    spec = json.dumps({"files": {k: str(v) for k, v in files.items()}, "rounds": rounds})
    command = [sys.executable, __file__, "--measure", spec, "--batch", str(batch)]
    results = []
    for _ in range(count):
        done = subprocess.run(
            command, env=environment(1, {}), capture_output=True, text=True, check=True
        )
        results.append(json.loads(done.stdout))
        found = results[-1]
        for way in WAYS:
            # timm's logits have a standard deviation of about 0.3 with its initial weights.
            if found[way]["difference"] > 1e-4:
                raise RuntimeError(f"{way} differs from timm by {found[way]['difference']:.1e}")
    return results


def table(model: str, batch: int, results: Sequence[dict[str, dict[str, float]]]) -> str:
    """Markdown: a row a file, every run's ratio, and their median."""
    timm = statistics.median(result["timm"]["ms"] for result in results)
    lines = []
    for way in WAYS:
        ratios = [result[way]["ratio"] for result in results]
        listed = ", ".join(f"{ratio:.3f}" for ratio in ratios)
        lines.append(
            f"| {model}, batch {batch} | {way} | {timm:.0f} | {statistics.median(ratios):.3f} "
            f"| {listed} |"
        )
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="tiny,base")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rounds", default="30,12", help="of each model, in a run")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--measure", help="one run's files and rounds, as JSON: for the children")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.measure:
        print(json.dumps(measure(**json.loads(options.measure), batch=options.batch)))
        return
    print("| | file | timm ms | median | every run |\n| --- | --- | --- | --- | --- |", flush=True)
    folder = weights_folder()
    for size, rounds in zip(options.models.split(","), options.rounds.split(","), strict=True):
        model = f"vit_{size}_patch16_224"
        files = export(model, folder)
        results = runs(files, options.runs, int(rounds), options.batch)
        print(table(model, options.batch, results), flush=True)
    print(f"load average {os.getloadavg()[0]:.1f}", file=sys.stderr)


if __name__ == "__main__":
    main()
