"""Writes tests/golden/values.json anew, after a version was raised because recipes, labels, images or assets changed on purpose.

    python scripts/regenerate_golden.py

A value that changed under the version that it was recorded with is refused: datasets of the old and the new code would be taken
for one another.
"""

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import golden_values
from golden_values import GUARDED


def regenerate() -> list[str]:
    """Computes and writes the values; returns what forbids it."""
    with tempfile.TemporaryDirectory() as folder:
        values = golden_values.compute(Path(folder))
    versions = golden_values.versions()
    if golden_values.GOLDEN.exists():
        golden = golden_values.read_golden()
        recorded = set(golden["values"]) & set(GUARDED)
        kept = {name for name in recorded if golden["versions"].get(GUARDED[name]) == versions[GUARDED[name]]}
        forbidden = [sentence for name in kept if (sentence := golden_values.complaint(name, values[name], golden))]
        if forbidden:
            return sorted(forbidden)
        values |= {name: golden["values"][name] for name in kept}  # the image perhaps of another driver, the skin to the last digit
    text = json.dumps({"versions": versions, "values": values}, indent=1, sort_keys=True)
    golden_values.GOLDEN.write_text(text + "\n", encoding="utf-8")
    return []


if __name__ == "__main__":
    sentences = regenerate()
    print("\n".join(sentences) or f"{golden_values.GOLDEN} is up to date", file=sys.stderr)
    sys.exit(1 if sentences else 0)
