"""The command `handmesh train mesh`: from flags to datasets, hand and settings, then the loop."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from handmesh.data.shards import ShardDataset
from handmesh.settings.mesh import TrainSpec, load_preset
from handmesh.training.loop import HowRun, Part, Training
from handmesh.training.ranks import open_ranks
from handsynth.core.errors import UsageError
from handsynth.core.named_hands import find_hand


def train_mesh_command(
    preset: str,
    flags: Mapping[str, Any],
    data: Sequence[str],
    val: Sequence[Path],
    out: Path,
    hand_file: Path | None,
    device: str,
    **how: Any,
) -> str | None:
    """Trains as the command line says -> the closing line, on the first rank. `flags` that are None leave the preset's value."""
    spec = with_flags(load_preset(preset), flags)
    parts = [parse_part(text, how["skip_bad"]) for text in data]
    first = parts[0].data
    hand = find_hand(first.index, first.folder, hand_file)
    for part in parts[1:]:
        ShardDataset(part.data.folder, hand, how["skip_bad"])
    validation = [ShardDataset(folder, hand, how["skip_bad"]) for folder in val]
    with open_ranks(device) as ranks:
        history = Training(spec, parts, validation, hand, out, ranks, HowRun(**how)).run()
        if not ranks.first:
            return None
    bad = sum(len(d.bad_shards) for d in [p.data for p in parts] + validation)
    skipped = f"; {bad} damaged shards were left out" if bad else ""
    if not history:
        return f"{out}: nothing was left to do{skipped}"
    last = history[-1]
    return (
        f"{out}: {spec.net}, {last['epoch']:.0f} epochs, validation PA-MPJPE {last['val_pa_mpjpe_mm']:.1f} mm, "
        f"PA-MPVPE {last['val_pa_mpvpe_mm']:.1f} mm; see curves.png and validation.png{skipped}"
    )


def with_flags(spec: TrainSpec, flags: Mapping[str, Any]) -> TrainSpec:
    """The spec with the flags that were given; a key with a dot is of a nested part."""
    given = {key: value for key, value in flags.items() if value is not None}
    nested = {key.removeprefix("augment."): value for key, value in given.items() if key.startswith("augment.")}
    plain = {key: value for key, value in given.items() if "." not in key}
    return dataclasses.replace(spec, augment=dataclasses.replace(spec.augment, **nested), **plain)


def parse_part(text: str, skip_bad: bool = False) -> Part:
    """FOLDER or FOLDER=WEIGHT -> an open dataset and its weight. Raises UsageError for a weight that is no positive number."""
    folder, mark, weight = text.rpartition("=")
    if not mark or Path(text).exists():
        return Part(ShardDataset(Path(text), skip_bad=skip_bad), 1.0)
    try:
        value = float(weight)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UsageError(f"--data {text}: after = comes the dataset's weight, a positive number")
    return Part(ShardDataset(Path(folder), skip_bad=skip_bad), value)
