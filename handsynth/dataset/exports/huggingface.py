"""A folder for Hugging Face: tars of samples under fixed columns, and a card that states them: load_dataset(FOLDER) reads it."""

import json
from typing import Any

import yaml

from handsynth.core.sample import CLIP_PASSES, FIELDS, PASSES, SHAPES
from handsynth.core.shard import Members
from handsynth.dataset.exports.source import SHARD_SIZE, Source, Stored, write_shards

_TEXTS = ("dataset", "side", "fingertip_table")
_WHOLE = ("index", "image_size")
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def export_huggingface(source: Source, dest: str, shard_size: int = SHARD_SIZE) -> dict[str, Any]:
    """Writes `dest` and returns how many images and tars it has.

    Columns: `jpg`, `mask.png` and the passes as images, `vertices.npy`, and `json`: the labels that are numbers or names, of fixed
    types, and `labels`, the whole of a sample's JSON as text, recipe included.

    Raises UsageError when the place is taken.
    """
    passes = [name for name in PASSES | CLIP_PASSES if name in source.index["spec"].get("passes", ())]
    with source.into(dest) as folder:
        (folder / "data").mkdir()
        count, shards = write_shards(source, folder / "data", shard_size, lambda sample: _members(sample, passes))
        title = f"{source.index['name']}: labelled images of hands"
        source.write_readme(folder, title, *_notes(source, passes), head=f"---\n{_card(source, title, passes)}---\n")
    return {"images": count, "shards": shards}


def _members(sample: Stored, passes: list[str]) -> Members:
    """What is kept of a sample."""
    sample.check_first("huggingface")
    labels = sample.labels
    fixed = {name: labels.get(name) for name in (*_WHOLE, *_TEXTS, *_numbers())}
    fixed["labels"] = json.dumps(labels, separators=(",", ":"), sort_keys=True)
    kept = ["mask.png", "vertices.npy", *(f"{name}.png" for name in passes)]
    return {"jpg": sample.jpg(), "json": json.dumps(fixed).encode()} | {name: sample.members[name] for name in kept}


def _numbers() -> list[str]:
    """The labels that are arrays of one shape in every sample."""
    return [name for name, (shape, _) in FIELDS.items() if shape is not None and name != "sky_used"]


def _nested(shape: tuple[int, ...], dtype: str) -> Any:
    """The type of nested lists, as cards write it."""
    return dtype if not shape else {"sequence": _nested(shape[1:], dtype)}


def _card(source: Source, title: str, passes: list[str]) -> str:
    """The head of the card: what the site shows, where the data are, and the type of each column."""

    def column(name: str, shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
        nested = _nested(shape, dtype)
        return {"name": name, **(nested if isinstance(nested, dict) else {"dtype": nested})}

    labels = [column(name, (), "int64") for name in _WHOLE] + [column(name, (), "string") for name in (*_TEXTS, "labels")]
    labels += [column(name, FIELDS[name][0] or (), "float64") for name in _numbers()]
    features: list[dict[str, Any]] = [
        {"name": name, "dtype": "image"} for name in ("jpg", "mask.png", *(f"{name}.png" for name in passes))
    ]
    features += [column("vertices.npy", (0, SHAPES), "float32"), {"name": "json", "struct": labels}]
    features += [{"name": name, "dtype": "string"} for name in ("__key__", "__url__")]
    count = source.index["samples"]
    return yaml.safe_dump(
        {
            "pretty_name": title,
            "license": "other",
            "license_name": "see-licences",
            "license_link": "README.md",
            "task_categories": ["keypoint-detection", "image-segmentation", "depth-estimation"][: 3 if "depth" in passes else 2],
            "tags": ["hand-pose", "hand-mesh", "synthetic", "webdataset"],
            "size_categories": [next((name for limit, name in _SIZES if count < limit), "n>1M")],
            "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/*.tar"}]}],
            "dataset_info": {"features": features},
        },
        sort_keys=False,
        allow_unicode=True,
    )


def _notes(source: Source, passes: list[str]) -> tuple[str, ...]:
    """What the columns hold."""
    meanings = "\n".join(f"| `json.{name}` | {FIELDS[name][1]} |" for name in (*_WHOLE, *_TEXTS, *_numbers()))
    images = "\n".join(f"| `{name}.png` | {(PASSES | CLIP_PASSES)[name]} |" for name in passes)
    table = [
        "| column | content |\n| --- | --- |",
        "| `jpg` | the image, sRGB |",
        "| `mask.png` | 255 where the labelled hand is seen |",
        images,
        "| `vertices.npy` | vertices of the hand, camera frame [m] |",
        meanings,
        "| `json.labels` | all labels of the sample as JSON text, with the recipe: every decision behind it |",
    ]
    code = (
        "from datasets import load_dataset",
        "",
        'data = load_dataset("THIS FOLDER")["train"]',
        'data[0]["jpg"], data[0]["json"]["keypoints_xy"]',
    )
    return (
        f"{source.index['samples']} images.",
        "\n".join(f"    {line}".rstrip() for line in code),
        "\n".join(row for row in table if row),
        source.hand_note(),
    )
