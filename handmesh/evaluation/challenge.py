"""FreiHAND's challenge: its evaluation images in, `pred.zip` out (Zimmermann et al. 2019, `lmb-freiburg/freihand:pred.py`).

What lies in the folder: images `evaluation/rgb/%08d.jpg`, and lists in JSON: `evaluation_K`, `evaluation_scale` (the length of
one bone, from which the depth is solved) and, since they were published, `evaluation_xyz` and `evaluation_verts`. No box is given.

A net that predicts pixels and depths relative to the wrist leaves one number free, the wrist's depth z: its points lie on the
lines offsets + z * rays. The known bone, the middle finger's first, gives a quadratic equation in z. (Where no bone is known,
`estimation.root_depth` takes the palm's size.)
"""

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import torch
from torch import nn
from tqdm import tqdm

from handmesh.data.crop import BOX_MARGIN, Crop, crop_hand, lixels_to_camera
from handmesh.data.freihand import PIXEL_SHIFT, check_images, read_rows
from handmesh.evaluation.scores import mean_hand
from handmesh.metrics import evaluate_hands
from handsynth.core.conventions import KEYPOINT_PARENTS
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.files import write_file
from handsynth.core.hand import HandModel, keypoints_from_vertices

CENTRE_SIDE_PX = 1.3 * 100
"""Without boxes: a square of 100 px at the image's centre, 1.3 times enlarged, as MobRecon has it for this very task
(Chen et al. 2022, `SeanChenxy/HandMesh:mobrecon/datasets/freihand.py`, `get_eval_sample`, and its BASE_SCALE)."""

SCALE_BONE = (9, 10)
"""Keypoints whose distance is FreiHAND's `scale`: the middle finger's first and second."""

SLACK = 1.1
"""Greatest factor between the depth that the one bone gives and the one that suits all bones.

A bone that points at the camera says nothing of depth and, as predicted, much nonsense. On the embedded hand's 895 poses in
random turns and shapes, predictions that score 7.3 mm PA-MPJPE at the true depth fall to 8.7 mm at the bone's, to 7.8 mm when it
is held to a factor of 1.3 and to 7.6 mm with 1.1: pixels and relative depths belong together at one depth only.
"""

_DEPTHS_M = np.geomspace(0.1, 10, 400)  # looked through for the depth that suits all bones; steps of 1.2 %
_PARENTS = np.array(KEYPOINT_PARENTS[1:])
_DECIMALS = 6  # a micrometre; a third of the size of all digits


@dataclass(frozen=True, eq=False)
class Challenge:
    """The folder, read and checked: n images."""

    folder: Path
    K: np.ndarray  # (n, 3, 3) [px], corner of the top-left pixel is (0, 0)
    scale: np.ndarray  # (n,) length of the known bone [m]
    boxes: np.ndarray | None  # (n, 4) x0, y0, x1, y1 about the hands [px]; None: the image's centre
    true_keypoints: np.ndarray | None  # (n, 21, 3) camera frame [m]
    true_vertices: np.ndarray | None  # (n, V, 3) camera frame [m]
    missing: tuple[str, ...]  # files of the truth that are not there; if any, nothing is scored

    def __len__(self) -> int:
        return len(self.K)


def read_challenge(src: Path, hand: HandModel, boxes: Path | None = None) -> Challenge:
    """Reads what a submission needs, and the truth when it is there.

    Args:
        src: FreiHAND's folder.
        hand: of the net; with FreiHAND's fingertips.
        boxes: JSON list of [x0, y0, x1, y1] about each hand [px], in the order of the images.

    Raises UsageError when parts are missing or the hand is another, HandsynthError when a file is damaged.
    """
    if hand.fingertip_table != "freihand":
        raise UsageError(
            f"the net's hand {hand.name!r} has the fingertips {hand.fingertip_table!r}, the challenge needs 'freihand'"
        )
    parts = [src / "evaluation_K.json", src / "evaluation_scale.json", src / "evaluation" / "rgb"]
    if missing := [str(p.relative_to(src)) for p in parts if not p.exists()]:
        raise UsageError(
            f"{src} is no whole FreiHAND evaluation set: {', '.join(missing)} missing; unpack FreiHAND_pub_v2_eval.zip there"
        )
    if boxes is not None and not boxes.is_file():
        raise UsageError(f"{boxes} does not exist: --boxes takes a JSON list of [x0, y0, x1, y1] in pixels, one an image")
    K = read_rows(parts[0], (3, 3))
    K[:, :2, 2] += PIXEL_SHIFT
    check_images(parts[2], len(K))

    def read(path: Path, shape: tuple[int, ...]) -> np.ndarray:
        rows = read_rows(path, shape)
        if len(rows) != len(K):
            raise HandsynthError(f"{path} has {len(rows)} entries, evaluation_K.json {len(K)}: a part is missing")
        return rows

    truth = src / "evaluation_xyz.json", src / "evaluation_verts.json"
    unknown = tuple(path.name for path in truth if not path.exists())
    return Challenge(
        src,
        K,
        read(parts[1], ()),
        None if boxes is None else _checked_boxes(boxes, read(boxes, (4,))),
        None if unknown else read(truth[0], (21, 3)),
        None if unknown else read(truth[1], (hand.num_vertices, 3)),
        unknown,
    )


def predict_challenge(
    net: nn.Module, hand: HandModel, task: Challenge, side: int, batch: int, device: torch.device, slack: float = SLACK
) -> tuple[np.ndarray, np.ndarray]:
    """What a net says of every image.

    Args:
        net: a `HandMeshNet` of that hand on `device`, in evaluation mode.
        hand: the model of its hand.
        task: the images.
        side: of the crops [px].
        batch: images at a time.
        device: where the net is.
        slack: of `root_depth_from_scale`.

    Returns:
        (n, 21, 3) keypoints, regressed from the mesh, and (n, V, 3) vertices, camera frame [m].
    """
    proportions = keypoints_from_vertices(hand, mean_hand(hand))
    keypoints, vertices = np.empty((len(task), 21, 3)), np.empty((len(task), hand.num_vertices, 3))
    with tqdm(total=len(task), desc="evaluation", unit="image") as bar:
        for start in range(0, len(task), batch):
            chosen = slice(start, min(start + batch, len(task)))
            crops = [_crop(task, k, side) for k in range(chosen.start, chosen.stop)]
            images = np.stack([crop.image for crop in crops]).transpose(0, 3, 1, 2)
            K, R = (np.stack([getattr(crop, name) for crop in crops]) for name in ("K", "R_crop_cam"))
            with torch.inference_mode():
                image = torch.as_tensor(images).float() / 255
                found = net(image.to(device, memory_format=torch.channels_last))
            lixels = found.vertices.double().cpu().numpy()
            at_zero, at_one = (lixels_to_camera(lixels, np.full(len(K), z), K, R, side) for z in (0.0, 1.0))
            rays = at_one - at_zero  # points are linear in the depth of the wrist, and keypoints in the points
            offsets_k, rays_k = (keypoints_from_vertices(hand, points) for points in (at_zero, rays))
            depth = root_depth_from_scale(offsets_k, rays_k, task.scale[chosen], proportions, slack)[:, None, None]
            keypoints[chosen], vertices[chosen] = offsets_k + depth * rays_k, at_zero + depth * rays
            bar.update(len(K))
    return keypoints, vertices


def write_prediction(path: Path, keypoints: np.ndarray, vertices: np.ndarray) -> None:
    """Writes the zip that the challenge takes: `pred.json` alone, [n of 21 x 3, n of V x 3] in metres, in evaluation order.

    Raises HandsynthError when it cannot be written.
    """
    buffer, member = io.BytesIO(), zipfile.ZipInfo("pred.json")
    member.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(buffer, "w") as archive, archive.open(member, "w") as file:
        for piece in _json_pieces(keypoints, vertices):
            file.write(piece.encode())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, buffer.getvalue())
    except OSError as error:
        raise HandsynthError(f"{path} cannot be written: {error.strerror}") from None


def submit_freihand(
    net: nn.Module, hand: HandModel, task: Challenge, out: Path, side: int, batch: int, device: torch.device
) -> dict[str, Any]:
    """Predicts, writes `out`, and returns the number of images, and `metrics` of `evaluate_hands` or what is `missing` for them."""
    keypoints, vertices = predict_challenge(net, hand, task, side, batch, device)
    write_prediction(out, keypoints, vertices)
    made: dict[str, Any] = {"out": str(out), "images": len(task), "boxes": "centre" if task.boxes is None else "given"}
    if task.true_keypoints is not None and task.true_vertices is not None:
        made["metrics"] = evaluate_hands(keypoints, vertices, task.true_keypoints, task.true_vertices)
    else:
        made["missing"] = list(task.missing)
    return made


def _checked_boxes(path: Path, boxes: np.ndarray) -> np.ndarray:
    wrong = np.flatnonzero((boxes[:, 2:] <= boxes[:, :2]).any(1))
    if len(wrong):
        raise UsageError(f"{path}: entry {wrong[0]} is {boxes[wrong[0]].tolist()}, expected [x0, y0, x1, y1] with x0 < x1, y0 < y1")
    return boxes


def _crop(task: Challenge, k: int, side: int) -> Crop:
    """Image k as the net sees it, without labels."""
    path = task.folder / "evaluation" / "rgb" / f"{k:08d}.jpg"
    try:
        image = simplejpeg.decode_jpeg(path.read_bytes(), "RGB")
    except (OSError, ValueError) as error:
        raise HandsynthError(f"{path} is damaged: {error}") from None
    if task.boxes is None:
        centre, half = np.array(image.shape[1::-1]) / 2, CENTRE_SIDE_PX / BOX_MARGIN / 2  # the crop adds the margin again
        box = np.concatenate([centre - half, centre + half])
    else:
        box = task.boxes[k]
    return crop_hand(image, task.K[k], "right", box, side)


def _json_pieces(keypoints: np.ndarray, vertices: np.ndarray) -> Iterator[str]:
    """The JSON hand by hand: all hands as Python's numbers would take a gigabyte."""
    yield "["
    for kind, hands in enumerate((keypoints, vertices)):
        yield ", [" if kind else "["
        for k, points in enumerate(hands):
            yield (", " if k else "") + json.dumps(points.round(_DECIMALS).tolist())
        yield "]"
    yield "]"


def root_depth_from_scale(
    offsets: np.ndarray, rays: np.ndarray, scale: np.ndarray, proportions: np.ndarray, slack: float = SLACK
) -> np.ndarray:
    """Depth z of the wrist at which the bone has its length; of two such depths, the one that better suits all bones.

    The nearer one is right when the bone points almost at the camera, off the axis. Of 4,000 random hands up to 0.2 m off it and
    0.4 to 0.8 m away, always taking the farther would be wrong for 1.4 %, this for 0.3 %.

    Args:
        offsets: (N, 21, 3) keypoints for a wrist at depth 0, camera frame [m].
        rays: (N, 21, 3) by how much they move per metre of the wrist's depth.
        scale: (N,) distance between the keypoints SCALE_BONE [m].
        proportions: (21, 3) keypoints of a typical hand, in any frame and unit: the other bones' lengths are to this one's about
            as in that hand.
        slack: greatest factor by which the result may part from the depth that suits all bones best; infinity trusts the one.

    Returns:
        (N,) [m]. For a perfect prediction the true depth, unless the hand's proportions are far from typical.
    """
    typical = _bone_lengths(proportions)
    likely = depth_of_bones(offsets, rays, scale[:, None] * typical / typical[SCALE_BONE[1] - 1])
    first, second = SCALE_BONE
    a, b = rays[:, first] - rays[:, second], offsets[:, first] - offsets[:, second]
    # |a z + b| = scale. Where no z makes the bone so short, the z that makes it shortest.
    aa, ab, bb = (a * a).sum(1), (a * b).sum(1), (b * b).sum(1)
    aa = np.maximum(aa, 1e-12)  # both on one ray: any depth is as good, and `likely` decides
    half = np.sqrt(np.maximum(ab**2 - aa * (bb - scale**2), 0))
    near, far = ((-ab - half) / aa, (-ab + half) / aa)
    depth = np.where(np.abs(near - likely) < np.abs(far - likely), near, far)
    return np.clip(depth, likely / slack, likely * slack)


def _bone_lengths(keypoints: np.ndarray) -> np.ndarray:
    """(..., 21, 3) -> (..., 20) distances of the keypoints 1 to 20 from their parents."""
    return np.linalg.norm(keypoints[..., 1:, :] - keypoints[..., _PARENTS, :], axis=-1)


def depth_of_bones(offsets: np.ndarray, rays: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(N,) depth of the wrist at which the 20 bones come nearest to their (N, 20) lengths, in least squares [m].

    The sum of squared lengths alone would be a quadratic equation, but when much of the hand points at the camera its root is
    far off, as what all bones lack the few across the view must make up for; here each bone has its say.
    """
    least, depth = np.full(len(lengths), np.inf), np.full(len(lengths), _DEPTHS_M[0])
    for z in _DEPTHS_M:
        misfit = ((_bone_lengths(offsets + z * rays) - lengths) ** 2).sum(1)
        depth = np.where(misfit < least, z, depth)
        least = np.minimum(misfit, least)
    return depth
