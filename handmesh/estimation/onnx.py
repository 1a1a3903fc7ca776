"""A trained net as ONNX, which runs without torch, compared with the net itself before it is trusted.

`handmesh export` writes one file that holds everything. Shipped weights get a graph alone, `net.onnx`, whose numbers are those of
`weights.safetensors` beside it, in half precision where that has them so: no byte is shipped twice, and torch and onnxruntime
cannot disagree about a number.
"""

import hashlib
import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from handmesh.detection_maps import CHANNELS, MULTIPLE, SIDE_PX, STRIDE
from handmesh.estimation.backends import INPUT, MAPS, OUTPUTS, SEEN, open_session
from handmesh.estimation.first_guess import FOUND, KEYPOINTS
from handmesh.kinematics.ik_net import IKNet, IKRun
from handmesh.lixels import HALF_DEPTH_M, LIXELS
from handmesh.nets.mesh_net import HandMeshNet
from handmesh.run_files import DETECTOR, GRAPH, IK, SCHEMA, SIDE, WEIGHTS
from handmesh.run_folder import Run, current_name
from handsynth.core.errors import AssetError, HandsynthError, UsageError
from handsynth.core.files import write_atomically, write_file
from handsynth.core.hand import HandModel

TOLERANCE_LIXELS = 1e-2
"""Greatest difference between file and net that is let pass: 0.05 mm of depth, or 0.04 px of a 256 px crop. Float32 makes far less
of it unless a net is very sensitive to its input."""

OPSET = 18
"""ONNX's operator set: of 2022, which runtimes of the last years read."""

_NEEDED = ("onnx", "onnxruntime")


class _Exported(nn.Module):
    """A net as the file has it: a tuple in the order of OUTPUTS."""

    def __init__(self, net: HandMeshNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        found = self.net(image)
        return self.net.regress_keypoints(found.vertices), found.vertices, found.vertices_std, found.keypoints_std


def export_onnx(net: HandMeshNet, hand: HandModel, net_name: str, side: int, path: Path) -> None:
    """Writes a net as one ONNX file with a free batch size, which says in its metadata what it is and in which units it speaks.

    Args:
        net: in evaluation mode, on the CPU.
        hand: that it was trained on.
        net_name: of the registry.
        side: S, of the images that it takes [px].
        path: of the file; whole or not at all.

    Raises AssetError when the packages of the extra `onnx` are missing.
    """
    check_packages()
    import onnx

    def write(temporary: Path) -> None:
        _export(_exported(net, side), temporary)
        model = onnx.load(temporary)
        onnx.helper.set_model_props(model, metadata(hand, net_name, side))
        onnx.save(model, temporary)

    write_atomically(path, write)


class _Graph(NamedTuple):
    """What a file is made of."""

    module: nn.Module
    example: Tensor  # input
    outputs: tuple[str, ...]
    free: dict[str, dict[int, str]]  # axes of any length, of input and outputs
    input: str = INPUT


def export_graph(run: Run) -> None:
    """Writes `net.onnx`, a graph that refers to the weights, into a run's folder, and `net.onnx.sha256`, the digests of both.

    A weight that lies there in half precision is turned into single precision when the graph is loaded, as torch does it. Norms
    stay apart from their convolutions, which merges them at loading too, or no number would be as it is in the file.

    Args:
        run: opened from the folder, on the CPU.

    Raises AssetError when the packages of the extra `onnx` are missing.
    """
    _export_graph(_exported(run.net, run.spec.side), run.folder, metadata(run.hand, run.spec.net, run.spec.side))


def export_detector(net: nn.Module, folder: Path, side: int) -> None:
    """The same of a detector's run; images may have any size."""
    free = {INPUT: {0: "batch", 2: "height", 3: "width"}, MAPS: {0: "batch", 2: "rows", 3: "columns"}}
    about = {
        "schema": str(SCHEMA),
        "net": DETECTOR,
        "side_px": str(side),
        "input": f"{INPUT}: (batch, 3, height, width) float32, sRGB in [0, 1], sides multiples of {MULTIPLE}",
        "outputs": f"{MAPS}: (batch, {len(CHANNELS)}, height / {STRIDE}, width / {STRIDE}), {', '.join(CHANNELS)}",
    }
    _export_graph(_Graph(net, torch.zeros(1, 3, 64, 96), (MAPS,), free), folder, about)


def export_side(net: nn.Module, folder: Path) -> None:
    """The same of the net that looks again at what a detector has found."""
    about = {
        "schema": str(SCHEMA),
        "net": SIDE,
        "side_px": str(SIDE_PX),
        "input": f"{INPUT}: (batch, 3, {SIDE_PX}, {SIDE_PX}) float32, sRGB in [0, 1], upright crop of a hand",
        "outputs": f"{SEEN}: (batch, 2) logits of a left hand, if it is one, and of a hand",
    }
    free = {INPUT: {0: "batch"}, SEEN: {0: "batch"}}
    _export_graph(_Graph(net, torch.zeros(2, 3, SIDE_PX, SIDE_PX), (SEEN,), free), folder, about)


class _OfTurned(nn.Module):
    """An IK net as its graph has it: from turned keypoints to the tuple of FOUND."""

    def __init__(self, net: IKNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, keypoints: Tensor) -> tuple[Tensor, Tensor]:
        found = self.net.of_turned(keypoints)
        return self.net.fingers(found.pose), found.beta


def export_ik(run: IKRun) -> None:
    """The same of an IK net that finds beta itself. Raises UsageError for one that is given it."""
    if run.net.known_shape:
        raise UsageError(f"{run.folder} holds an IK net of known shapes: handmesh runs such nets by torch alone")
    about = {
        "schema": str(SCHEMA),
        "net": IK,
        "hand": run.hand.name,
        "hand_digest": run.hand.digest,
        "dofs": str(run.net.dofs),
        "input": f"{KEYPOINTS}: (batch, 21, 3) float32, right hands in FreiHAND's order [m], palms turned upon the template's",
        "outputs": "theta: (batch, 15, 3) axis-angles of the finger joints [rad]; beta: shape [standard deviations]",
    }
    free = {name: {0: "batch"} for name in (KEYPOINTS, *FOUND)}
    _export_graph(_Graph(_OfTurned(run.net), torch.zeros(2, 21, 3), FOUND, free, KEYPOINTS), run.folder, about)


def _export_graph(graph: _Graph, folder: Path, about: dict[str, str]) -> None:
    check_packages()
    import onnx

    weights = folder / WEIGHTS
    data = weights.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = {current_name(name): entry for name, entry in json.loads(data[8 : 8 + length]).items()}

    def write(temporary: Path) -> None:
        _export(graph, temporary, training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)
        model = onnx.load(temporary)
        made, tensors, casts = model.graph, [], []
        for tensor in made.initializer:
            entry = header.get(tensor.name.removeprefix("net."))
            if entry is None:  # a constant of the code
                kept = onnx.TensorProto()
                kept.CopyFrom(tensor)
                tensors.append(kept)
                continue
            start, end = entry["data_offsets"]
            half = entry["dtype"] == "F16"
            kind = onnx.TensorProto.FLOAT16 if half else tensor.data_type
            name = f"{tensor.name}.half" if half else tensor.name
            outside = onnx.TensorProto(name=name, data_type=kind, dims=tensor.dims, data_location=onnx.TensorProto.EXTERNAL)
            for key, value in {"location": WEIGHTS, "offset": str(8 + length + start), "length": str(end - start)}.items():
                outside.external_data.add(key=key, value=value)
            tensors.append(outside)
            if half:
                casts.append(onnx.helper.make_node("Cast", [name], [tensor.name], to=onnx.TensorProto.FLOAT))
        nodes = [*casts, *made.node]
        del made.initializer[:], made.node[:]
        made.initializer.extend(tensors)
        made.node.extend(nodes)
        onnx.helper.set_model_props(model, about)
        temporary.write_bytes(model.SerializeToString())

    path = folder / GRAPH
    write_atomically(path, write)
    digests = "".join(f"{hashlib.sha256(file).hexdigest()}\n" for file in (path.read_bytes(), data))
    write_file(folder / f"{GRAPH}.sha256", digests.encode())


def _exported(net: HandMeshNet, side: int) -> _Graph:
    free = {name: {0: "batch"} for name in (INPUT, *OUTPUTS)}
    return _Graph(_Exported(net), torch.zeros(2, 3, side, side), OUTPUTS, free)


def _export(graph: _Graph, path: Path, **options: Any) -> None:
    """torch's older exporter: a tenth of the newer one's time, the same in every torch that is allowed, and as exact."""
    with _quiet():
        torch.onnx.export(
            graph.module.eval(),
            (graph.example,),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=[graph.input],
            output_names=list(graph.outputs),
            dynamic_axes=graph.free,
            **options,
        )


def metadata(hand: HandModel, net_name: str, side: int) -> dict[str, str]:
    """What the file says of itself, names and text as ONNX wants them."""
    return {
        "schema": str(SCHEMA),
        "net": net_name,
        "hand": hand.name,
        "hand_digest": hand.digest,
        "hand_licence": hand.licence,
        "fingertip_table": hand.fingertip_table,
        "num_vertices": str(hand.num_vertices),
        "side_px": str(side),
        "input": f"{INPUT}: (batch, 3, {side}, {side}) float32, sRGB in [0, 1], square crop of a right hand (mirror left ones)",
        "outputs": "lixels, axes x, y, z, origin at the crop's top-left corner; keypoints in FreiHAND's order, from the vertices",
        "lixels": f"x, y: {LIXELS} to the crop's side; z: {LIXELS} to {2 * HALF_DEPTH_M:g} m, {LIXELS // 2} at the wrist's depth",
        "std": "one standard deviation, in lixels; as large as errors were in validation",
    }


def check_onnx(
    net: HandMeshNet, side: int, path: Path, batches: tuple[int, ...] = (1, 3), tolerance_lixels: float = TOLERANCE_LIXELS
) -> float:
    """Runs file and net on the same random images, so many at a time, and returns the greatest difference of any output [lixels].

    Raises HandsynthError when it exceeds the tolerance, AssetError when the packages of the extra `onnx` are missing.
    """
    check_packages()
    session = open_session(path)
    rng, exported = np.random.default_rng(0), _Exported(net).eval()
    worst = 0.0
    for count in batches:
        # Blurred: white noise is so unlike an image that a net's own rounding errors grow on it.
        coarse = torch.from_numpy(rng.random((count, 3, 8, 8), np.float32))
        image = nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
        with torch.no_grad():
            wanted = exported(image)
        for name, found, expected in zip(OUTPUTS, session.run(list(OUTPUTS), {INPUT: image.numpy()}), wanted, strict=True):
            if found.shape != expected.shape:
                raise HandsynthError(f"{path}: {name} has shape {found.shape}, the net's {tuple(expected.shape)}")
            worst = max(worst, float(np.abs(found - expected.numpy()).max()))
    if not worst <= tolerance_lixels:
        raise HandsynthError(f"{path} differs from the net by {worst:g} lixels, more than {tolerance_lixels:g}: do not use it")
    return worst


def check_packages() -> None:
    """Raises AssetError naming what to install when ONNX's packages are not here."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise AssetError(f"{' and '.join(missing)} not installed: pip install 'handsynth[onnx]'")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences what torch's exporter says of its own deprecated parts."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
