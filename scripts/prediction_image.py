"""Draws .github/images/predict.jpg of the README: what handmesh.load() finds in rendered images that no net was trained on.

    python scripts/prediction_image.py [OUT]      # again after other weights are shipped

Three samples of the spec `default`, of a seed of their own, each beside the meshes over it; prints how far off these are.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

import handmesh
from handmesh.metrics import align_similarity, mean_error_mm
from handsynth.core.images import decode_image
from handsynth.core.shard import read_shard, shard_name

ROOT = Path(__file__).parents[1]
SEED = 7
CHOSEN = (37_500, 75_000, 58_333)
"""Right hands of the 24 samples: one alone, one that holds something, one from near."""


def main(out: Path) -> None:
    hands, tiles = handmesh.load(detector=None), []
    with tempfile.TemporaryDirectory() as place:
        command = ["generate", "default", place, "--seed", str(SEED), "--samples", "24", "--overwrite"]
        subprocess.run([sys.executable, "-m", "handsynth", *command], check=True)
        members = dict(read_shard(Path(place, shard_name(0))))
    for number in CHOSEN:
        image = decode_image(members[number]["jpg"])
        truth = np.array(json.loads(members[number]["json"])["keypoints_cam"])
        found = hands(image)
        for hand in found:
            aligned = align_similarity(hand.keypoints[None], truth[None])
            print(f"{number}: PA-MPJPE {mean_error_mm(aligned, truth[None]):.1f} mm")
        tiles += [image, hands.render(image, found)]
    cv2.imwrite(str(out), np.concatenate(tiles, axis=1)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main(Path(*sys.argv[1:]) if sys.argv[1:] else ROOT / ".github" / "images" / "predict.jpg")
