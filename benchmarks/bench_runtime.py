"""The runtime on one core and two: mesh net by torch and onnxruntime, fit, whole frames; what int8 costs; how steady a hand is.

    python benchmarks/bench_runtime.py [--data SHARDS] [--repeats 20] [--frames 150] [--out DIR]

Without --data int8 is timed and not evaluated. Times are CPU and wall milliseconds, medians of rounds in which the variants take
turns. Jitter is measured on a clip that tests/handmesh/clips.py renders, whose truth is known.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, print_table, provenance, results_path, round_robin, write_csv

import handmesh
from handmesh.data.crop import make_crop
from handmesh.data.shards import ShardDataset
from handmesh.estimation.backends import INPUT, OnnxNet, open_net
from handmesh.estimation.estimate import View, crop_of, place
from handmesh.metrics import align_similarity

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "handmesh"))
from clips import FPS, Clip, render_clip

CALIBRATION = 64
"""Crops that int8's ranges are taken from."""


def int8_net(folder: Path, crops: np.ndarray, threads: int) -> OnnxNet:
    """The default net with weights and activations of 8 bits, by onnxruntime's static quantisation of convolutions."""
    import torch
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from handmesh.estimation.onnx import export_onnx
    from handmesh.run_folder import load_run
    from handmesh.shipped import find_run

    path = folder / "int8.onnx"
    if not path.exists():
        run = load_run(find_run(None), torch.device("cpu"))
        export_onnx(run.net, run.hand, run.spec.net, run.spec.side, folder / "whole.onnx")
        quant_pre_process(str(folder / "whole.onnx"), str(folder / "prepared.onnx"), skip_symbolic_shape=True)
        batches = iter([{INPUT: crops[k : k + 8].transpose(0, 3, 1, 2).astype(np.float32) / 255} for k in range(0, len(crops), 8)])

        class Reader(CalibrationDataReader):  # type: ignore[misc]
            def get_next(self) -> Any:
                return next(batches, None)

        quantize_static(
            str(folder / "prepared.onnx"), str(path), Reader(), activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv"], per_channel=True,
        )  # fmt: skip
    return OnnxNet(path, threads)


def times(clip: Clip, repeats: int, folder: Path, crops: np.ndarray) -> list[dict[str, Any]]:
    """A row for each part, runtime and number of threads."""
    import torch

    rows = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        opened = {name: open_net(None, runtime=name, threads=threads) for name in ("torch", "onnx")}
        nets = {"torch fp32": opened["torch"].net, "onnxruntime fp32": opened["onnx"].net}
        nets["onnxruntime int8"] = int8_net(folder, crops, threads)
        image = np.pad(clip.images[0], [(0, 480 - clip.images[0].shape[0]), (0, 640 - clip.images[0].shape[1]), (0, 0)])
        single = handmesh.Hands(opened["onnx"])
        video, drawn = (handmesh.load(mode="video", threads=threads) for _ in range(2))
        view, estimate = (found[0] for found in single.estimator.find([View(clip.images[0], clip.K, "right")]))
        parts = {f"mesh net, {name}": partial(net, crops[:1]) for name, net in nets.items()}
        parts |= {
            "fit of joint angles, from the mesh": partial(single._fit, [view], [estimate]),
            "whole image, 640 x 480": partial(single, image),
            "frame of a video, 640 x 480": partial(video, image),
            "frame of a video, drawn": partial(_drawn, drawn, image),
        }
        for name, (cpu, wall) in round_robin(parts, repeats).items():
            rows.append({"part": name, "threads": threads, "cpu_ms": 1000 * cpu, "wall_ms": 1000 * wall, "fps": 1 / wall})
    return rows


def _drawn(hands: handmesh.Hands, image: np.ndarray) -> None:
    hands.render(image, hands(image))


def precision(data: str, folder: Path, crops: np.ndarray, most: int = 400) -> list[dict[str, Any]]:
    """PA-MPJPE [mm] of the runtimes on the same held-out hands, and how far each vertex is from torch's."""
    hands = handmesh.load(angles=False)
    records = ShardDataset(data)
    labelled = [make_crop(records.read(k), hands.opened.side) for k in range(min(most, len(records)))]
    images = np.stack([crop.image for crop in labelled])
    nets = {"torch fp32": open_net(None, runtime="torch").net, "onnxruntime fp32": hands.opened.net}
    nets["onnxruntime int8"] = int8_net(folder, crops, 1)
    regressor, palm = hands.estimator.regressor, hands.estimator.palm_m
    rows, first = [], None
    for name, net in nets.items():
        found = [net(images[k : k + 32]) for k in range(0, len(images), 32)]
        lixels = np.concatenate([part.vertices for part in found])
        std = np.concatenate([part.std for part in found])
        placed = [place(*each, regressor, palm, each[2].root_depth) for each in zip(lixels, std, labelled, strict=True)]
        vertices = np.stack([crop.R_crop_cam @ one.vertices.T for one, crop in zip(placed, labelled, strict=True)]).swapaxes(1, 2)
        first = vertices if first is None else first
        true = np.stack([crop.keypoints for crop in labelled])
        error = 1000 * np.linalg.norm(align_similarity(regressor @ vertices, true) - true, axis=-1).mean()
        apart = 1000 * np.linalg.norm(vertices - first, axis=-1)
        rows.append(
            {
                "runtime": name,
                "hands": len(images),
                "pa_mpjpe_mm": error,
                "apart_mean_mm": apart.mean(),
                "apart_max_mm": apart.max(),
            }
        )
    return rows


def jitter(clip: Clip) -> list[dict[str, Any]]:
    """Acceleration errors, and how far a hand is behind along its true way, with the filter and without."""
    found = {}
    for name, smooth in (("as fitted", False), ("filtered", True)):
        hands = handmesh.load(mode="video", smooth=smooth)
        frames = [hands(image, K=clip.K) for image in clip.images]
        if any(len(frame) != 1 for frame in frames):
            raise SystemExit(f"{name}: the hand was lost")
        found[name] = np.stack([frame[0].keypoints for frame in frames])
    speed = np.gradient(clip.keypoints, axis=0)
    way = speed / np.maximum(np.linalg.norm(speed, axis=-1, keepdims=True), 1e-9)
    rows = []
    for name, keypoints in found.items():
        error = np.diff(keypoints, n=2, axis=0) - np.diff(clip.keypoints, n=2, axis=0)
        behind = ((found["as fitted"] - keypoints) * way).sum(-1)
        local, true = (points - points[:, :1] for points in (keypoints, clip.keypoints))
        rows.append({
            "hand": name, "frames": len(keypoints),
            "acceleration_error_m_s2": float(np.linalg.norm(error, axis=-1).mean() * FPS**2),
            "behind_mm": 1000 * float(behind.mean()),
            "mpjpe_mm": 1000 * float(np.linalg.norm(local - true, axis=-1).mean()),
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="held-out dataset, for what int8 costs")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--frames", type=int, default=150, help="of the clip")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    clip = render_clip(max(options.frames, 4))
    hands = handmesh.load(angles=False)
    if options.data:
        records = ShardDataset(options.data)
        crops = np.stack([make_crop(records.read(k), hands.opened.side).image for k in range(min(CALIBRATION, len(records)))])
    else:
        boxes = [np.array([60.0, 0, 280, 240])] * 8
        crops = np.stack([crop_of(View(clip.images[0], clip.K, "right", box), hands.opened.side).image for box in boxes])
    tables: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        tables["runtime"] = times(clip, options.repeats, Path(name), crops)
        if options.data:
            tables["runtime_precision"] = precision(options.data, Path(name), crops)
    tables["runtime_jitter"] = jitter(clip)
    for name, rows in tables.items():
        print_table(name, rows)
        write_csv(options.out / results_path(name).name, rows, provenance())


if __name__ == "__main__":
    main()
