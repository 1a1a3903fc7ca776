"""Small robots made by code: a gripper of several fingers as URDF and MJCF, and its correspondences."""

from pathlib import Path

import yaml

FINGERS = {"thumb": (4, -0.03, "-0.9 0 0"), "index": (8, 0.03, "0 0 0"), "ring": (16, -0.01, "0 0 0")}
"""Keypoint of the fingertip, place across the palm [m], turn of the finger."""

BONES = (0.06, 0.05, 0.04)


def urdf(extra: str = "", links: str = "", mimic: bool = False) -> str:
    """Three fingers that bend about y, and swing about x at their roots: x out of the palm, z along the fingers."""
    parts = ['<link name="palm"/>']
    for finger, (_, across, turn) in FINGERS.items():
        parent, place = "palm", f'<origin xyz="0.01 {across} 0.09" rpy="{turn}"/>'
        for k, bone in enumerate((0.0, *BONES)):
            axis = "1 0 0" if k == 0 else "0 1 0"
            low, high = (-0.5, 0.5) if k == 0 else (-0.2, 1.7)
            law = f'<mimic joint="{finger}_2" multiplier="0.8" offset="0.05"/>' if mimic and k == 3 else ""
            parts.append(
                f'<link name="{finger}_{k}"/><joint name="{finger}_{k}" type="revolute"><parent link="{parent}"/>'
                f'<child link="{finger}_{k}"/>{place}<axis xyz="{axis}"/>'
                f'<limit lower="{low}" upper="{high}" effort="1" velocity="1"/>{law}</joint>'
            )
            parent, place = f"{finger}_{k}", f'<origin xyz="0 0 {bone if k else 0}"/>'
        parts.append(
            f'<link name="{finger}_tip"/><joint name="{finger}_tip" type="fixed"><parent link="{parent}"/>'
            f'<child link="{finger}_tip"/><origin xyz="0 0 {BONES[-1]}"/></joint>'
        )
    return f'<?xml version="1.0"?>\n{extra}<robot name="gripper">{links}{"".join(parts)}</robot>'


def mjcf(mimic: bool = False) -> str:
    """The same gripper."""
    bodies = ""
    for finger, (_, across, turn) in FINGERS.items():
        roll = float(turn.split()[0])
        opened = ""
        for k in range(4):
            place = f'pos="0.01 {across} 0.09" euler="{roll} 0 0"' if k == 0 else f'pos="0 0 {(0.0, 0.0, *BONES)[k]}"'
            axis, limits = ("1 0 0", "-0.5 0.5") if k == 0 else ("0 1 0", "-0.2 1.7")
            opened += f'<body name="{finger}_{k}" {place}><joint name="{finger}_{k}" axis="{axis}" range="{limits}"/>'
            opened += '<geom type="capsule" size="0.005" fromto="0 0 0 0 0 0.02"/>'
        bodies += opened + f'<site name="{finger}_tip" pos="0 0 {BONES[-1]}"/>' + "</body>" * 4
    laws = "".join(f'<joint joint1="{f}_3" joint2="{f}_2" polycoef="0.05 0.8 0 0 0"/>' for f in FINGERS) if mimic else ""
    return (
        '<mujoco><compiler angle="radian" autolimits="true"/><asset><mesh name="m" file="nowhere.stl"/></asset>'
        f'<worldbody><body name="palm"><geom type="mesh" mesh="m"/>{bodies}</body></worldbody><equality>{laws}</equality></mujoco>'
    )


def config(mode: str = "vector", scale: float = 1.0) -> dict:
    tips = [f"{finger}_tip" for finger in FINGERS]
    human = [keypoint for keypoint, *_ in FINGERS.values()]
    if mode == "position":
        return {"type": mode, "target_link_names": tips, "target_link_human_indices": human}
    if mode == "dexpilot":
        pairs = [(12, 4), (16, 4), (16, 8), (0, 4), (0, 8), (0, 16)]
        pairs[0] = (8, 4)
        indices = [list(row) for row in zip(*pairs, strict=True)]
        about = {"wrist_link_name": "palm", "finger_tip_link_names": tips, "target_link_human_indices": indices}
        return {"type": "DexPilot", "scaling_factor": scale, **about}
    about = {"target_origin_link_names": ["palm"] * 3, "target_task_link_names": tips}
    return {"type": mode, "scaling_factor": scale, "target_link_human_indices": [[0] * 3, human], **about}


def gripper(folder: Path, mode: str = "vector", format: str = "urdf", **options) -> tuple[Path, Path]:
    """Files of the description and of its correspondences."""
    folder.mkdir(parents=True, exist_ok=True)
    description, correspondences = folder / f"gripper.{format}", folder / f"{mode}.yaml"
    description.write_text((urdf if format == "urdf" else mjcf)(**options))
    correspondences.write_text(yaml.safe_dump({"retargeting": config(mode)}))
    return description, correspondences
