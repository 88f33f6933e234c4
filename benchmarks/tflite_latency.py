"""Latency of our TFLite files against timm's ONNX: torch.onnx' dynamo export, opset 20, the same weights.

    python benchmarks/tflite_latency.py --models tiny --runs 5

timm's file runs in onnxruntime, ours in LiteRT with XNNPACK, in one process, one thread, CPU time; each round
runs each once, in random order, and the ratio is taken within a round. A run is the median over its rounds,
in a new process; every run is printed. Below 1 ours is faster.
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
from onnx_latency import TIMM_EXPORT
from speed import make_weights, weights_folder

WAYS: dict[str, dict[str, str]] = {"ours": {}}

OUR_EXPORT = """
import json, sys, keras_vit
model = keras_vit.load(sys.argv[1], weights=sys.argv[2])
for name, options in json.loads(sys.argv[3]).items():
    report = keras_vit.export_model(model, name, overwrite=True, **options)
    print(sum(report.operators.values()), report.size, report.weight_bytes, report.max_difference)
"""


def export(model: str, folder: Path) -> dict[str, Path]:
    """The files of a model, each library's in a child process of its own; ours are verified and counted."""
    weights = make_weights(model, folder)
    files = {"timm": folder / f"{model}.timm.onnx"}
    files |= {way: folder / f"{model}.{i}.tflite" for i, way in enumerate(WAYS)}
    chosen = json.dumps({str(files[way]): options for way, options in WAYS.items()})
    for code, last in ((TIMM_EXPORT, str(files["timm"])), (OUR_EXPORT, chosen)):
        command = [sys.executable, "-P", "-c", code, model, str(weights), last]
        done = subprocess.run(
            command, env=environment(2, {}), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
    for way, line in zip(WAYS, done.stdout.strip().splitlines()[-len(WAYS) :], strict=True):
        count, size, weight_bytes, difference = line.split()
        ratio = int(size) / int(weight_bytes)
        print(
            f"{model}, {way}: {count} operators, {int(size) / 1e6:.2f} MB, {ratio:.3f} of the weight bytes, "
            f"{float(difference):.1e} from the model",
            file=sys.stderr,
        )
    return files


def measure(files: dict[str, str], rounds: int) -> dict[str, Any]:
    """One run, in a process of its own: the median ratio to timm's and milliseconds of each file."""
    bind(1)
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        files.pop("timm"), options, providers=["CPUExecutionProvider"]
    )
    images = np.random.default_rng(0).normal(size=(1, 224, 224, 3)).astype(np.float32)
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    runners = {
        way: Interpreter(path, num_threads=1).get_signature_runner() for way, path in files.items()
    }

    def run(name: str) -> np.ndarray:
        if name == "timm":
            return session.run(None, {"images": channels_first})[0]
        return runners[name](images=images)["logits"]

    order = ["timm", *runners]
    answers = {name: run(name) for name in order}
    times: dict[str, list[float]] = {name: [] for name in order}
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            start = process_time()
            run(name)
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


def runs(files: dict[str, Path], count: int, rounds: int) -> list[dict[str, dict[str, float]]]:
    """Several runs, each in a new process."""
    spec = json.dumps({"files": {k: str(v) for k, v in files.items()}, "rounds": rounds})
    command = [sys.executable, __file__, "--measure", spec]
    results = []
    for _ in range(count):
        done = subprocess.run(
            command, env=environment(1, {}), capture_output=True, text=True, check=True
        )
        results.append(json.loads(done.stdout.strip().splitlines()[-1]))
        # timm's logits have a standard deviation of about 0.3 with its initial weights.
        if (found := results[-1]["ours"]["difference"]) > 1e-4:
            raise RuntimeError(f"ours differs from timm by {found:.1e}")
    return results


def table(model: str, results: Sequence[dict[str, dict[str, float]]]) -> str:
    """Markdown: a row a file, every run's ratio, and their median."""
    timm = statistics.median(result["timm"]["ms"] for result in results)
    lines = []
    for way in WAYS:
        ratios = [result[way]["ratio"] for result in results]
        listed = ", ".join(f"{ratio:.3f}" for ratio in ratios)
        lines.append(
            f"| {model}, batch 1 | {way} | {timm:.0f} | {statistics.median(ratios):.3f} | {listed} |"
        )
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="tiny")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rounds", default="40", help="of each model, in a run")
    parser.add_argument("--measure", help="one run's files and rounds, as JSON: for the children")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.measure:
        print(json.dumps(measure(**json.loads(options.measure))))
        return
    folder = weights_folder()
    print("| | file | timm ms | median | every run |\n| --- | --- | --- | --- | --- |", flush=True)
    for size, rounds in zip(options.models.split(","), options.rounds.split(","), strict=True):
        model = f"vit_{size}_patch16_224"
        results = runs(export(model, folder), options.runs, int(rounds))
        print(table(model, results), flush=True)
    print(f"load average {os.getloadavg()[0]:.1f}", file=sys.stderr)


if __name__ == "__main__":
    main()
