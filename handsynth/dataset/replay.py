"""Replay: samples made again from their stored recipes, and compared member by member."""

import json
from dataclasses import dataclass
from pathlib import Path

from handsynth.core.conventions import GENERATOR_VERSION, SCHEMA
from handsynth.core.errors import UsageError
from handsynth.core.sample import MEASURED, decode_labels
from handsynth.core.shard import Members, canonical_json, read_index
from handsynth.dataset.folder import open_folder, read_samples
from handsynth.generator import Generator, library_of
from handsynth.image.encode import encode_sample
from handsynth.recipe.recipe import recipe_from_dict
from handsynth.recipe.spec import spec_from_dict


def find_sample(out: Path | str, sample_index: int) -> tuple[str, Members]:
    """Where a sample is, and its members. Raises UsageError when the dataset does not hold it."""
    folder = open_folder(out)
    index = read_index(folder)
    for entry in index["shards"]:
        if entry["first"] <= sample_index <= entry["last"]:
            for found, members in read_samples(folder, entry["name"]):
                if found == sample_index:
                    return f"{entry['name']}, sample {found}", members
    last = index["shards"][-1]["last"] if index["shards"] else -1
    raise UsageError(f"{out} holds no sample {sample_index}: its selection is {index['selection']!r}, its last index {last}")


@dataclass(frozen=True)
class Replay:
    """How a sample made again compares with the stored one."""

    equal: tuple[str, ...]  # members with the same bytes
    different: tuple[str, ...]  # members with other bytes
    same_driver: bool

    @property
    def faithful(self) -> bool:
        """Everything equal; on another driver the images may differ, labels and vertices may not."""
        return not (set(self.different) & {"json", "vertices.npy"} if not self.same_driver else self.different)


def replay(out: Path | str, sample_indices: list[int], assets: Path) -> list[Replay]:
    """Makes samples again from their stored recipes and compares every member.

    Raises UsageError when the assets here, or the code, are not those of the dataset.
    """
    index = read_index(open_folder(out))
    if (index["schema"], index.get("generator_version")) != (SCHEMA, GENERATOR_VERSION):
        version = f" and generator version {index['generator_version']!s:.20}" if "generator_version" in index else ""
        raise UsageError(
            f"{out} was made by handsynth {index.get('handsynth')!s:.20} with schema {index['schema']}{version}, here is "
            f"{SCHEMA} and generator version {GENERATOR_VERSION}: a replay needs the version that made it"
        )
    spec = spec_from_dict(index["spec"], f"{out}/index.json")
    library = library_of(spec, assets)
    if library.digests != index["assets"]:
        other = ", ".join(k for k in index["assets"] if library.digests.get(k) != index["assets"][k])
        raise UsageError(f"{out} was made with other assets ({other}): a replay needs the same ones")
    generator = Generator(spec, library)
    results = []
    for sample_index in sample_indices:
        where, members = find_sample(out, sample_index)
        recipe = recipe_from_dict(decode_labels(members, where, index)["recipe"], where, library.hand.num_shapes)
        again = encode_sample(next(iter(generator.make_samples([recipe]))))
        names, same_driver = sorted(set(members) | set(again)), generator.driver in index["drivers"]
        equal = tuple(n for n in names if _is_equal(n, members.get(n), again.get(n), same_driver))
        results.append(Replay(equal, tuple(n for n in names if n not in equal), same_driver))
    return results


def _is_equal(name: str, stored: bytes | None, again: bytes | None, same_driver: bool) -> bool:
    """Whether a member is as it was: in every byte, or, of labels on another driver, in all but what is measured on images."""
    if name != "json" or same_driver or stored is None or again is None:
        return stored == again
    first, second = ({key: v for key, v in json.loads(data).items() if key not in MEASURED} for data in (stored, again))
    return canonical_json(first) == canonical_json(second)
