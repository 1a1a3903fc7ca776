"""The body of full_run.sh: every stage in turn, each going on where it was when a run is started again.

python scripts/full_run.py OUT --minutes N [--preset PRESET] [--start RUN] [--device DEVICE] [--jobs J]
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from common import cpu_model, git_commit  # noqa: E402
from splits import SIZES, make_splits  # noqa: E402

FULL = {name: SIZES[name] for name in ("default", "manorender", "angrender")}
"""Images to train on: everything that varies, arms included, and bare hands all around."""

CPU_RATE = 20
"""Training samples a second of a core, crops of 64 px; half of what an idle one reaches."""

LEAST = 0.005
"""Share of the full size that is always made."""


def sizes(minutes: float, gpu: bool) -> dict[str, int]:
    """Images of each dataset: all for a GPU; else as many as training sees twice."""
    seen = minutes * 60 * CPU_RATE * (os.cpu_count() or 1)
    share = 1.0 if gpu else min(max(seen / 2 / sum(FULL.values()), LEAST), 1.0)
    shares = {**dict.fromkeys(FULL, share), **dict.fromkeys(("validation", "heldout"), min(10 * share, 1.0))}
    return {name: max(round(SIZES[name] * part), 64) for name, part in shares.items()}


def run(*command: object) -> None:
    """Says and runs a command; its failure is this one's."""
    words = [str(word) for word in command]
    print(f"\n== {' '.join(words)}", file=sys.stderr, flush=True)
    code = subprocess.run(
        [sys.executable, "-m", *words] if words[0] in ("handsynth", "handmesh") else words, check=False
    ).returncode
    if code:
        raise SystemExit(code)


def gpu_name(device: str) -> str | None:
    """Of the GPU that training takes; None where it takes the CPU."""
    import torch

    from handmesh.device import pick_device

    chosen = pick_device(device)
    return torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else None


def machine(gpu: str | None) -> str:
    return f"{cpu_model()}, {os.cpu_count()} cores, {gpu or 'no GPU'}"


def main() -> None:
    parser = argparse.ArgumentParser(description="images, training, evaluation, export and weights, in one go")
    parser.add_argument("out", type=Path, help="folder for everything; 10 GB at full size")
    parser.add_argument("--minutes", type=float, required=True, help="of training")
    parser.add_argument("--preset", help="of the mesh net [fast at 128 px with a GPU, cpu64 without]")
    parser.add_argument("--start", help="run, or name of shipped weights, whose weights are the first ones [ImageNet's]")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="workers that make images")
    options = parser.parse_args()
    out, minutes, device = options.out, options.minutes, options.device
    gpu = gpu_name(device)
    preset = [options.preset] if options.preset else ["fast", "--side", 128, "--batch", 256] if gpu else ["cpu64"]
    cache = "device" if gpu else "memory"

    record_file = out / "record.yaml"
    out.mkdir(parents=True, exist_ok=True)
    if record_file.exists():  # of the run that is gone on with: sizes must not change
        record = yaml.safe_load(record_file.read_text(encoding="utf-8"))
    else:
        record = {"machine": machine(gpu), "commit": git_commit(), "minutes": minutes, "sizes": sizes(minutes, bool(gpu))}
        record |= {"command": "scripts/full_run.sh OUT " + " ".join(sys.argv[2:]), "date": time.strftime("%Y-%m-%d", time.gmtime())}
        record_file.write_text(yaml.safe_dump(record, sort_keys=False), encoding="utf-8")

    folders = make_splits(out / "data", options.jobs, tuple(record["sizes"]), record["sizes"])
    data = [f"--data={folders[name]}" for name in FULL]
    where = ["--device", device]
    train = ["handmesh", "train", "mesh", *preset, "--minutes", minutes, *data, "--val", folders["validation"]]
    train += ["--start", options.start] if options.start else []
    run(*train, "--out", out / "run", "--cache", cache, "--checkpoint-every", 100, "--resume", *where)
    run("handmesh", "evaluate", out / "run", "--data", folders["heldout"], "--out", out / "evaluation", *where)
    run("handmesh", "export", out / "run", out / "lite-fast.onnx")
    run("handmesh", "train", "ik", "ik-cpu", "--hand", "embedded", "--out", out / "ik", "--resume", "--device", "cpu")
    for folder, spent in ((out / "run", f"{minutes:g} minutes"), (out / "ik", "a few minutes")):
        about = {"machine": record["machine"], "commit": record["commit"], "time": spent}
        (folder / "record.yaml").write_text(yaml.safe_dump(about), encoding="utf-8")
    ship = [sys.executable, ROOT / "scripts" / "ship_weights.py", "--to", out / "weights"]
    run(*ship, out / "run", "lite-fast", "--data", folders["heldout"], "--evaluation", out / "evaluation")
    run(*ship, out / "ik", "ik-23")
    print(f"\n{out}: record.yaml, run (curves.png, validation.png, metrics.csv), evaluation, lite-fast.onnx, ik, weights, data")


if __name__ == "__main__":
    main()
