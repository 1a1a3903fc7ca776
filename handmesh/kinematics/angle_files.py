"""Files of joint angles: JSON and CSV in degrees with names, arrays of meshes, a plot over time, and a few lines for people."""

import csv
import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from handmesh.kinematics.dof import DOF_NAMES, DOFS, dof_limits, limit_violations
from handmesh.kinematics.fit import FitResult
from handmesh.kinematics.joint_coordinates import KNUCKLE_NAMES, to_joint_coordinates
from handsynth.core.conventions import FINGERS
from handsynth.core.files import replacing, write_atomically
from handsynth.core.hand import HandModel

SCHEMA = "handmesh-angles/1"
"""Name and version of the JSON; a name stays with its meaning, a new meaning is a new version."""

CONVENTIONS = {
    "angles_deg": "the paper's 23 angles: a joint turns by the sum of its axes times their angles; zero is the flat hand; "
    "flexion bends to the palm, abduction moves to the thumb's side",
    "joint_coordinates_deg": "the same pose as a chain of revolute joints, abduction before flexion, the thumb's twist before both",
    "joint_coordinates_residual_deg": "rotation between the two at each knuckle; zero at all other joints",
    "theta, beta, trans": "what poses the fitted hand: axis-angles of 16 joints in MANO's order [rad], shape [standard "
    "deviations], translation [m], in the frame of the input; of a left hand, those of its mirror image in x = 0",
    "error_mm": "distances of the fitted vertices from those that were given",
    "beyond_limits": "angles more than a degree outside the hand model's limits; they are reported, not clamped",
}
"""What the fields of the JSON mean."""

BEYOND_DEG = 1.0
"""An angle is reported when it is this far beyond a limit: limits are soft, and one that leans on its limit is a little past it."""

Described = Sequence[dict[str, Any]]
"""Hands as `describe` gives them."""

_COLUMNS = [*(f"{name}_deg" for name in DOF_NAMES), *(f"{name}_coordinate_deg" for name in DOF_NAMES), "error_mm", "beyond_limits"]
_DEGREE_DIGITS = 3
_FINE_DIGITS = 6  # radians, metres, standard deviations


def describe(hand: HandModel, fit: FitResult) -> list[dict[str, Any]]:
    """The JSON of each of N hands."""
    degrees = np.round(np.rad2deg(fit.angles.astype(np.float64)), _DEGREE_DIGITS)
    values, residual = to_joint_coordinates(fit.angles)
    coordinates, residual = np.round(np.rad2deg(values), _DEGREE_DIGITS), np.round(residual, _DEGREE_DIGITS)
    beyond: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for found in limit_violations(hand, fit.angles, BEYOND_DEG):
        limits = [round(found.least_deg, _DEGREE_DIGITS), round(found.greatest_deg, _DEGREE_DIGITS)]
        beyond[found.hand].append({"name": found.name, "angle_deg": round(found.angle_deg, _DEGREE_DIGITS), "limits_deg": limits})
    errors = 1000 * fit.vertex_errors_m
    return [
        {
            "angles_deg": dict(zip(DOF_NAMES, degrees[n].tolist(), strict=True)),
            "joint_coordinates_deg": dict(zip(DOF_NAMES, coordinates[n].tolist(), strict=True)),
            "joint_coordinates_residual_deg": dict(zip(KNUCKLE_NAMES, residual[n].tolist(), strict=True)),
            "beyond_limits": beyond[n],
            "error_mm": {"mean": round(float(errors[n].mean()), 3), "max": round(float(errors[n].max()), 3)},
            "beta": _rounded(fit.beta[n]),
            "theta": _rounded(fit.theta[n]),
            "trans": _rounded(fit.translation[n]),
        }
        for n in range(len(degrees))
    ]


@contextmanager
def angle_writer(json_path: Path, csv_path: Path, about: dict[str, Any], key: str) -> Iterator[Callable[[Described], None]]:
    """Yields what adds hands to a JSON file and to a CSV, a line each; both are there whole at the end, or not at all.

    Args:
        json_path: file for `about`, what the fields mean, and the hands.
        csv_path: as of `write_angles_csv`.
        about: fields that all hands share.
        key: of each hand's number.
    """
    with _text_file(json_path) as json_file, _text_file(csv_path) as csv_file:
        json_file.write(json.dumps({"schema": SCHEMA, **about, "conventions": CONVENTIONS}, indent=1)[:-2] + ',\n "hands": [')
        rows = csv.writer(csv_file, lineterminator="\n")
        rows.writerow([key, *_COLUMNS])
        before = "\n  "

        def add(hands: Described) -> None:
            nonlocal before
            for hand in hands:
                json_file.write(before + json.dumps(hand))
                rows.writerow([hand[key], *_cells(hand)])
                before = ",\n  "

        yield add
        json_file.write("\n ]\n}\n")


def write_angles_csv(path: Path, hands: Described, keys: Sequence[str], numbers: Sequence[Sequence[Any]]) -> None:
    """A row a hand: what tells it from the others, then the 23 angles, the 23 joint coordinates, error, what is beyond limits.

    Args:
        path: file to write.
        hands: as `describe` gives them.
        keys: headings of what tells them apart ("frame", "track").
        numbers: of each hand, under those headings.
    """
    with _text_file(path) as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow([*keys, *_COLUMNS])
        rows.writerows([*number, *_cells(hand)] for number, hand in zip(numbers, hands, strict=True))


@contextmanager
def array_writer(path: Path, shape: tuple[int, ...]) -> Iterator[Callable[[np.ndarray], None]]:
    """Yields what adds rows to a float32 .npy of that shape; the file is there whole at the end, or not at all."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})

        def add(rows: np.ndarray) -> None:
            file.write(np.ascontiguousarray(rows, "<f4").tobytes())

        yield add


def plot_angles(path: Path, hand: HandModel, angles: np.ndarray, numbers: Sequence[int], axis: str, title: str) -> None:
    """Writes a PNG: the angles of each finger over time, what lies beyond its limits marked.

    Args:
        path: file to write.
        hand: whose limits hold.
        angles: (N, 23) [rad].
        numbers: (N,) places on the horizontal axis.
        axis: what they are ("frame").
        title: above the image.
    """
    from matplotlib.figure import Figure  # slow to import, and needed only here

    degrees, limits = np.rad2deg(angles), np.rad2deg(dof_limits(hand.joint_limits))
    figure = Figure(figsize=(10, 11), dpi=110, layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(len(FINGERS), 1, sharex=True)
    for axes, finger in zip(panels, FINGERS, strict=True):
        for k, dof in enumerate(DOFS):
            if dof.finger == finger:
                (line,) = axes.plot(numbers, degrees[:, k], linewidth=1.3, label=f"{dof.joint} {dof.motion}")
                out = (degrees[:, k] < limits[k, 0] - BEYOND_DEG) | (degrees[:, k] > limits[k, 1] + BEYOND_DEG)
                axes.plot(np.asarray(numbers)[out], degrees[out, k], "x", markersize=5, color=line.get_color())
        axes.set_ylabel(f"{finger} [deg]")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    panels[-1].set_xlabel(f"{axis} (x: beyond the angle's limits)")
    figure.align_ylabels()
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png"))


def angle_lines(hand: dict[str, Any]) -> list[str]:
    """One line a finger, for people."""
    lines = []
    for finger in FINGERS:
        angles = [f"{d.joint} {d.motion} {hand['angles_deg'][d.name]:6.1f}" for d in DOFS if d.finger == finger]
        lines.append(f"  {finger:<7}{'   '.join(angles)}")
    return lines


def limit_lines(beyond: Sequence[list[dict[str, Any]]]) -> list[str]:
    """`beyond_limits` of each hand -> a line for each angle that is beyond its limits in any: how often, and the worst."""
    by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for found in itertools.chain(*beyond):
        by_name[found["name"]].append(found)
    lines = []
    for name, all_found in by_name.items():
        least, greatest = all_found[0]["limits_deg"]
        worst = max((found["angle_deg"] for found in all_found), key=lambda angle: max(least - angle, angle - greatest))
        often = f" in {len(all_found)} of {len(beyond)} hands, at worst" if len(beyond) > 1 else ""
        lines.append(f"  beyond its limits{often}: {name} is {worst:.1f} deg, outside {least:g} to {greatest:g}")
    return lines


def _cells(hand: dict[str, Any]) -> list[Any]:
    """A hand's row of the CSV, under _COLUMNS."""
    beyond = " ".join(found["name"] for found in hand["beyond_limits"])
    return [*hand["angles_deg"].values(), *hand["joint_coordinates_deg"].values(), hand["error_mm"]["mean"], beyond]


@contextmanager
def _text_file(path: Path) -> Iterator[TextIO]:
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        yield file


def _rounded(values: np.ndarray) -> list[Any]:
    return np.round(values.astype(np.float64), _FINE_DIGITS).tolist()
