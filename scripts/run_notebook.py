"""Runs a notebook top to bottom and keeps what its cells print and draw in it, small enough for a repository.

    python scripts/run_notebook.py                       # docs/notebook.ipynb, in a folder that is deleted afterwards

Cells are plain Python, so they run in this process and need no Jupyter; what they print to stderr is not kept, figures are JPEG.
"""

import base64
import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
QUALITY = 80
"""Of the figures' JPEG."""


def run(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with its cells' numbers and outputs, run in the current folder; raises what a cell raises."""
    names: dict[str, Any] = {"__name__": "__main__"}
    cells, count = [], 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            count += 1
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile("".join(cell["source"]), f"cell {count}", "exec"), names)
            cell = cell | {"execution_count": count, "outputs": [*_text(printed.getvalue()), *_figures()]}
        cells.append(cell)
    return notebook | {"cells": cells}


def _text(printed: str) -> list[dict[str, Any]]:
    return [{"name": "stdout", "output_type": "stream", "text": printed.splitlines(keepends=True)}] if printed else []


def _figures() -> list[dict[str, Any]]:
    """What the cell drew, as Jupyter shows it at the cell's end."""
    found = []
    for number in pyplot.get_fignums():
        data = io.BytesIO()
        pyplot.figure(number).savefig(data, format="jpeg", dpi=80, bbox_inches="tight", pil_kwargs={"quality": QUALITY})
        image = base64.b64encode(data.getvalue()).decode()
        found.append({"data": {"image/jpeg": image}, "metadata": {}, "output_type": "display_data"})
    pyplot.close("all")
    return found


def main(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        done = run(notebook)
    path.write_text(json.dumps(done, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{path}: {os.path.getsize(path) >> 10} KiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute() if sys.argv[1:] else NOTEBOOK)
