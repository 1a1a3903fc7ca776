"""What a dataset says of itself: its plan, a sidecar for each finished shard, and the index, which is their merge.

No writer waits for another. A sidecar's name holds the digest of its content, so that two nodes that make the same shard on
different drivers leave two sidecars, and a damaged one is known as such; the shard's own bytes say which sidecar is its.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

from handsynth.core.conventions import (
    DEPTH_UNIT_M,
    FINGERTIP_TABLES,
    JOINT_NAMES,
    KEYPOINT_NAMES,
    KEYPOINT_PARTS,
    OCCLUDER_GAP_M,
    VISIBLE_TOLERANCE_M,
)
from handsynth.core.errors import HandsynthError
from handsynth.core.index import canonical_json, index_bytes
from handsynth.core.sample import CLIP_PASSES, CROWD_FIELDS, CROWD_MEMBERS, FIELDS, OTHER_PASSES, PASSES
from handsynth.core.shard import ShardInfo, shard_name
from handsynth.dataset.folder import Folder

SIDECAR_DIR = ".handsynth"
"""Hidden folder of a dataset: plan and sidecars. Readers of the tars never see it."""

PLAN = f"{SIDECAR_DIR}/plan.json"
"""What the dataset is to be: everything of the index that is known before a sample is made."""

Sidecar = dict[str, Any]
"""The fields of ShardInfo, and `dataset` (identity)."""

_KEYS = {f.name: f.type for f in dataclasses.fields(ShardInfo)} | {"dataset": str}
_NAME = re.compile(r"(shard-[0-9]{6,9}\.tar)\.(?:([0-9a-f]{16})\.)?json")  # without a digest: made before there was one


def write_sidecar(folder: Folder, info: ShardInfo, dataset: str) -> None:
    """Says that a shard is whole. The shard lies there already."""
    data = canonical_json(dataclasses.asdict(info) | {"dataset": dataset})
    folder.write(f"{SIDECAR_DIR}/{info.name}.{_digest(data)}.json", data)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def read_sidecars(folder: Folder, dataset: str, only: str = "") -> dict[str, list[Sidecar]]:
    """{shard's name: its sidecars}, of one dataset, or of its shard `only`; those that are damaged are left out."""
    found: dict[str, list[Sidecar]] = {}
    for file in folder.list(SIDECAR_DIR):
        match = _NAME.fullmatch(file)
        if match is None or not match[1].startswith(only):
            continue
        sidecar = _read_sidecar(folder, f"{SIDECAR_DIR}/{file}", match[2])
        if sidecar is not None and sidecar["name"] == match[1] and sidecar["dataset"] == dataset:
            found.setdefault(match[1], []).append(sidecar)
    return found


def _read_sidecar(folder: Folder, file: str, digest: str | None) -> Sidecar | None:
    """A sidecar, or None when it is damaged or gone."""
    try:
        data = folder.read(file)
        sidecar = json.loads(data)
    except (OSError, ValueError, RecursionError):
        return None
    good = isinstance(sidecar, dict) and all(type(sidecar.get(key)) is kind for key, kind in _KEYS.items())
    return sidecar if good and digest in (None, _digest(data)) else None


def sidecar_of(folder: Folder, name: str, size: int | None, sidecars: list[Sidecar]) -> Sidecar | None:
    """The sidecar that has the very bytes of the shard that lies there (`size`: its listed bytes); None when it is not whole."""
    candidates = [sidecar for sidecar in sidecars if sidecar["bytes"] == size]
    if not candidates:
        return None
    try:
        sha256 = hashlib.sha256(folder.read(name)).hexdigest()
    except OSError:
        return None
    return next((sidecar for sidecar in candidates if sidecar["sha256"] == sha256), None)


def whole_shards(folder: Folder, dataset: str, names: list[str]) -> set[str]:
    """Those of `names` that lie in the folder with the very bytes that a sidecar of theirs names. Reads every byte."""
    sizes, sidecars = folder.list(), read_sidecars(folder, dataset)
    return {name for name in names if sidecar_of(folder, name, sizes.get(name), sidecars.get(name, []))}


def merge_index(folder: Folder, plan: dict[str, Any], num_shards: int, doubtful: set[str]) -> bool:
    """Writes `index.json` from plan and sidecars when every shard is there; the same bytes whoever writes it.

    A shard with one sidecar of its size is taken for whole, since its writer recorded it; the `doubtful` ones are read. Another
    node may finish a shard meanwhile, so what was written is compared with what lies there then: the last to write is right.
    """
    written = None
    while (index := _merged(folder, plan, num_shards, doubtful)) not in (None, written):
        folder.write("index.json", index or b"")
        written = index
    return index is not None


def _merged(folder: Folder, plan: dict[str, Any], num_shards: int, doubtful: set[str]) -> bytes | None:
    """The index's bytes, or None while a shard is missing."""
    sizes, sidecars = folder.list(), read_sidecars(folder, plan["dataset"])
    chosen = []
    for name in map(shard_name, range(num_shards)):
        here = [sidecar for sidecar in sidecars.get(name, []) if sidecar["bytes"] == sizes.get(name)]
        sure = name not in doubtful and len({sidecar["sha256"] for sidecar in here}) == 1
        found = here[0] if sure else sidecar_of(folder, name, sizes.get(name), here)
        if found is None:
            return None
        chosen.append(found)
    return index_bytes(_index(plan, chosen))


def _index(plan: dict[str, Any], sidecars: list[Sidecar]) -> dict[str, Any]:
    """The plan, and what the shards add to it."""
    return plan | {
        "samples": sum(sidecar["count"] for sidecar in sidecars),
        "drivers": sorted({sidecar["driver"] for sidecar in sidecars}),
        "replaced_backgrounds": sum(sidecar["replaced_backgrounds"] for sidecar in sidecars),
        "shards": [_entry(sidecar) for sidecar in sidecars],
    }


def _entry(sidecar: Sidecar) -> dict[str, Any]:
    """What the index says of a shard."""
    return {key: value for key, value in sidecar.items() if key != "dataset"}


def disagreements(folder: Folder, index: dict[str, Any]) -> Iterator[str]:
    """Sentences on where plan and sidecars contradict the index; none where a copy of the dataset came without them.

    Whichever of them is damaged, `generate` makes them agree again.
    """
    repair = "run `handsynth generate` again to repair it"
    if folder.read("index.json") != index_bytes(index):
        yield f"index.json is not written as handsynth writes it: {repair}"
    if not folder.list(SIDECAR_DIR):
        return
    sidecars, chosen = read_sidecars(folder, index["dataset"]), []
    for entry in index["shards"]:
        agreeing = [s for s in sidecars.get(entry["name"], []) if _entry(s) == {"driver": s["driver"]} | entry]
        if not agreeing:
            yield f"the sidecar of {entry['name']} in {SIDECAR_DIR} is missing, damaged, or says other than index.json: {repair}"
        chosen += agreeing[:1]
    data = read_if_there(folder, PLAN)
    plan = parse_object(data)
    expected = _index(plan, chosen) if len(chosen) == len(index["shards"]) else plan
    if not plan or data != canonical_json(plan):
        yield f"{PLAN} is missing or damaged: {repair}"
    elif wrong := sorted(key for key in expected.keys() - {"shards"} if expected[key] != index.get(key)):
        yield f"{PLAN} and the sidecars say other than index.json of {', '.join(wrong)[:100]}: {repair}"


def read_if_there(folder: Folder, name: str) -> bytes | None:
    """The bytes of a file, None when it is not there. Raises HandsynthError when it is there and cannot be read."""
    try:
        return folder.read(name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HandsynthError(f"{name} in {folder} cannot be read: {error.strerror or error}") from None


def parse_object(data: bytes | None) -> dict[str, Any]:
    """The JSON object that some bytes are; empty when they are damaged or missing."""
    try:
        value = json.loads(data or b"")
        canonical_json(value)  # refuses NaN
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def conventions(passes: tuple[str, ...], is_crowd: bool = False) -> dict[str, Any]:
    """What an external reader must know to read the numbers, carried in every plan and index."""
    single = {
        "fields": {name: text for name, (_, text) in FIELDS.items()},
        "vertices.npy": "float32 (V, 3), camera frame [m]",
        "mask.png": "8-bit PNG, 255 where the pixel's centre is on the hand and nothing hides it, 0 elsewhere",
        "passes": {name: text for name, text in (PASSES | CLIP_PASSES | OTHER_PASSES).items() if name in passes},
        "joint_names": list(JOINT_NAMES),
        "keypoint_names": list(KEYPOINT_NAMES),
        "keypoints": "J_regressor on the posed vertices, and the tip vertices of fingertip_table, as FreiHAND has it",
        "keypoint_parts": [list(parts) for parts in KEYPOINT_PARTS],
        "visible_tolerance_m": VISIBLE_TOLERANCE_M,
        "occluder_gap_m": OCCLUDER_GAP_M,
        "depth_unit_m": DEPTH_UNIT_M,
        "mano_fingertip_tables": {name: list(table) for name, table in FINGERTIP_TABLES.items()},
    }
    return single | ({"fields": CROWD_FIELDS, **CROWD_MEMBERS} if is_crowd else {})
