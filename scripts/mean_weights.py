"""The mean of two runs of one net, where the second went on from the first: a run of its own, to calibrate and to ship.

    python scripts/mean_weights.py FIRST SECOND OUT

What the second learned (photographs' colours, say) is kept, and what it forgot of the first comes back: on both kinds of images the
mean of two such nets is often better than either (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022, equation 1
with a half). FIRST and SECOND are runs or names of shipped weights; the mean is evaluated on the validation set of SECOND, which
lies where its config.yaml says, or in --val.
"""

import argparse
import csv
import sys
from pathlib import Path

import torch

from handmesh.data.shards import ShardDataset
from handmesh.device import pick_device
from handmesh.evaluation.evaluate import evaluate_run
from handmesh.run_files import WEIGHTS
from handmesh.run_folder import Run, load_run, save_weights, write_run
from handmesh.shipped import find_run
from handmesh.training.weights import weights_of
from handsynth.core.errors import UsageError
from handsynth.core.program import run_program


def mean_of(first: Run, second: Run) -> dict[str, torch.Tensor]:
    """Mean of all weights and statistics, whole numbers as in the second. Raises UsageError for runs of other nets or hands."""
    for what, values in (
        ("nets", (first.spec.net, second.spec.net)), ("sides of crops", (first.spec.side, second.spec.side)),
        ("hands", (first.hand.digest, second.hand.digest)), ("bins", (first.spec.bin_centres, second.spec.bin_centres)),
    ):  # fmt: skip
        if values[0] != values[1]:
            raise UsageError(f"{first.folder} and {second.folder} have other {what} ({values[0]!s:.20} and {values[1]!s:.20})")
    others = first.net.state_dict()
    return {k: (v + others[k]) / 2 if v.is_floating_point() else v for k, v in second.net.state_dict().items()}


def make(options: argparse.Namespace) -> None:
    """Writes the mean's run."""
    if options.out.exists():
        raise UsageError(f"{options.out} is there: name another folder")
    device = pick_device(options.device)
    first, second = (load_run(find_run(run), device) for run in (options.first, options.second))
    validation = options.val or next((part.get("folder") for part in second.config.get("validation", [])), None)
    if validation is None:
        raise UsageError(f"{second.folder} does not say where its validation set lies: --val FOLDER")
    second.net.load_state_dict(mean_of(first, second))
    found = evaluate_run(second, [ShardDataset(validation, second.hand)], 32, 0, device, False)
    write_run(options.out, second.config | {"mean_of": [weights_of(run.folder) for run in (first, second)]}, second.hand)
    with open(second.folder / "metrics.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    mean = {f"val_{key}": f"{values.mean():.6g}" for key, values in found.evaluated["net"].scores.items()}
    mean |= {key: rows[-1][key] for key in ("epoch", "steps")}  # nothing else of SECOND is the mean's
    with open(options.out / "metrics.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], extrasaction="ignore")
        writer.writeheader()
        writer.writerows([*rows, mean])
    save_weights(second.net, options.out / WEIGHTS, second.spec.net, {"hand": second.hand.digest, "side": second.spec.side})
    print(f"{options.out}: the mean of {first.folder} and {second.folder}; PA-MPJPE {mean['val_pa_mpjpe_mm']} mm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("out", type=Path)
    parser.add_argument("--val", type=Path, help="validation set [that of SECOND]")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    run_program("mean_weights.py", lambda: make(options))


if __name__ == "__main__":
    sys.exit(main())
