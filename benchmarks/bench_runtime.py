"""The runtime on one core and two: detector, nets by torch and onnxruntime, fit, whole frames; what int8 costs.

    python benchmarks/bench_runtime.py [--data SHARDS] [--repeats 20] [--out DIR]
                                       [--mediapipe .detector/bin/python]    # MediaPipe's time beside ours

Without --data fp16 and int8 are timed and not evaluated. Times are CPU and wall milliseconds, medians of rounds in which the
variants take turns. `bench_smoothing.py` measures what the filter of videos does.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, print_table, provenance, results_path, round_robin, write_csv

import handmesh
from handmesh.data.crop import make_crop
from handmesh.data.shards import ShardDataset
from handmesh.detection_maps import fitted
from handmesh.estimation.backends import INPUT, OnnxNet, open_net
from handmesh.estimation.detect import Detection, HandDetector
from handmesh.estimation.estimate import View, crop_of, place
from handmesh.metrics import align_similarity
from handmesh.run_files import DETECTOR, SIDE
from handmesh.shipped import find_run

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "handmesh"))
from clips import Clip, render_clip

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


def half_net(folder: Path, threads: int) -> OnnxNet:
    """The default net in half precision throughout, by onnxruntime's converter."""
    import onnx
    import torch
    from onnxruntime.transformers.float16 import convert_float_to_float16

    from handmesh.estimation.onnx import export_onnx
    from handmesh.run_folder import load_run
    from handmesh.shipped import find_run

    path = folder / "fp16.onnx"
    if not path.exists():
        run = load_run(find_run(None), torch.device("cpu"))
        export_onnx(run.net, run.hand, run.spec.net, run.spec.side, folder / "whole.onnx")
        onnx.save(convert_float_to_float16(onnx.load(folder / "whole.onnx"), keep_io_types=True), path)
    return OnnxNet(path, threads)


def times(clip: Clip, repeats: int, folder: Path, crops: np.ndarray) -> list[dict[str, Any]]:
    """A row for each part, runtime and number of threads."""
    import torch

    rows = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        opened = {name: open_net(None, runtime=name, threads=threads) for name in ("torch", "onnx")}
        nets = {"torch fp32": opened["torch"].net, "onnxruntime fp32": opened["onnx"].net}
        nets |= {"onnxruntime fp16": half_net(folder, threads), "onnxruntime int8": int8_net(folder, crops, threads)}
        image = _framed(clip.images[0])
        single = handmesh.Hands(opened["onnx"])
        video, drawn = (handmesh.load(mode="video", detector=None, threads=threads) for _ in range(2))
        detector = HandDetector(find_run(None, DETECTOR), threads=threads, side=find_run(None, SIDE))
        fit, _ = fitted(image, detector.side)

        view, estimate = (found[0] for found in single.estimator.find([View(clip.images[0], clip.K, "right")]))
        parts = {f"mesh net, {name}": partial(net, crops[:1]) for name, net in nets.items()}
        parts |= {
            "detector's net, 256 x 192": partial(detector.net, fit),
            "detector, 640 x 480": partial(detector, image),
            "fit of joint angles, from the mesh": partial(single._fit, [view], [estimate]),
            "image, looked at twice without a detector, 640 x 480": partial(single, image),
            "image with detector, mesh net and fit, 640 x 480": partial(
                handmesh.Hands(opened["onnx"], detector=partial(_one_hand, detector)), image
            ),
            "frame of a video, 640 x 480": partial(video, image),
            "frame of a video, drawn": partial(_drawn, drawn, image),
        }
        for name, (cpu, wall) in round_robin(parts, repeats).items():
            rows.append({"part": name, "threads": threads, "cpu_ms": 1000 * cpu, "wall_ms": 1000 * wall, "fps": 1 / wall})
    return rows


def mediapipe_row(python: Path, images: Sequence[np.ndarray], folder: Path, rounds: int) -> dict[str, Any]:
    """MediaPipe's time for a frame, on the first image in which it finds the hand; else on the first."""
    found: dict[str, float] = {}
    for k, image in enumerate(images):
        np.save(folder / "frame.npy", image)
        command = [python, Path(__file__).with_name("mediapipe_speed.py"), folder / "frame.npy", rounds if not k else 5]
        one = json.loads(subprocess.run([*map(str, command)], check=True, capture_output=True, text=True).stdout)
        found = found or one
        if one["found"]:
            command[-1] = rounds
            found = json.loads(subprocess.run([*map(str, command)], check=True, capture_output=True, text=True).stdout)
            break
    name = "MediaPipe Hands, keypoints alone, 640 x 480" + ("" if found["found"] else " (finds no hand)")
    return {
        "part": name,
        "threads": "its own",
        "cpu_ms": found["cpu_ms"],
        "wall_ms": found["wall_ms"],
        "fps": 1000 / found["wall_ms"],
    }


def _one_hand(detector: HandDetector, image: np.ndarray) -> list[Detection]:
    """As long as the detector takes, and a hand whatever it finds."""
    detector(image)
    return [Detection(np.array([60.0, 0, 280, 240]), "right", 1.0, 0.0)]


def _framed(image: np.ndarray) -> np.ndarray:
    """The image in the corner of a frame of 640 x 480."""
    return np.pad(image, [(0, 480 - image.shape[0]), (0, 640 - image.shape[1]), (0, 0)])


def _drawn(hands: handmesh.Hands, image: np.ndarray) -> None:
    hands.render(image, hands(image))


def precision(data: str, folder: Path, crops: np.ndarray, most: int = 400) -> list[dict[str, Any]]:
    """PA-MPJPE [mm] of the runtimes on the same held-out hands, and how far each vertex is from torch's."""
    hands = handmesh.load(angles=False, detector=None)
    records = ShardDataset(data)
    labelled = [make_crop(records.read(k), hands.opened.side) for k in range(min(most, len(records)))]
    images = np.stack([crop.image for crop in labelled])
    nets = {"torch fp32": open_net(None, runtime="torch").net, "onnxruntime fp32": hands.opened.net}
    nets |= {"onnxruntime fp16": half_net(folder, 1), "onnxruntime int8": int8_net(folder, crops, 1)}
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="held-out dataset, for what int8 costs")
    parser.add_argument("--mediapipe", type=Path, metavar="PYTHON", help="interpreter of an environment with MediaPipe 0.10.21")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    clip = render_clip(4)
    hands = handmesh.load(angles=False, detector=None)
    if options.data:
        records = ShardDataset(options.data)
        crops = np.stack([make_crop(records.read(k), hands.opened.side).image for k in range(min(CALIBRATION, len(records)))])
    else:
        boxes = [np.array([60.0, 0, 280, 240])] * 8
        crops = np.stack([crop_of(View(clip.images[0], clip.K, "right", box), hands.opened.side).image for box in boxes])
    tables: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        tables["runtime"] = times(clip, options.repeats, Path(name), crops)
        if options.mediapipe:
            frames = [_framed(image) for image in clip.images]
            tables["runtime"].append(mediapipe_row(options.mediapipe, frames, Path(name), 10 * options.repeats))
        if options.data:
            tables["runtime_precision"] = precision(options.data, Path(name), crops)
    for name, rows in tables.items():
        print_table(name, rows)
        write_csv(options.out / results_path(name).name, rows, provenance())


if __name__ == "__main__":
    main()
