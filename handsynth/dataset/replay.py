"""Replay: samples made again from their stored recipes, and compared member by member."""

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handsynth.core.conventions import GENERATOR_VERSION, SCHEMA
from handsynth.core.errors import AssetError, UsageError
from handsynth.core.index import canonical_json, read_index
from handsynth.core.sample import MEASURED, decode_labels
from handsynth.core.shard import Members
from handsynth.crowds import open_generator
from handsynth.dataset.folder import Folder, open_folder, read_samples
from handsynth.generator import library_of
from handsynth.image.encode import encode_sample
from handsynth.recipe.crowd import any_recipe_from_dict
from handsynth.recipe.spec import ASSET_NAMES, DatasetSpec, spec_from_dict
from handsynth.render.context import AUTO, check_device


@dataclass(frozen=True)
class Here:
    """What this machine uses in the place of what a dataset's spec names. The assets must have the dataset's digests."""

    hand: str | None = None
    textures: str | None = None
    backgrounds: str | None = None
    annotations: str | None = None
    environments: str | None = None
    objects: str | None = None
    device: str = AUTO  # see render.context.find_device

    def __post_init__(self) -> None:
        """Raises UsageError when there can be no such device."""
        check_device(self.device)

    def spec(self, spec: DatasetSpec) -> DatasetSpec:
        """The spec with these assets; none of them is part of its identity."""
        named = {name: getattr(self, name) for name in ASSET_NAMES}
        return dataclasses.replace(spec, **{name: value for name, value in named.items() if value is not None})


def find_sample(out: Path | str, sample_index: int) -> tuple[str, Members]:
    """Where a sample is, and its members. Raises UsageError when the dataset does not hold it."""
    folder = open_folder(out)
    entry, members = _find(folder, read_index(folder), sample_index)
    return f"{entry['name']}, sample {sample_index}", members


def _find(folder: Folder, index: dict[str, Any], sample_index: int) -> tuple[dict[str, Any], Members]:
    """What the index says of the shard of a sample, and the sample's members."""
    for entry in index["shards"]:
        if entry["first"] <= sample_index <= entry["last"]:
            for found, members in read_samples(folder, entry["name"]):
                if found == sample_index:
                    return entry, members
    last = index["shards"][-1]["last"] if index["shards"] else -1
    raise UsageError(f"{folder} holds no sample {sample_index}: its selection is {index['selection']!r}, its last index {last}")


@dataclass(frozen=True)
class Replay:
    """How a sample made again compares with the stored one."""

    equal: tuple[str, ...]  # members with the same bytes
    different: tuple[str, ...]  # members with other bytes
    same_driver: bool  # as its shard was drawn by; False where the index of an older version leaves that open

    @property
    def faithful(self) -> bool:
        """Everything equal; on another driver the images may differ, labels and vertices may not."""
        return not (set(self.different) & {"json", "vertices.npy"} if not self.same_driver else self.different)


def replay(out: Path | str, sample_indices: list[int], assets: Path, here: Here = Here()) -> list[Replay]:
    """Makes samples again from their stored recipes and compares every member.

    Raises UsageError when the assets here, or the code, are not those of the dataset, AssetError when assets or the device are
    missing.
    """
    folder = open_folder(out)
    index = read_index(folder)
    if (index["schema"], index.get("generator_version")) != (SCHEMA, GENERATOR_VERSION):
        version = f" and generator version {index['generator_version']!s:.20}" if "generator_version" in index else ""
        raise UsageError(
            f"{folder} was made by handsynth {index.get('handsynth')!s:.20} with schema {index['schema']}{version}, here is "
            f"{SCHEMA} and generator version {GENERATOR_VERSION}: a replay needs the version that made it"
        )
    spec = here.spec(spec_from_dict(index["spec"], f"{folder}/index.json"))
    elsewhere = "--hand, --textures, --backgrounds, --annotations, --environments and --objects say where they lie on this machine"
    try:
        library = library_of(spec, assets)
    except AssetError as error:
        raise AssetError(f"{error} ({folder} was made with such assets: {elsewhere})") from None
    if library.digests != index["assets"]:
        other = ", ".join(k for k in index["assets"] if library.digests.get(k) != index["assets"][k])
        raise UsageError(f"{folder} was made with other assets ({other}), and a replay needs the same ones: {elsewhere}")
    library.prepare(lambda text: print(text, file=sys.stderr))
    generator = open_generator(spec, library, here.device)
    results = []
    for sample_index in sample_indices:
        entry, members = _find(folder, index, sample_index)
        where = f"{entry['name']}, sample {sample_index}"
        recipe = any_recipe_from_dict(decode_labels(members, where, index)["recipe"], where, library.hand.num_shapes, spec)
        again = encode_sample(next(iter(generator.make_samples([recipe]))))
        names, same_driver = sorted(set(members) | set(again)), generator.driver == _driver(index, entry)
        equal = tuple(n for n in names if _is_equal(n, members.get(n), again.get(n), same_driver))
        results.append(Replay(equal, tuple(n for n in names if n not in equal), same_driver))
    return results


def _driver(index: dict[str, Any], entry: dict[str, Any]) -> str | None:
    """The driver that drew a shard; None when the index does not say: older ones only list the drivers of the whole dataset."""
    return entry.get("driver") or (index["drivers"][0] if len(index["drivers"]) == 1 else None)


def _is_equal(name: str, stored: bytes | None, again: bytes | None, same_driver: bool) -> bool:
    """Whether a member is as it was: in every byte, or, of labels on another driver, in all but what is measured on images."""
    if name != "json" or same_driver or stored is None or again is None:
        return stored == again
    first, second = ({key: v for key, v in json.loads(data).items() if key not in MEASURED} for data in (stored, again))
    return canonical_json(first) == canonical_json(second)
