"""The runtime without torch: it is torch's equal, says what is missing or damaged, and runs the examples of docs/api.md."""

import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from clips import render_clip
from doc_blocks import run_page
from hands import hand_of
from untrained import write_untrained

import handmesh
from handmesh.estimation import backends
from handmesh.estimation.backends import OnnxNet, open_net
from handmesh.estimation.detect import Detection, MediaPipeDetector, detections, given_boxes, open_detector, overlap
from handmesh.run_files import GRAPH, HAND, WEIGHTS
from handmesh.shipped import find_run
from handsynth.core.errors import AssetError, HandsynthError, UsageError
from handsynth.core.mirror import mirror_points

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def clip():
    return render_clip(12)


@pytest.fixture(scope="module")
def photo(clip, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    cv2.imwrite(str(path), clip.images[0][..., ::-1])
    return path


NO_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "safetensors", "tensorboard", "smplx", "onnx"):
            raise ImportError(f"{name} is not installed")
sys.meta_path.insert(0, Blocked())
"""


def without_torch(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh interpreter, in `folder`, that cannot import torch."""
    environment = {"PATH": "", "HOME": str(folder), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", NO_TORCH + code]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)


def test_images_become_meshes_and_angles_where_torch_cannot_be_imported(photo, tmp_path):
    """The three lines of the README, and the command on a folder."""
    code = f"""
import handmesh
hands = handmesh.load()
for hand in hands({str(photo)!r}):
    print(hand.side, hand.vertices.shape, len(hand.joint_angles_deg))
from handmesh.cli.main import make_app
make_app()(["predict", {str(photo.parent)!r}, "--out", "out"], standalone_mode=False)
assert "torch" not in sys.modules
"""
    done = without_torch(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("right (778, 3) 23\n")
    assert (tmp_path / "out" / "photo.glb").read_bytes()[:4] == b"glTF"
    assert (tmp_path / "out" / "angles.csv").read_text().count("\n") == 2


def test_what_needs_torch_says_so(photo, tmp_path):
    """A run without a graph, and torch by name: which extra to install, exit code 3."""
    run = write_untrained(tmp_path / "run", hand_of("toy"))
    for words in (f"'--run', {str(run)!r}", "'--runtime', 'torch'"):
        code = f"from handmesh.cli.main import main; sys.argv = ['handmesh', 'predict', {str(photo)!r}, {words}]; main()"
        done = without_torch(code, tmp_path)
        assert done.returncode == 3
        assert done.stderr.endswith("pip install 'handsynth[train]'\n")
        assert done.stderr.count("\n") == 1


def test_both_runtimes_agree(clip):
    """On the same images, within 0.1 mm at every vertex; joint angles within a third of a degree, but for the odd hand whose fit
    has two minima, of which so small a difference may choose the other.
    """
    both = [handmesh.load(runtime=name, detector=None) for name in ("onnx", "torch")]
    assert [hands.opened.runtime for hands in both] == ["onnxruntime", "torch"]
    apart = []
    for image in clip.images[::2]:
        (first,), (second,) = (hands(image, K=clip.K) for hands in both)
        assert 1000 * np.abs(first.vertices - second.vertices).max() < 0.1
        np.testing.assert_allclose(first.std_mm, second.std_mm, rtol=1e-3)
        angles = [np.array(list(hand.joint_angles_deg.values())) for hand in (first, second)]
        apart.append(np.abs(angles[0] - angles[1]).max())
    assert sorted(apart)[-2] < 0.3
    assert len(apart) == 6


def test_a_mirrored_image_gives_the_mirrored_hand(clip):
    hands, image = handmesh.load(detector=None), clip.images[0]
    (right,) = hands(image, K=clip.K)
    (left,) = hands(np.ascontiguousarray(image[:, ::-1]), K=clip.K, sides="left")
    np.testing.assert_allclose(left.vertices, mirror_points(right.vertices), atol=2e-3)
    np.testing.assert_allclose(list(left.joint_angles_deg.values()), list(right.joint_angles_deg.values()), atol=2)


def test_a_turned_hand_is_seen_upright(clip):
    """An image on its side with the detector's angle gives the upright image's hand, turned."""
    hands, image = handmesh.load(angles=False, detector=None), np.pad(clip.images[0], [(40, 40), (0, 0), (0, 0)])
    box = np.array([90.0, 60, 260, 290])
    turned = np.ascontiguousarray(np.rot90(image, -1))  # clockwise: (x, y) -> (H - y, x)
    where = np.array([320 - box[3], box[0], 320 - box[1], box[2]])
    (upright,) = handmesh.load(angles=False, detector=lambda _: [(box, "right", 1.0, 0.0)])(image)
    (found,) = handmesh.load(angles=False, detector=lambda _: [(where, "right", 1.0, np.pi / 2)])(turned)
    x, y, z = np.moveaxis(upright.vertices, -1, 0)
    assert 1000 * np.abs(found.vertices - np.stack([-y, x, z], -1)).max() < 3
    (unaware,) = hands(turned, boxes=[where])
    assert np.abs(unaware.vertices - found.vertices).max() > 0.02


@pytest.fixture
def shipped(tmp_path) -> Path:
    """A copy of the default weights."""
    return Path(shutil.copytree(find_run(None), tmp_path / "weights"))


@pytest.mark.parametrize("file", [GRAPH, WEIGHTS])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_damaged_models_are_refused(shipped, file, how):
    """A changed bit, half a file, no file: one sentence with the folder, before anything runs."""
    data = bytearray((shipped / file).read_bytes())
    data[len(data) // 2] ^= 1
    (shipped / file).write_bytes(data if how == "flipped" else data[: len(data) // 2])
    if how == "gone":
        (shipped / file).unlink()
    with pytest.raises(HandsynthError) as found:
        open_net(shipped, runtime="onnx")
    assert str(shipped) in str(found.value)
    assert "\n" not in str(found.value)


def test_graphs_refer_to_the_weights_and_repeat_none():
    """A shipped graph is a fortieth of its weights: it has no numbers of its own."""
    folder = find_run(None)
    assert (folder / GRAPH).stat().st_size < (folder / WEIGHTS).stat().st_size / 40
    graph = onnx.load(folder / GRAPH, load_external_data=False).graph
    assert {entry.value for tensor in graph.initializer for entry in tensor.external_data if entry.key == "location"} == {WEIGHTS}


def model_of(path: Path, **properties: str) -> Path:
    """A valid ONNX file with the names of ours, which knows nothing."""

    def value(name):
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)

    nodes = [onnx.helper.make_node("Identity", [backends.INPUT], [name]) for name in backends.OUTPUTS]
    graph = onnx.helper.make_graph(nodes, "g", [value(backends.INPUT)], [value(name) for name in backends.OUTPUTS])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    onnx.helper.set_model_props(model, properties)
    onnx.save(model, path)
    return path


def test_files_of_other_versions_and_hands_are_refused(tmp_path):
    hand = hand_of("embedded")
    about = {"schema": "1", "net": "x", "side_px": "64", "num_vertices": str(hand.num_vertices), "hand_digest": hand.digest}
    with pytest.raises(HandsynthError, match="is no model of this version of handmesh"):
        open_net(model_of(tmp_path / "a.onnx"))
    with pytest.raises(UsageError, match="schema 99, this version reads 1: use a newer version"):
        open_net(model_of(tmp_path / "a.onnx", **about | {"schema": "99"}))
    with pytest.raises(UsageError, match=rf"is for another hand \(0123456789ab\) than embedded \(.*\): its {HAND} goes beside it"):
        open_net(model_of(tmp_path / "a.onnx", **about | {"hand_digest": "0123456789abcdef"}))
    (tmp_path / "b.onnx").write_bytes(b"no model")
    with pytest.raises(HandsynthError, match=r"b\.onnx is damaged, or no ONNX model"):
        open_net(tmp_path / "b.onnx")
    with pytest.raises(UsageError, match=r"c\.onnx cannot be read: No such file"):
        open_net(tmp_path / "c.onnx")
    with pytest.raises(UsageError, match="no runtime 'tensorrt': use auto, onnx, torch"):
        open_net(runtime="tensorrt")
    with pytest.raises(UsageError, match=rf"has no {GRAPH} for onnxruntime: handmesh export"):
        open_net(write_untrained(tmp_path / "run", hand_of("toy")), runtime="onnx")


def test_onnxruntime_missing_says_which_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(AssetError, match=r"onnxruntime is not installed: pip install 'handsynth\[predict\]'"):
        OnnxNet(find_run(None) / GRAPH)
    with pytest.raises(AssetError, match=r"pip install 'handsynth\[predict\]'"):
        open_net(runtime="onnx")


def test_the_examples_run(photo, clip, tmp_path, monkeypatch):
    """Every block of docs/api.md, one after the other, as they stand; a second run of one of them in a new place would too."""
    shutil.copy(photo, tmp_path)
    monkeypatch.chdir(tmp_path)
    names = run_page(ROOT / "docs" / "api.md", monkeypatch, {"frames": clip.images[:3]})
    assert names["drawn"].shape == clip.images[0].shape
    assert (names["drawn"] != cv2.imread("photo.jpg")[..., ::-1]).any()


def test_the_package_names_little():
    assert sorted(handmesh.__all__) == ["Detection", "Hand", "Hands", "load"]
    for name in handmesh.__all__:
        assert getattr(handmesh, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = handmesh.nothing


@pytest.mark.parametrize(
    "image",
    [np.zeros((64, 64), np.uint8), np.zeros((64, 64, 4), np.uint8), np.zeros((64, 64, 3)), np.zeros((64, 64, 3), np.uint16), None],
)
def test_arrays_that_are_no_images_are_named(image):
    with pytest.raises(UsageError, match=r"expected uint8 of \(height, width, 3\), sRGB"):
        handmesh.load(angles=False)(image)


def test_detections_are_checked():
    """What a detector may not return, and boxes and sides that do not go together."""
    good = Detection(np.array([0.0, 0, 5, 5]), "left", 0.5)
    assert detections([good, ((1, 2, 3, 4), "right", 1, None)])[0].side == "left"
    for bad in (((5, 5, 5, 9), "left", 1, None), ((0, 0, float("nan"), 9), "left", 1, None), ((0, 0, 9), "left", 1, None)):
        with pytest.raises(UsageError, match="expected x0, y0, x1, y1"):
            detections([bad])
    with pytest.raises(UsageError, match="right or left, not 'both'"):
        detections([((0, 0, 9, 9), "both", 1, None)])
    with pytest.raises(UsageError, match="1 boxes and 2 sides"):
        given_boxes([(0, 0, 9, 9)], ["left", "right"])
    assert overlap(np.array([0, 0, 2, 2.0]), np.array([1, 0, 3, 2.0])) == pytest.approx(1 / 3)
    assert overlap(np.array([0, 0, 2, 2.0]), np.array([2, 0, 3, 2.0])) == 0


class Stub:
    """As much of MediaPipe as the detector touches."""

    def __init__(self, version: str) -> None:
        self.__version__ = version
        self.tasks = self.vision = self
        self.ImageFormat = self
        self.SRGB = 1
        self.HandLandmarker = self

    Image = BaseOptions = HandLandmarkerOptions = staticmethod(lambda **arguments: arguments)

    def create_from_options(self, options):
        return self

    def detect(self, image):
        assert image["data"].dtype == np.uint8
        points = np.tile([0.5, 0.5], (21, 1))
        points[0], points[9], points[12] = [0.25, 0.5], [0.5, 0.5], [0.75, 0.6]  # pointing to the right

        class Point:
            def __init__(self, x, y):
                self.x, self.y = x, y

        class Category:
            category_name, score = "Left", 0.8

        class Found:
            hand_landmarks = [[Point(*p) for p in points]]  # noqa: RUF012
            handedness = [[Category]]  # noqa: RUF012

        return Found


def test_mediapipes_landmarks_become_detections(monkeypatch, tmp_path):
    """Box about the points with a margin, the angle from upright, and the side as this version of it means it."""
    (tmp_path / "hand_landmarker.task").write_bytes(b"")
    for version, side in (("0.10.14", "right"), ("0.10.21", "left")):
        monkeypatch.setitem(sys.modules, "mediapipe", Stub(version))
        (found,) = open_detector(tmp_path / "hand_landmarker.task")(np.zeros((100, 200, 3), np.uint8))
        margin = MediaPipeDetector.MARGIN * 100
        np.testing.assert_allclose(found.box, [50 - margin, 50 - margin, 150 + margin, 60 + margin])
        assert (found.side, found.score) == (side, 0.8)
        assert found.angle == pytest.approx(np.pi / 2)
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(AssetError, match="pip install mediapipe"):
        open_detector(tmp_path / "hand_landmarker.task")
    with pytest.raises(UsageError, match="does not exist"):
        open_detector(tmp_path / "none.task")
    (tmp_path / "yolo.pt").write_bytes(b"")
    with pytest.raises(UsageError, match=r"expected own, none, MediaPipe's hand_landmarker\.task"):
        open_detector(tmp_path / "yolo.pt")
