"""Writes the README's table of numbers from the newest CSV of each benchmark in benchmarks/results.

    python scripts/readme_numbers.py            # writes the table
    python scripts/readme_numbers.py --check    # complains, with exit code 1, where it is not what would be written

No number is typed: each is computed from rows that are found by their columns, and stands beside the command, commit and day of its
file. All are of one machine.
"""

import argparse
import csv
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS, README = ROOT / "benchmarks" / "results", "README.md"
BEGIN, END = "<!-- numbers: python scripts/readme_numbers.py -->\n", "<!-- end of numbers -->"


class Results:
    """The rows of a benchmark's newest CSV: `NAME-machine-commit.csv`, or `NAME.csv`."""

    def __init__(self, name: str, folder: Path = RESULTS) -> None:
        """Raises SystemExit where there is none, or two are of one day: then nothing says which one counts."""
        tables: dict[str, list[list[dict[str, str]]]] = {}
        for path in sorted(folder.glob("*.csv")):
            if re.fullmatch(rf"{re.escape(name)}(-[a-z0-9.-]+-[0-9a-f]{{7,}}(-dirty)?)?\.csv", path.name):
                with open(path, encoding="utf-8", newline="") as file:
                    rows = list(csv.DictReader(file))
                tables.setdefault(max(row["date"] for row in rows), []).append(rows)
        if not tables:
            raise SystemExit(f"{folder} has no {name}-*.csv: run its benchmark")
        if len(newest := tables[max(tables)]) > 1:
            raise SystemExit(f"{folder} has {len(newest)} files {name}-*.csv of {max(tables)}: keep one")
        self.name, self.rows = name, newest[0]

    def get(self, column: str, **where: str | int) -> float:
        """The number in the one row whose columns are these."""
        found = [row for row in self.rows if all(row[key] == str(value) for key, value in where.items())]
        if len(found) != 1:
            raise SystemExit(f"{self.name} has {len(found)} rows with {where}, expected one")
        return float(found[0][column])

    def total(self, column: str) -> float:
        """The sum over all rows."""
        return sum(float(row[column]) for row in self.rows)

    def origin(self) -> str:
        """Command, commit and day."""
        row = self.rows[-1]
        return f"`{row['command'].split(' /')[0]}` | {row['commit']}, {row['date']}"


@dataclass(frozen=True)
class Row:
    """What was measured, where it is written down, and how the figure reads."""

    what: str
    results: str
    figure: Callable[[Results], str]


def pipeline(textures: str, name: str) -> Callable[[Results], str]:
    """Samples a second of a CPU second, beside two plain pipelines of the same run."""

    def figure(results: Results) -> str:
        rate, naive, careful = (
            results.get(column, textures=textures, pipeline=name)
            for column in ("samples_per_cpu_s", "cpu_speed_over_naive", "cpu_speed_over_careful")
        )
        return f"{rate:.0f} samples/s; {naive:.1f} times a plain pyrender pipeline, {careful:.1f} times a careful one"

    return figure


ROWS = (
    Row("`angrender`, one core", "generate_pipelines", pipeline("painted-embedded", "angrender")),
    Row("`manorender`, one core", "generate_pipelines", pipeline("painted-embedded", "manorender")),
    Row(
        "`angrender` with depth, parts, normals and uv", "generate_pipelines", pipeline("painted-embedded", "angrender with passes")
    ),
    Row("`angrender` with a texture of HTML's size", "generate_pipelines", pipeline("html-sized", "angrender")),
    Row(
        "two workers over one, `angrender`",
        "generate_workers",
        lambda r: f"{r.get('wall_speed_over_one_job', textures='painted-embedded', jobs=2):.1f} times",
    ),
    Row(
        "the paper's two datasets, whole, on both cores",
        "full_size",
        lambda r: (
            f"{r.total('samples'):,.0f} samples in {r.total('generate_s') / 60:.1f} minutes, {r.total('MB') / 1000:.1f} GB, "
            f"{1000 * r.total('MB') / r.total('samples'):.0f} kB a sample; `verify`: {r.total('faults'):.0f} faults"
        ),
    ),
    Row(
        "reading for training: shards to augmented crops of 256 px",
        "loader",
        lambda r: (
            f"{r.get('samples_per_cpu_s', variant='handmesh', work='augmented batches'):.0f} samples/s, "
            f"{r.get('cpu_speed_over_webdataset', variant='handmesh', work='augmented batches'):.1f} times webdataset"
        ),
    ),
    *(
        Row(
            f"hands of `{spec}` that a detector trained on photographs finds",
            f"detector_{spec}",
            lambda r: (
                f"{r.get('found_percent', group='all'):.0f} % of {r.get('samples', group='all'):.0f}; its landmarks are at the "
                f"median {r.get('error_median_percent', group='all'):.1f} % of the hand's size from ours"
            ),
        )
        for spec in ("angrender", "manorender")
    ),
    Row(
        "`lite-fast`: one image, one core",
        "table2-1thread",
        lambda r: (
            f"{r.get('wall_ms', net='lite-fast'):.0f} ms, {r.get('times_faster_by_wall', net='lite-fast'):.1f} times as fast as "
            f"`i2l-resnet50`; {r.get('parameters_millions', net='lite-fast'):.1f} M parameters, "
            f"{r.get('gmacs_true', net='lite-fast'):.2f} GMAC"
        ),
    ),
    Row(
        "the weights `lite-fast-128` on held-out hands",
        "shipped",
        lambda r: (
            f"PA-MPJPE {r.get('pa_mpjpe_mm', kind='all'):.1f} mm, PA-MPVPE {r.get('pa_mpvpe_mm', kind='all'):.1f} mm, MPJPE "
            f"{r.get('mpjpe_mm', kind='all'):.1f} mm; a constant hand {r.get('mean_hand_pa_mpjpe_mm', kind='all'):.1f}, "
            f"{r.get('mean_hand_pa_mpvpe_mm', kind='all'):.1f} and {r.get('mean_hand_mpjpe_mm', kind='all'):.1f} mm"
        ),
    ),
    Row(
        "IK net and 20 iterations of post-optimisation, one core, batch 256",
        "table4_time",
        lambda r: f"{r.get('hands_per_cpu_s', stage='IK net and Gauss-Newton', batch=256):.0f} hands/s",
    ),
)


def table(folder: Path = RESULTS) -> str:
    """The table between its marks."""
    results = [Results(row.results, folder) for row in ROWS]
    if len(machines := {row["cpu"] for found in results for row in found.rows}) > 1:
        raise SystemExit(f"{folder} has results of several machines: {', '.join(sorted(machines))}")
    rows = [f"| {row.what} | {row.figure(found)} | {found.origin()} |\n" for row, found in zip(ROWS, results, strict=True)]
    return f"{BEGIN}| what | figure | by | measured at |\n| --- | --- | --- | --- |\n{''.join(rows)}{END}"


def with_table(readme: str, folder: Path = RESULTS) -> str:
    """README.md with its table as it is now."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{README} has no place for the table: {BEGIN.strip()} ... {END}")
    return before + table(folder) + after


def main() -> int:
    parser = argparse.ArgumentParser(description="the README's table of numbers")
    parser.add_argument("--check", action="store_true", help="change nothing, complain")
    check = parser.parse_args().check
    readme = (ROOT / README).read_text(encoding="utf-8")
    written = with_table(readme)
    if not check:
        (ROOT / README).write_text(written, encoding="utf-8")
    elif written != readme:
        print(f"{README}'s numbers are not those of benchmarks/results: python scripts/readme_numbers.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
