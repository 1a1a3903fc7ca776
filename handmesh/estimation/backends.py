"""What runs a mesh net: onnxruntime, which needs no torch, or torch. Crops in, lixels out, whichever it is; and a detector's net.

Shipped weights hold their net as a graph (`net.onnx`) whose numbers are those of `weights.safetensors` beside it, so that both
libraries read the same bytes; a file of `handmesh export` holds its own. Nothing here knows boxes, cameras or hands in an image.
"""

import hashlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from handmesh.detection_maps import MapsNet, as_input
from handmesh.run_files import DETECTOR, GRAPH, HAND, KINDS, SCHEMA, SIDE, WEIGHTS
from handmesh.shipped import find_run
from handsynth.core.errors import AssetError, HandsynthError, UsageError
from handsynth.core.hand import HandModel, load_hand
from handsynth.core.named_hands import open_hand

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from handmesh.nets.mesh_net import Prediction

INPUT = "image"
"""Of an ONNX file: (B, 3, S, S) float32, sRGB in [0, 1], of a right hand's square crop."""

OUTPUTS = ("keypoints", "vertices", "vertices_std", "keypoints_std")
"""(B, 21, 3) keypoints regressed from the vertices, (B, V, 3) vertices and one standard deviation of each, and (B, 21, 3) that of
PoseNet's keypoints; all in lixels, axes x, y, z, float32."""

MAPS, SEEN = "maps", "seen"
"""The output of a detector's graph, see `handmesh.detection_maps`; and of that which looks again, (B, 2) logits."""

SideNet = Callable[[Sequence[np.ndarray]], np.ndarray]
"""(S, S, 3) uint8 upright crops -> (B, 2) float32 logits: of a left hand if it is one, and of its being a hand."""

RUNTIMES = ("auto", "onnx", "torch")
"""What may run a net; auto takes onnxruntime where there is a graph for it."""

OWN, NONE = "own", "none"
"""Words for a detector or an IK net: that which comes with the package, and none."""

NO_RUNTIME = "onnxruntime is not installed: pip install 'handsynth[predict]'"


class Lixels(NamedTuple):
    """What a net says of B crops, in the frame of `handmesh.lixels`; float64."""

    vertices: np.ndarray  # (B, V, 3)
    std: np.ndarray  # (B, V, 3) one standard deviation along x, y and z


Net = Callable[[np.ndarray], Lixels]
"""(B, S, S, 3) uint8 sRGB crops of right hands -> lixels."""


class Opened(NamedTuple):
    """A net with what is needed to use it."""

    net: Net
    hand: HandModel  # that it was trained on
    side: int  # S, of its crops [px]
    name: str  # of the registry
    runtime: str  # "onnxruntime" or "torch"


def open_net(model: str | Path | None = None, device: str = "auto", runtime: str = "auto", threads: int | None = None) -> Opened:
    """Opens a net by whatever can run it.

    Args:
        model: a file of `handmesh export`, a run's folder, the name of shipped weights; None is the default of these.
        device: "auto", "cpu", "cuda" or "cuda:N"; a GPU is torch's affair.
        runtime: of `RUNTIMES`.
        threads: of onnxruntime; None leaves it to that.

    Raises UsageError when there is no such model or it is of another version, HandsynthError when a file of it is damaged,
    AssetError naming what to install when nothing here can run it.
    """
    if runtime not in RUNTIMES:
        raise UsageError(f"there is no runtime {runtime!r}: use {', '.join(RUNTIMES)}")
    if model is not None and Path(model).suffix == ".onnx":
        return _open_onnx(Path(model), threads)
    folder = find_run(model)
    graph = folder / GRAPH
    has_onnx, has_torch = (is_installed(name) for name in ("onnxruntime", "torch"))
    wants_torch = runtime == "torch" or (runtime == "auto" and (not graph.exists() or device not in ("auto", "cpu")))
    if wants_torch or (runtime == "auto" and has_torch and not has_onnx):
        if not has_torch:
            way = "handmesh export makes a file that onnxruntime runs; " if not graph.exists() else ""
            raise AssetError(f"{folder} needs torch to run here: {way}pip install 'handsynth[train]'")
        return _open_torch(folder, device)
    if not graph.exists():
        raise UsageError(f"{folder} has no {GRAPH} for onnxruntime: handmesh export {folder} MODEL.onnx makes one")
    return _open_onnx(graph, threads)


def open_maps(folder: Path, threads: int | None = None) -> tuple[MapsNet, int]:
    """Opens a detector's run by onnxruntime where it has a graph for that, else by torch; and the longer side of its images [px].

    Raises as `open_net` does.
    """
    run, side = _open_small(folder, DETECTOR, MAPS, threads)
    return (lambda image: run(as_input([image]))[0]), side


def open_side(folder: Path, threads: int | None = None) -> SideNet:
    """The same of the net that looks again at what a detector has found."""
    run, _ = _open_small(folder, SIDE, SEEN, threads)
    return lambda crops: run(as_input(crops))


def _open_small(folder: Path, kind: str, output: str, threads: int | None) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """A run's net without a hand: from (B, 3, H, W) float32 to its output; and the side that its metadata name [px]."""
    graph = folder / GRAPH
    if has_graph(folder):
        session, about = open_graph(graph, kind, threads)
        side = about.get("side_px", "")
        if not side.isdigit():
            raise UsageError(f"{folder} is no run of {KINDS[kind]}")
        return (lambda images: run_graph(session, graph, [output], images)[0]), int(side)
    import torch

    from handmesh.run_folder import load_detector

    run = load_detector(folder, torch.device("cpu"), kind)

    def found(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            value: np.ndarray = run.net(torch.from_numpy(images)).numpy()
        return value

    return found, run.side


def has_graph(folder: Path) -> bool:
    """Whether onnxruntime runs the net of a folder; else torch does. Raises AssetError when neither can."""
    has_onnx, has_torch = (is_installed(name) for name in ("onnxruntime", "torch"))
    if (folder / GRAPH).exists() and (has_onnx or not has_torch):
        return True
    if not has_torch:
        raise AssetError(f"{folder} needs torch to run here: pip install 'handsynth[train]'")
    return False


def open_graph(graph: Path, kind: str, threads: int | None) -> tuple[Any, dict[str, str]]:
    """A shipped graph of a kind: its session, and what it says of itself."""
    _check_weights(graph)
    session = open_session(graph, threads)
    about = _metadata(session, graph)
    if about.get("net") != kind:
        raise UsageError(f"{graph.parent} is no run of {KINDS[kind]}")
    if about.get("schema") != str(SCHEMA):
        raise UsageError(
            f"{graph} holds a net of schema {about.get('schema')}, this version reads {SCHEMA}: use its version of the package"
        )
    return session, about


def is_installed(name: str) -> bool:
    """Whether a package can be imported, without doing so."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _open_torch(folder: Path, device: str) -> Opened:
    from handmesh.device import pick_device
    from handmesh.run_folder import load_run

    where = pick_device(device)
    run = load_run(folder, where)
    return Opened(TorchNet(run.net, where), run.hand, run.spec.side, run.spec.net, "torch")


class TorchNet:
    """A `Net` of a module in evaluation mode, on `device`."""

    def __init__(self, net: "Callable[[Tensor], Prediction]", device: "torch.device") -> None:
        self.net, self.device = net, device

    def __call__(self, images: np.ndarray) -> Lixels:
        """As `Net` has it."""
        import torch

        with torch.inference_mode():
            image = torch.from_numpy(_planes(images)).to(self.device).float() / 255
            found = self.net(image)
        return Lixels(*(t.float().cpu().numpy().astype(np.float64) for t in (found.vertices, found.vertices_std)))


class OnnxNet:
    """A `Net` of an ONNX file. Raises AssetError without onnxruntime, HandsynthError when the file is damaged."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self.session, self.path = open_session(path, threads), path
        self.about = _metadata(self.session, path)
        names = [value.name for value in self.session.get_inputs()], [value.name for value in self.session.get_outputs()]
        if names != ([INPUT], list(OUTPUTS)):
            raise HandsynthError(f"{path} is no model of handmesh: it has other inputs or outputs than handmesh export writes")

    def __call__(self, images: np.ndarray) -> Lixels:
        """As `Net` has it."""
        image = _planes(images).astype(np.float32)
        image /= 255
        vertices, std = run_graph(self.session, self.path, list(OUTPUTS[1:3]), image)
        return Lixels(vertices.astype(np.float64), std.astype(np.float64))


def open_session(path: Path, threads: int | None = None) -> Any:
    """onnxruntime's InferenceSession of a file, on the CPU. Raises as `OnnxNet` does."""
    try:
        import onnxruntime
    except ImportError:
        raise AssetError(NO_RUNTIME) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # one sentence here is enough
    options.intra_op_num_threads = threads or 0
    # Threads that wait sleep: spinning takes the core from whoever draws and fits meanwhile.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        with open(path, "rb"):
            return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or 'no such file'}") from None
    except Exception as error:  # onnxruntime's errors have classes of their own, one for each reason
        raise HandsynthError(f"{path} is damaged, or no ONNX model: {_one_line(error)}") from None


def _metadata(session: Any, path: Path) -> dict[str, str]:
    """What a model says of itself. Raises HandsynthError when that or its names are no text."""
    try:
        for value in (*session.get_inputs(), *session.get_outputs()):
            str(value.name)  # onnxruntime decodes it now
        return dict(session.get_modelmeta().custom_metadata_map)
    except UnicodeDecodeError:
        raise HandsynthError(f"{path} is damaged: it holds names that are no text") from None


def run_graph(session: Any, path: Path, outputs: list[str], values: np.ndarray, name: str = INPUT) -> list[np.ndarray]:
    """A model's outputs for its input. Raises HandsynthError when it does not take what its metadata name."""
    try:
        found: list[np.ndarray] = session.run(outputs, {name: values})
    except Exception as error:  # onnxruntime's errors have classes of their own, one for each reason
        raise HandsynthError(f"{path} is damaged: it takes another input than its metadata say ({_one_line(error)})") from None
    return found


def _one_line(error: Exception) -> str:
    return " ".join(ascii(str(error))[1:-1].replace("\\n", " ").split())[:120]


def _open_onnx(path: Path, threads: int | None) -> Opened:
    """A model file with the hand that lies beside it, or with the embedded one where it was trained on that."""
    _check_weights(path)
    net = OnnxNet(path, threads)
    try:
        schema, side, count = (int(net.about[name]) for name in ("schema", "side_px", "num_vertices"))
        name, digest = net.about["net"], net.about["hand_digest"]
    except (KeyError, ValueError):
        raise HandsynthError(f"{path} is no model of this version of handmesh: handmesh export makes it anew") from None
    if schema != SCHEMA:
        other = "a newer version" if schema > SCHEMA else "an older version"
        raise UsageError(f"{path} holds a net of schema {schema}, this version reads {SCHEMA}: use {other} of the package")
    beside = path.parent / HAND
    hand = load_hand(beside) if beside.exists() else open_hand("embedded")
    if hand.digest != digest or hand.num_vertices != count:
        raise UsageError(
            f"{path} is for another hand ({digest:.12}) than {hand.name} ({hand.digest:.12}): its {HAND} goes beside it"
        )
    return Opened(net, hand, side, name, "onnxruntime")


def _check_weights(path: Path) -> None:
    """Raises HandsynthError when a shipped graph or the weights that it refers to are not as `onnx.export_graph` left them."""
    weights = path.parent / WEIGHTS
    if path.name != GRAPH:
        return
    try:
        wanted = (path.parent / f"{GRAPH}.sha256").read_text(encoding="ascii").split()
        found = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (path, weights)]
    except (OSError, UnicodeDecodeError) as error:
        raise HandsynthError(f"{path.parent} is incomplete or damaged: {_one_line(error)}") from None
    if wanted != found:
        raise HandsynthError(f"{path.parent} is damaged: {GRAPH} or {WEIGHTS} is not what was shipped; install the package anew")


def _planes(images: np.ndarray) -> np.ndarray:
    """(B, S, S, 3) -> (B, 3, S, S), contiguous."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
