"""Builds handsynth/assets/embedded/poses.npz: 895 poses of the embedded hand, none with fingers running through each other.

    python scripts/build_pose_bank.py [--hand PATH] [--out PATH]

It needs nothing but the package itself and the hand, takes about a minute and a half on one core, and gives the same
bank on every run.
"""

import argparse
import sys
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent))

from pose_bank.angles import pose_from_angles
from pose_bank.design import Design, varied
from pose_bank.gestures import COUNTS, GESTURES, LETTERS, RELAXED
from pose_bank.grasps import grasp_wishes
from pose_bank.natural import natural_target
from pose_bank.relax import Relaxer
from pose_bank.select import keypoints, spread_out
from pose_bank.target import Target

from handsynth.core.files import write_atomically
from handsynth.core.hand import HandModel, load_hand
from handsynth.core.locations import EMBEDDED
from handsynth.core.poses import PoseBank, save_poses

POSES = 895  # as many as the paper's own bank (right hands of MANO's scans)
SEED = 0

GROUPS: tuple[tuple[str, tuple[Design, ...], int, float], ...] = (
    ("gesture", GESTURES, 4, 5.0),
    ("count", COUNTS, 3, 5.0),
    ("letter", LETTERS, 3, 5.0),
    ("relaxed", RELAXED, 12, 7.0),
)
"""(category, its designs, how many of each with variations, how much these differ [deg])."""

GRASP_VARIATIONS, GRASP_AMOUNT_DEG = 3, 4.0
"""How many hands hold each thing, and how much they differ."""

RETRIES, RETRY_DEG = 8, 3.0
"""How often a design is tried, and how much the later attempts differ."""

CANDIDATES = 700
"""Random hands from which the spread-out ones are chosen; many more, and only the oddest would be."""

DISTINCT_DEG = 1.0
"""Two poses are the same when no angle differs by more than this: the letter V is also the number two, and peace."""

BLENDS = 100
"""Poses between two designed ones, as a moving hand passes through them."""

Pose = tuple[str, np.ndarray]


def build(model: HandModel, seed: int) -> PoseBank:
    """All poses, by category: designed ones, blends between them, and random ones far from all of these."""
    relaxer = Relaxer(model)
    wanted = [(f"{category}: {d.name}", [d.target()], count, amount) for category, ds, count, amount in GROUPS for d in ds]
    wanted += [
        (f"grasp: {name}", targets, GRASP_VARIATIONS, GRASP_AMOUNT_DEG) for name, targets in grasp_wishes(model, relaxer.places)
    ]
    poses: list[Pose] = [("flat", np.zeros((model.num_joints, 3)))]
    for number, (name, targets, count, amount) in enumerate(tqdm(wanted, desc="designed")):
        made = designed(relaxer, poses, targets, count, amount, np.random.default_rng([seed, 0, number]))
        if not made:
            tqdm.write(f"{name}: left out, no free pose near it")
        poses += [(f"{name} {k}", angles) for k, angles in enumerate(made, 1)]
    poses += blends(relaxer, poses, np.random.default_rng([seed, 1]))
    poses += random_hands(relaxer, poses, POSES - len(poses), np.random.default_rng([seed, 2]))
    theta = pose_from_angles(model, np.array([angles for _, angles in poses]))[:, 1:]
    return PoseBank(theta, tuple(name for name, _ in poses))


def designed(
    relaxer: Relaxer, poses: list[Pose], targets: list[Target], count: int, amount: float, rng: np.random.Generator
) -> list[np.ndarray]:
    """`count` variations of each target, the first of them as designed unless `poses` hold it already; fewer where none is free."""
    made: list[np.ndarray] = []

    def take(angles: np.ndarray | None, most: int) -> None:
        known = [other for _, other in poses] + made
        if (
            angles is not None
            and len(made) < most
            and np.abs(np.array(known) - angles).max((1, 2)).min() > np.radians(DISTINCT_DEG)
        ):
            made.append(angles)

    for target in targets:
        most = len(made) + count
        # Where the target itself ends in a dead end, a slightly different one most often does not.
        attempts = (relaxer.solve(varied(target, rng, RETRY_DEG) if k else target) for k in range(RETRIES))
        first = next((angles for angles in attempts if angles is not None), None)
        take(first, most)
        for _ in range(2 * count if first is not None else 0):
            if len(made) < most:
                other = varied(target, rng, amount)
                take(relaxer.solve(other, first + other.angles - target.angles if target.contacts else None), most)
    return made


def blends(relaxer: Relaxer, poses: list[Pose], rng: np.random.Generator) -> list[Pose]:
    """BLENDS poses somewhere between two of the given ones."""
    out: list[Pose] = []
    while len(out) < BLENDS:
        (first, a), (second, b) = (poses[k] for k in rng.choice(len(poses), 2, replace=False))
        t = rng.uniform(0.3, 0.7)
        angles = relaxer.solve(varied(Target((1 - t) * a + t * b), rng, 3.0))
        if angles is not None:
            one, two = (name.partition(": ")[2] or name for name in (first, second))
            out.append((f"between: {one} and {two}, {len(out) + 1}", angles))
    return out


def random_hands(relaxer: Relaxer, poses: list[Pose], count: int, rng: np.random.Generator) -> list[Pose]:
    """`count` random poses that lie far from the given ones and from each other."""
    targets = [natural_target(rng) for _ in range(CANDIDATES)]
    points, taken = (keypoints(relaxer.model, np.array(a)) for a in ([w.angles for w in targets], [a for _, a in poses]))
    solved = (relaxer.solve(targets[row]) for row in spread_out(points, taken, CANDIDATES))
    free = (angles for angles in solved if angles is not None)
    return [(f"random {k}", angles) for k, angles in enumerate(tqdm(islice(free, count), desc="random", total=count), 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hand", type=Path, default=EMBEDDED / "hand.npz")
    parser.add_argument("--out", type=Path, default=EMBEDDED / "poses.npz")
    arguments = parser.parse_args()
    bank = build(load_hand(arguments.hand), SEED)
    write_atomically(arguments.out, lambda path: save_poses(path, bank))
    print(f"{arguments.out}: {len(bank.names)} poses")


if __name__ == "__main__":
    main()
