"""Where the fit of joint angles to a net's mesh starts: an IK net, by onnxruntime, which needs no torch, or by torch."""

from pathlib import Path
from typing import Any

import numpy as np

from handmesh.estimation.backends import NONE, OWN, has_graph, open_graph, run_graph
from handmesh.keypoints import PALM_KEYPOINTS
from handmesh.kinematics.fit import FirstGuess
from handmesh.kinematics.rigid import align_rigid
from handmesh.run_files import GRAPH, IK, read_config
from handmesh.shipped import find_run
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.hand import HandModel, keypoints_from_vertices

KEYPOINTS, FOUND = "keypoints", ("theta", "beta")
"""Input and outputs of an IK net's graph, see `onnx.export_ik`."""


def open_guess(model: str | Path | None, hand: HandModel) -> FirstGuess | None:
    """Opens an IK net by onnxruntime where it has a graph for that, else by torch.

    Args:
        model: OWN, where its hand is this one; NONE, or None: fits start from the mesh itself; a run of handmesh train ik, or the
            name of shipped weights.
        hand: whose keypoints it shall see.

    Raises UsageError when there is no such net or it is of another hand, HandsynthError when a file of it is damaged, AssetError
    naming what to install when nothing here can run it.
    """
    if model is None or str(model) == NONE:
        return None
    folder = find_run(None if str(model) == OWN else model, IK)
    read_config(folder, IK)
    net: FirstGuess
    if has_graph(folder):
        session, about = open_graph(folder / GRAPH, IK, threads=1)  # so small a net is done before others would wake
        known, digest = about.get("hand", ""), about.get("hand_digest", "")
        net = OnnxGuess(session, about, folder / GRAPH, hand)
    else:
        from handmesh.kinematics.ik_net import load_ik_run  # torch

        run = load_ik_run(folder)
        known, digest, net = run.hand.name, run.hand.digest, run.net
    if digest == hand.digest:
        return net
    if str(model) == OWN:
        return None
    raise UsageError(f"{folder} was trained on hand model {known!r}, the meshes are of another, {hand.name!r}")


class OnnxGuess:
    """An IK net's graph as `fit.FirstGuess` has it."""

    known_shape = False

    def __init__(self, session: Any, about: dict[str, str], path: Path, hand: HandModel) -> None:
        """`session` and `about` as of `open_graph` of `path`; `hand`: whose keypoints it sees."""
        dofs = about.get("dofs", "")
        if not dofs.isdigit():
            raise HandsynthError(f"{path} is damaged: it does not say how many angles it finds")
        self._session, self._path, self.dofs = session, path, int(dofs)
        self._shapes = (hand.num_joints - 1, 3), (hand.num_shapes,)
        self._palm = keypoints_from_vertices(hand, hand.v_template)[list(PALM_KEYPOINTS)]

    def guess(self, keypoints: np.ndarray, beta: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """As `fit.FirstGuess` has it."""
        points = np.asarray(keypoints, np.float64)
        rotation, _ = align_rigid(self._palm, points[:, list(PALM_KEYPOINTS)])
        # Single precision is lost on hands that are far from the origin; bones need no translation.
        turned = ((points - points[:, :1]) @ rotation).astype(np.float32)
        theta, found = run_graph(self._session, self._path, list(FOUND), turned, KEYPOINTS)
        for value, shape in zip((theta, found), self._shapes, strict=True):
            if value.shape != (len(points), *shape):
                raise HandsynthError(
                    f"{self._path} is damaged: it finds arrays of shape {value.shape}, not {(len(points), *shape)}"
                )
        return theta, found
