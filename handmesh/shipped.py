"""Weights that come with the package: run folders by name, one of each kind the default, each with a model card.

`scripts/ship_weights.py` makes them of a run: half precision, figures, card. Whatever takes RUN takes their names.
"""

from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from handmesh.run_files import CONFIG, GRAPH, KINDS, WEIGHTS
from handsynth.core.errors import AssetError, UsageError

DEFAULTS, CARD = "defaults.yaml", "CARD.md"
"""Which name is taken where none is given, by kind of run; and in each folder what it is, was made of, and is not good at."""


class Shipped(NamedTuple):
    """Weights of the package."""

    name: str
    folder: Path  # works as RUN
    kind: str  # of `KINDS`
    is_default: bool
    summary: str  # one line

    def about(self) -> dict[str, Any]:
        """For `--json`."""
        size = sum((self.folder / name).stat().st_size for name in (WEIGHTS, GRAPH) if (self.folder / name).exists())
        return {**self._asdict(), "folder": str(self.folder), "bytes": size}


def weights_folder() -> Path:
    """Where the package keeps them."""
    return Path(str(resources.files("handmesh") / "weights"))


def list_shipped() -> list[Shipped]:
    """Everything that is shipped, by name. Raises AssetError when nothing is."""
    root = weights_folder()
    try:
        defaults = yaml.safe_load((root / DEFAULTS).read_text(encoding="utf-8"))
    except OSError:
        raise AssetError(f"no weights came with this package, looked in {root}: give RUN, a folder of handmesh train") from None
    found = []
    for folder in sorted(path.parent for path in root.glob(f"*/{CONFIG}")):
        config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
        kind = str(config.get("kind", "mesh"))
        found.append(Shipped(folder.name, folder, kind, defaults.get(kind) == folder.name, str(config.get("summary", ""))))
    return found


def find_run(text: str | Path | None, kind: str = "mesh") -> Path:
    """The folder of a run: a path, else the name of shipped weights; None is the default of that kind.

    Raises UsageError naming what there is when it is neither, AssetError when nothing is shipped.
    """
    if text is not None and Path(text).exists():
        return Path(text)
    shipped = [weights for weights in list_shipped() if weights.kind == kind]
    for weights in shipped:
        if weights.name == str(text) or (text is None and weights.is_default):
            return weights.folder
    names = ", ".join(weights.name for weights in shipped) or "none"
    if text is None:
        raise AssetError(f"no weights of {KINDS[kind]} came with this package: give a folder that it has made")
    raise UsageError(f"{text} is neither a folder nor the name of shipped weights ({names})")


def is_run(text: str | Path) -> bool:
    """Whether a word means a run: a folder with settings, or the name of shipped weights."""
    if Path(text).exists():
        return (Path(text) / CONFIG).exists()
    return weights_folder().exists() and str(text) in [weights.name for weights in list_shipped()]


def is_shipped(run: Path) -> bool:
    """Whether a run's folder belongs to the package: nothing is written there."""
    return run.resolve().parent == weights_folder().resolve()


def results_folder(run: Path) -> Path:
    """Where results of a run go when nothing else is given: into it, or here for shipped weights."""
    return Path() if is_shipped(run) else run
