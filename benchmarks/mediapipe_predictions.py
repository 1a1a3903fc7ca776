"""MediaPipe's keypoints of labelled photographs, as `handmesh evaluate --photos FILE --predictions mediapipe=OUT` takes them.

MediaPipe 0.10.21 needs numpy < 2, so it lives in an environment of its own, and this file imports nothing of handmesh:

    python -m venv .detector && .detector/bin/pip install mediapipe==0.10.21
    .detector/bin/python benchmarks/mediapipe_predictions.py photos.json mediapipe.json

Each labelled hand is cut out with MARGIN of its box on every side, as the images of a data set are cut to the hand, and Hands runs
as it comes, on one image at a time. Of several hands found, the one whose middle is nearest to the box's counts.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

MARGIN = 0.25
"""Of the box's longer side, beyond each of its sides."""


def predictions(labels: dict[str, Any], folder: Path, hands: Any) -> list[dict[str, Any]]:
    """A prediction for each annotation in which a hand was found: keypoints in pixels, and in metres about the hand's middle."""
    files = {image["id"]: folder / image["file_name"] for image in labels["images"]}
    found = []
    for row in labels["annotations"]:
        image = np.asarray(ImageOps.exif_transpose(Image.open(files[row["image_id"]])).convert("RGB"))
        x, y, width, height = row["bbox"]
        margin = MARGIN * max(width, height)
        left, top = max(0, round(x - margin)), max(0, round(y - margin))
        part = image[top : round(y + height + margin), left : round(x + width + margin)]
        result = hands.process(np.ascontiguousarray(part))
        if not result.multi_hand_landmarks:
            continue
        scale, corner = np.array([part.shape[1], part.shape[0]]), np.array([left, top])
        points = [np.array([[p.x, p.y] for p in one.landmark]) * scale + corner for one in result.multi_hand_landmarks]
        middle = np.array([x + width / 2, y + height / 2])
        nearest = int(np.argmin([np.linalg.norm(p.mean(0) - middle) for p in points]))
        space = [[p.x, p.y, p.z] for p in result.multi_hand_world_landmarks[nearest].landmark]
        found.append(
            {"annotation_id": row["id"], "keypoints": np.round(points[nearest], 3).ravel().tolist(),
             "keypoints_3d": np.round(space, 6).ravel().tolist()}
        )  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("photos", type=Path, help="labels, COCO-style")
    parser.add_argument("out", type=Path, help="JSON to write")
    given = parser.parse_args()
    try:
        import mediapipe
    except ImportError:
        sys.exit("this Python has no mediapipe: python -m venv .detector && .detector/bin/pip install mediapipe==0.10.21")
    labels = json.loads(given.photos.read_text(encoding="utf-8"))
    with mediapipe.solutions.hands.Hands(static_image_mode=True, max_num_hands=2) as hands:
        found = predictions(labels, given.photos.parent, hands)
    given.out.write_text(json.dumps(found) + "\n", encoding="utf-8")
    print(f"{given.out}: {len(found)} of {len(labels['annotations'])} hands found by mediapipe {mediapipe.__version__} Hands")


if __name__ == "__main__":
    main()
