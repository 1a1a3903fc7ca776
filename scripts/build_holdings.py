"""Builds handsynth/assets/embedded/holdings.npz: which poses of the embedded bank hold which shapes, and how.

    python scripts/build_holdings.py [--jobs N] [--out PATH]

It needs nothing but the package itself, its hand and its pose bank, takes two hours of one core, and gives the same table on every
run. What a run that was stopped had found lies beside OUT, and the next one goes on from there.
"""

import argparse
from pathlib import Path

from tqdm import tqdm

from handsynth.assets.objects.table import joined_tables, load_table, save_table, search_poses, table_identity
from handsynth.core.hand import load_hand
from handsynth.core.locations import EMBEDDED, EMBEDDED_HAND, EMBEDDED_POSES
from handsynth.core.poses import load_poses

SAVE_EVERY = 20
"""Poses after which what was found is written."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=EMBEDDED / "holdings.npz")
    given = parser.parse_args()
    hand, bank = load_hand(EMBEDDED_HAND), load_poses(EMBEDDED_POSES)
    folder = given.out.with_suffix(".parts")
    folder.mkdir(exist_ok=True)
    identity, parts = table_identity(hand, bank), []
    for start in tqdm(range(0, len(bank.theta), SAVE_EVERY), unit_scale=SAVE_EVERY, unit="pose"):
        part = folder / f"{start:04d}-{identity[:12]}.npz"
        if not part.exists():
            rows = range(start, min(start + SAVE_EVERY, len(bank.theta)))
            save_table(part, joined_tables(list(search_poses(hand, bank, rows, jobs=given.jobs))))
        parts.append(load_table(part))
    table = joined_tables(parts)
    save_table(given.out, table)
    print(f"{given.out}: {len(table.poses)} of {len(bank.theta)} poses hold something, {len(table.pose)} placements")


if __name__ == "__main__":
    main()
