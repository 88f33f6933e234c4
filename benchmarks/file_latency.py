"""Latency and size of our files, of every format and precision, against timm's own float32 ONNX export.

    python benchmarks/file_latency.py --models tiny,base --files onnx,tflite --runs 5

timm's is torch.onnx' dynamo export, opset 20, with the same weights, timm's initial ones; beside it runs
what onnxruntime's own `quantize_dynamic` makes of that file. All files of a model run in one process on one
thread, each once a round, in random order; times are CPU times and ratios are taken within a round. A run is
the median over its rounds, in a new process; every run is printed. Below 1 ours is faster. Sizes are ratios
to the float32 file of the same format.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from harness import bind, environment
from speed import make_weights, weights_folder

OPERATOR = {"opset": 23, "attention": "operator"}

FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "onnx": ("onnx", {}),
    "onnx, NCHW": ("onnx", {"layout": "nchw"}),
    "onnx, Attention": ("onnx", OPERATOR),
    "onnx, int8-dynamic": ("onnx", {"precision": "int8-dynamic"}),
    "onnx, int8-dynamic, Attention": ("onnx", {"precision": "int8-dynamic", **OPERATOR}),
    "tflite": ("tflite", {}),
    "tflite, int8-dynamic": ("tflite", {"precision": "int8-dynamic"}),
}
"""What a file is called -> its format, and the arguments of `export_model`."""

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

QUANTIZED = "timm's, by onnxruntime's quantize_dynamic"

# torch writes the shape of a transposed weight before its transposition, which shape inference refuses.
QUANTIZE = """
import sys, onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
model = onnx.load(sys.argv[1])
del model.graph.value_info[:]
quantize_dynamic(
    model, sys.argv[2], weight_type=QuantType.QInt8, per_channel=True,
    op_types_to_quantize=["MatMul", "Gemm"], extra_options={"MatMulConstBOnly": True},
)
"""

OUR_EXPORT = """
import json, sys, keras_vit
model = keras_vit.load(sys.argv[1], weights=sys.argv[2])
for path, arguments in json.loads(sys.argv[3]).items():
    keras_vit.export_model(model, path, verify=False, overwrite=True, **arguments)
"""


def export(model: str, names: Sequence[str], folder: Path) -> dict[str, Path]:
    """The files of a model, each library's in a child process of its own."""
    weights = make_weights(model, folder)
    ours = {name: folder / f"{model}.{i}.{FILES[name][0]}" for i, name in enumerate(names)}
    timm = folder / f"{model}.timm.onnx"
    quantized = folder / f"{model}.timm.int8.onnx"
    chosen = json.dumps({str(ours[name]): FILES[name][1] for name in names})
    for code, *arguments in (
        (TIMM_EXPORT, model, str(weights), str(timm)),
        (QUANTIZE, str(timm), str(quantized)),
        (OUR_EXPORT, model, str(weights), chosen),
    ):
        command = [sys.executable, "-P", "-c", code, *arguments]
        done = subprocess.run(
            command, env=environment(2, {}), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
    return {"timm": timm, QUANTIZED: quantized, **ours}


def opened(path: str) -> Callable[[np.ndarray], np.ndarray]:
    """A file as a function of NHWC images, on one thread."""
    if path.endswith(".tflite"):
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(path, num_threads=1).get_signature_runner("serving_default")
        return lambda images: runner(images=images)["logits"]
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    if session.get_inputs()[0].shape[1] == 3:
        return lambda images: session.run(
            None, {"images": np.ascontiguousarray(images.transpose(0, 3, 1, 2))}
        )[0]
    return lambda images: session.run(None, {"images": images})[0]


def measure(files: dict[str, str], rounds: int, batch: int) -> dict[str, Any]:
    """One run, in a process of its own: the median ratio to timm's, milliseconds, cosine with timm's."""
    bind(1)
    functions = {name: opened(path) for name, path in files.items()}
    images = np.random.default_rng(0).normal(size=(batch, 224, 224, 3)).astype(np.float32)
    answers = {name: function(images).ravel() for name, function in functions.items()}
    times: dict[str, list[float]] = {name: [] for name in functions}
    order = list(functions)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            start = process_time()
            functions[name](images)
            times[name].append(process_time() - start)
    want = answers["timm"]
    return {
        name: {
            "ratio": statistics.median(a / b for a, b in zip(taken, times["timm"], strict=True)),
            "ms": 1e3 * statistics.median(taken),
            "cosine": float(
                answers[name] @ want / np.linalg.norm(answers[name]) / np.linalg.norm(want)
            ),
            "difference": float(np.abs(answers[name] - want).max()),
        }
        for name, taken in times.items()
    }


def runs(
    files: dict[str, Path], count: int, rounds: int, batch: int
) -> list[dict[str, dict[str, float]]]:
    """Several runs, each in a new process.

    Raises:
        RuntimeError: a file computes something else than timm's.
    """
    paths = {name: str(path) for name, path in files.items()}
    spec = json.dumps({"files": paths, "rounds": rounds, "batch": batch})
    results = []
    for _ in range(count):
        done = subprocess.run(
            [sys.executable, __file__, "--measure", spec],
            env=environment(1, {}),
            capture_output=True,
            text=True,
            check=True,
        )
        results.append(json.loads(done.stdout.splitlines()[-1]))
        for name, found in results[-1].items():
            lower = name == QUANTIZED or "precision" in FILES.get(name, ("", {}))[1]
            # timm's logits have a standard deviation of about 0.3 with its initial weights.
            if found["cosine"] < 0.99 or (found["difference"] > 1e-4 and not lower):
                raise RuntimeError(f"{name} differs from timm: {found}")
    return results


def table(
    model: str, files: dict[str, Path], results: Sequence[dict[str, dict[str, float]]]
) -> str:
    """Markdown: a row a file, its size, every run's ratio, and their median."""
    timm = statistics.median(result["timm"]["ms"] for result in results)
    lines = []
    for name in (name for name in (*FILES, QUANTIZED) if name in files):
        ratios = [result[name]["ratio"] for result in results]
        whole = files["timm" if name == QUANTIZED else FILES[name][0]].stat().st_size  # in float32
        lines.append(
            f"| {model} | {name} | {files[name].stat().st_size / whole:.4f} | {timm:.0f} "
            f"| {statistics.median(ratios):.3f} | {', '.join(f'{ratio:.3f}' for ratio in ratios)} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="tiny,base")
    parser.add_argument("--files", default="onnx,tflite", help="formats")
    parser.add_argument("--batch", type=int, default=1, help="TFLite files take 1")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rounds", default="30,12", help="of each model, in a run")
    parser.add_argument("--measure", help="one run's files and rounds, as JSON: for the children")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(**json.loads(options.measure))))
        return
    print("| | file | size | timm ms | median | every run |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    folder = weights_folder()
    names = [name for name, (format, _) in FILES.items() if format in options.files.split(",")]
    for size, rounds in zip(options.models.split(","), options.rounds.split(","), strict=True):
        model = f"vit_{size}_patch16_224"
        files = export(model, names, folder)
        found = runs(files, options.runs, int(rounds), options.batch)
        print(table(model, files, found), flush=True)
    print(f"load average {os.getloadavg()[0]:.1f}", file=sys.stderr)


if __name__ == "__main__":
    main()
