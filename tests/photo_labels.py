"""Labels of photographs as users have them, small."""

from typing import Any


def photos_content() -> dict[str, Any]:
    """Labelled photographs: one hand with truth in space and a camera, one without."""
    points = [[10.0 * (k % 5) + 3, 8.0 * (k // 5) + 4, 2] for k in range(21)]
    hand = {
        "image_id": 1,
        "side": "right",
        "bbox": [0, 0, 60, 50],
        "keypoints": [value for point in points for value in point],
        "tags": ["grasp"],
    }
    space = [[0.01 * k, 0.02, 0.5] for k in range(21)]
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "K": [[60, 0, 32], [0, 60, 32], [0, 0, 1]]}, {"id": 2, "file_name": "b/c.jpg"}],
        "annotations": [hand | {"id": 5, "keypoints_3d": space}, hand | {"id": 6, "image_id": 2, "side": "left"}],
    }


def predictions_content() -> list[dict[str, Any]]:
    """Another method's keypoints of those photographs."""
    hand = photos_content()["annotations"][0]
    return [{"annotation_id": 5, "keypoints": hand["keypoints"], "keypoints_3d": hand["keypoints_3d"]}]
