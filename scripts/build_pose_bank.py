"""Builds handsynth/assets/embedded/poses.npz: 895 poses of the embedded hand.

    python scripts/build_pose_bank.py [--hand PATH] [--out PATH]

It needs nothing but the package itself and the hand, takes about five minutes on one core, and gives the same bank on every run.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent))

from pose_bank.angles import pose_from_angles
from pose_bank.design import Design, varied
from pose_bank.gestures import COUNTS, GESTURES, LETTERS, RELAXED
from pose_bank.natural import natural_wish
from pose_bank.relax import Relaxer, Wish
from pose_bank.select import keypoints, spread_out

from handsynth.assets.poses import PoseBank, save_poses
from handsynth.assets.store import EMBEDDED, write_atomically
from handsynth.core.hand import HandModel, load_hand

POSES = 895  # as many as the paper's own bank (right hands of MANO's scans)
SEED = 0

GROUPS: tuple[tuple[str, tuple[Design, ...], int, float], ...] = (
    ("gesture", GESTURES, 4, 5.0),
    ("count", COUNTS, 3, 5.0),
    ("letter", LETTERS, 3, 5.0),
    ("relaxed", RELAXED, 14, 7.0),
)
"""(category, its designs, how many of each with variations, how much these differ [deg])."""

CANDIDATES = 3000
"""Random hands from which the spread-out ones are chosen."""

BLENDS = 120
"""Poses half-way between two designed ones, as a moving hand passes through them."""


def build(model: HandModel, seed: int) -> PoseBank:
    """All poses, by category: designed ones, blends between them, and random ones far from all of these."""
    relaxer = Relaxer(model)
    names, angles = ["flat"], [np.zeros((model.num_joints, 3))]

    for category, designs, count, amount in GROUPS:
        for number, design in enumerate(tqdm(designs, desc=category)):
            rng = np.random.default_rng([seed, GROUPS.index((category, designs, count, amount)), number])
            wish = design.wish()
            first = relaxer.settle(wish)
            made = [] if first is None else [first]
            for _ in range(2 * count):
                if len(made) == count or first is None:
                    break
                found = relaxer.settle(varied(wish, rng, amount), first if wish.contacts else None)
                if found is not None:
                    made.append(found)
            if first is None:
                tqdm.write(f"left out: {category} {design.name}: no free pose near it")
            names += [f"{category}: {design.name} {k}" for k in range(1, len(made) + 1)]
            angles += made

    rng = np.random.default_rng([seed, 100])
    designed = len(angles)
    while len(angles) < designed + BLENDS:
        a, b = rng.choice(designed, 2, replace=False)
        t = rng.uniform(0.3, 0.7)
        found = relaxer.settle(varied(Wish((1 - t) * angles[a] + t * angles[b]), rng, 3.0))
        if found is not None:
            angles.append(found)
            names.append(f"between: {names[a].partition(': ')[2] or names[a]} and {names[b].partition(': ')[2] or names[b]}")

    rng = np.random.default_rng([seed, 101])
    wishes = [natural_wish(rng) for _ in range(CANDIDATES)]
    points = keypoints(model, np.array([w.angles for w in wishes]))
    before = len(angles)
    for row in tqdm(spread_out(points, keypoints(model, np.array(angles)), 2 * (POSES - before)), desc="random"):
        found = relaxer.settle(wishes[row])
        if found is not None:
            angles.append(found)
            names.append(f"random {len(angles) - before}")
        if len(angles) == POSES:
            break
    return PoseBank(pose_from_angles(model, np.array(angles))[:, 1:], tuple(names))


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
