"""Loading a model from a local .safetensors file, against timm.create_model with the same file.

    python benchmarks/loading.py --model vit_base_patch16_224 --rounds 5 [--profile tensorflow]

Each run is a fresh process that has imported its libraries; times and the peak of its memory are taken
from there. The contenders alternate.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from harness import Sample, environment, summary
from speed import make_weights, weights_folder

# The library is imported before the clock starts; `load` is what is timed.
PROGRAMS = {
    "timm": "import timm; load = lambda: timm.create_model(model, checkpoint_path=weights)",
    "keras_vit": "import keras_vit.loading; load = lambda: keras_vit.load(model, weights=weights)",
}
CONTENDERS = {"timm": "timm", **dict.fromkeys(("tensorflow", "torch", "jax"), "keras_vit")}
MEASURE = """
import json, sys, time
from pathlib import Path
model, weights, profile = sys.argv[1:]
{program}

def memory(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))

Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
before, wall, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
if profile:
    import cProfile, pstats
    profiler = cProfile.Profile()
    loaded = profiler.runcall(load)
    pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(25)
else:
    loaded = load()
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
print(json.dumps(dict(wall=wall, cpu=cpu, peak=memory("VmHWM") - before, rest=memory("VmRSS") - before)))
"""


def run(name: str, model: str, weights: Path, threads: int, profile: bool = False) -> dict:
    """One load in a fresh process: `wall` and `cpu` in seconds, `peak` and `rest` in MiB."""
    program = MEASURE.format(program=PROGRAMS[CONTENDERS[name]])
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, model, str(weights), "profile" if profile else ""],
        env=environment(threads, {} if name == "timm" else {"KERAS_BACKEND": name}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    if profile:
        print(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def table(runs: dict[str, list[dict]], size: float) -> str:
    """Markdown: medians, and ratios to timm by rounds."""
    samples = {n: [Sample(r["wall"], r["cpu"]) for r in taken] for n, taken in runs.items()}
    walls, cpus = summary(samples, "timm", "wall"), summary(samples, "timm", "cpu")
    lines = [
        "| loader | wall s | over timm | CPU s | over timm | peak MiB | over the file |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, taken in runs.items():
        wall, cpu = walls[name], cpus[name]
        peak = statistics.median(r["peak"] for r in taken)
        lines.append(
            f"| {name} | {wall['ms'] / 1e3:.2f} | {wall['ratio']:.2f} | {cpu['ms'] / 1e3:.2f} "
            f"| {cpu['ratio']:.2f} | {peak:.0f} | {peak / size:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vit_base_patch16_224")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--profile", choices=CONTENDERS, help="print where one load's time goes")
    options = parser.parse_args()
    weights = make_weights(options.model, weights_folder())
    if options.profile:
        run(options.profile, options.model, weights, options.threads, profile=True)
        return
    runs: dict[str, list[dict]] = {name: [] for name in CONTENDERS}
    for _ in range(options.rounds):
        for name, taken in runs.items():
            taken.append(run(name, options.model, weights, options.threads))
    size = weights.stat().st_size / 2**20
    print(f"{options.model}, a file of {size:.0f} MiB, {options.threads} threads")
    print(table(runs, size))


if __name__ == "__main__":
    main()
