"""Step 6: pose correctives: what plain blending loses at a bent joint, as offsets linear in R - I.

For each joint alone, over its own range, a target is made: the skinned surface is relaxed like flesh on bones (it keeps
its detail, its distance from the bones, its own side of the fold, and its volume), taken back through the blend into
the rest pose, and fitted by ridge regression on the nine entries of R - I.
"""

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix

from embedded_hand.anatomy import pose_from_angles
from embedded_hand.posing import blend_dual_quaternion, blend_linear, joint_transforms
from handsynth.core.conventions import FINGER_JOINTS, PARENTS
from handsynth.core.mesh import boundary_loop, face_normals
from handsynth.core.rotation import rotvec_to_rotmat

ROUNDS = 60
"""Rounds of relaxation; the last ones move points by less than 0.01 mm."""

DETAIL_STEP = 0.35
"""Part of the way to its neighbours' mean plus its own turned detail that a point goes in a round."""

BONE_DISTANCE = 0.97
"""Flesh is not squeezed nearer to the bones than this part of its distance at rest."""

KNUCKLE_RISE = (0.16, 0.05, 0.0)
"""How much farther from the bone the back of joint 1, 2, 3 comes per 1 - cos(flexion), as part of its distance at rest: in
a fist the heads of the metacarpals lie bare under the skin."""

SWELLING = 0.3
"""Flesh pressed out of a fold swells what lies beside it to at most this much more of its distance from the bones."""

FILL_STEP_M = 3e-4
"""Longest step of the swelling in a round."""

REACH_IN_RADII = 2.6
"""Correctives reach this many finger radii from their joint, fading over the outer half."""

RIDGE = 2e-3
"""Weight of the squared coefficients against the squared misfit."""


def fit_correctives(
    vertices: np.ndarray,
    faces: np.ndarray,
    weights: np.ndarray,
    joints: np.ndarray,
    tips: np.ndarray,
    axes: np.ndarray,
    limits: np.ndarray,
) -> np.ndarray:
    """(V, 3, 135) offsets per entry of R - I, joints 1.., row-major [m].

    Args:
        vertices, faces, weights, joints, axes, limits: the model's own (see HandModel).
        tips: (5,) tip vertices in the order of FINGER_JOINTS.
    """
    flesh = _Flesh(vertices, faces, weights, joints, vertices[tips], axes)
    out = np.zeros((len(vertices), 3, 15, 9))
    for members in FINGER_JOINTS.values():
        for j in members:
            angles = _training_angles(limits[j])
            features, offsets = [], []
            for angle in angles:
                local = np.zeros((16, 3))
                local[j] = angle
                rotations = rotvec_to_rotmat(pose_from_angles(axes, local))
                features.append((rotations[j] - np.eye(3)).ravel())
                offsets.append(flesh.rest_offset(j, rotations, angle))
            a = np.array(features)  # (P, 9)
            b = np.array(offsets).reshape(len(a), -1)  # (P, 3 V)
            out[:, :, j - 1] = np.linalg.solve(a.T @ a + RIDGE * np.eye(9), a.T @ b).T.reshape(len(vertices), 3, 9)
    return out.reshape(len(vertices), 3, 135)


def _training_angles(limits: np.ndarray) -> np.ndarray:
    """(P, 3) flexion, abduction, twist [rad] that cover a joint's range."""
    flexions = np.linspace(limits[0, 0], limits[0, 1], 9)
    wide = np.ptp(limits[1]) > np.radians(10)
    sides = (limits[1, 0], 0.0, limits[1, 1]) if wide else (0.0,)
    twists = (limits[2, 0], 0.0, limits[2, 1]) if np.ptp(limits[2]) > np.radians(20) else (0.0,)
    return np.array([(f, a, t) for f in flexions for a in sides for t in twists])


class _Flesh:
    """The hand at rest, and what of it a relaxation has to keep."""

    def __init__(self, vertices, faces, weights, joints, tip_points, axes):
        self.vertices, self.faces, self.weights, self.joints, self.axes = vertices, faces, weights, joints, axes
        count = len(vertices)
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        both = np.concatenate([edges, edges[:, ::-1]])
        near = csr_matrix(coo_matrix((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(count, count)))
        near.data[:] = 1.0
        self.mean = csr_matrix(near.multiply(1 / np.asarray(near.sum(1))))
        self.detail = vertices - self.mean @ vertices
        self.rim = boundary_loop(faces)
        self.ends = joints.copy()  # where each joint's own bone ends
        for members, tip in zip(FINGER_JOINTS.values(), tip_points, strict=True):
            last = joints[members[2]]
            self.ends[members[0]], self.ends[members[1]] = joints[members[1]], joints[members[2]]
            self.ends[members[2]] = last + 0.8 * (tip - last)  # bone ends before the pulp

    def rest_offset(self, j: int, rotations: np.ndarray, angle: np.ndarray) -> np.ndarray:
        """(V, 3) offset of the rest vertices after which plain blending gives the relaxed surface."""
        rot, shift = joint_transforms(rotations, self.joints)
        linear = blend_linear(self.vertices, self.weights, rot, shift)
        mixed = np.einsum("nj,jab->nab", self.weights, rot)
        goal = self._relax(j, rot, shift, linear, mixed, angle[0])
        return np.linalg.solve(mixed, (goal - linear)[..., None])[..., 0]

    def _relax(self, j, rot, shift, linear, mixed, flexion):
        parent, joint = PARENTS[j], self.joints[j]
        bones = [(self.joints[parent], joint), (joint, self.ends[j])]
        rest_distance, rest_nearest = _to_bones(self.vertices, bones)
        # The reach follows the flesh' thickness at the joint.
        moved_by_both = (self.weights[:, j] > 0.02) & (self._chain_weight(j) < 0.98)
        around = np.linalg.norm(self.vertices - joint, axis=1)
        radius = np.sort(around[moved_by_both | (around < around.min() * 1.8)])[:12].mean()
        reach = REACH_IN_RADII * radius
        mask = np.clip(2 * (1 - around / reach), 0, 1)
        mask = mask * mask * (3 - 2 * mask)
        mask *= self._kin(j)
        mask[self.rim] = 0
        active = mask > 0

        # Sides of the fold: the plane through the joint that halves the angle between the bones.
        posed = (rot[parent] @ joint) + shift[parent]
        inward = rot[parent] @ (joint - bones[0][0])
        inward /= np.linalg.norm(inward)
        outward = rot[j] @ (self.ends[j] - joint)
        outward /= np.linalg.norm(outward)
        halving = inward + outward
        halving /= np.linalg.norm(halving)
        before, after = joint - bones[0][0], self.ends[j] - joint
        rest_axis = before / np.linalg.norm(before) + after / np.linalg.norm(after)
        side = np.sign((self.vertices - joint) @ rest_axis)

        dorsal = np.clip((self.vertices - rest_nearest) @ self.axes[j, 1] / np.maximum(rest_distance, 1e-9), 0, 1)
        rise = KNUCKLE_RISE[(j - 1) % 3] * (1 - np.cos(max(flexion, 0.0))) * dorsal**2 * np.exp(-((around / (1.2 * radius)) ** 2))
        least = rest_distance * (BONE_DISTANCE + rise)
        most = np.maximum(least, rest_distance * (1 + SWELLING))
        posed_bones = [(rot[parent] @ a + shift[parent], rot[parent] @ b + shift[parent]) for a, b in bones[:1]]
        posed_bones += [(rot[j] @ a + shift[j], rot[j] @ b + shift[j]) for a, b in bones[1:]]
        u, _, vt = np.linalg.svd(mixed)
        turned = ((u @ vt) @ self.detail[..., None])[..., 0]

        skinned = 0.5 * linear + 0.5 * blend_dual_quaternion(self.vertices, self.weights, rot, shift)
        skinned = np.where(active[:, None], skinned, linear)
        goal_volume = self._volume(self.vertices)
        x = skinned.copy()
        folded = flexion > np.radians(5) or flexion < np.radians(-5)
        # Flesh is soft on the palm's side and at the sides; over the back there is only skin.
        soft = mask * (1 - dorsal)
        for _ in range(ROUNDS):
            x = x + DETAIL_STEP * (self.mean @ x + turned - x) * active[:, None]
            x = self._fill(x, goal_volume, soft)
            distance, nearest = _to_bones(x, posed_bones)
            away = (x - nearest) / np.maximum(distance, 1e-9)[:, None]
            x = x + (np.clip(distance, least, most) - distance)[:, None] * away * active[:, None]
            if folded:
                ahead = (x - posed) @ halving
                wrong = np.where(side > 0, np.minimum(ahead, 0), np.maximum(ahead, 0))
                x = x - 0.7 * wrong[:, None] * halving * active[:, None]
            x = skinned + mask[:, None] * (x - skinned)
        return linear + mask[:, None] * (x - linear)

    def _chain_weight(self, j):
        """(V,) weight of the joint and all beyond it."""
        chain = next(m for m in FINGER_JOINTS.values() if j in m)
        return self.weights[:, [k for k in chain if k >= j]].sum(1)

    def _kin(self, j):
        """(V,) 1 on the joint's own finger and the palm, 0 on other fingers."""
        own = {0, *next(m for m in FINGER_JOINTS.values() if j in m)}
        others = self.weights[:, [k for k in range(16) if k not in own]].sum(1)
        return np.clip(1 - 1.5 * others, 0, 1)

    def _volume(self, x):
        """Volume under the surface, the wrist closed by a fan [m3]."""
        a, b, c = (x[self.faces[:, k]] for k in range(3))
        loop = x[self.rim]
        centre = loop.mean(0)
        cap = np.einsum("ka,ka->", np.cross(np.roll(loop, -1, 0), loop), np.broadcast_to(centre, loop.shape))
        return (np.einsum("ka,ka->", np.cross(a, b), c) + cap) / 6

    def _fill(self, x, goal, soft):
        """A step along the normals of what is `soft`, towards the volume wanted."""
        normals = np.zeros_like(x)
        per_face = face_normals(x, self.faces) / 6
        for k in range(3):
            np.add.at(normals, self.faces[:, k], per_face)
        area = np.linalg.norm(normals, axis=1, keepdims=True)
        step = np.clip((goal - self._volume(x)) / (area[:, 0] * soft).sum(), -FILL_STEP_M, FILL_STEP_M)
        return x + step * soft[:, None] * normals / np.maximum(area, 1e-12)


def _to_bones(points: np.ndarray, bones: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) points, segments -> (N,) distance to the nearest of them, and (N, 3) the nearest points."""
    best, where = np.full(len(points), np.inf), np.zeros_like(points)
    for a, b in bones:
        d = b - a
        t = np.clip((points - a) @ d / (d @ d), 0, 1)
        foot = a + t[:, None] * d
        distance = np.linalg.norm(points - foot, axis=1)
        nearer = distance < best
        best[nearer], where[nearer] = distance[nearer], foot[nearer]
    return best, where
