"""Builds handmesh/robot/skin.jpg, the texture of exported hands: one painted skin in the embedded hand's layout.

python scripts/build_robot_skin.py [--person N] [--out PATH]
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt

from handmesh.robot.visuals import SHIPPED_SKIN
from handsynth.assets.skins.painter.paint import paint_population
from handsynth.core.named_hands import open_hand

SIZE, PEOPLE, PERSON = 1024, 8, 3
SHIPPED = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--person", type=int, default=PERSON)
    parser.add_argument("--out", type=Path, default=SHIPPED_SKIN)
    arguments = parser.parse_args()
    painted = paint_population(open_hand("embedded"), SIZE, PEOPLE)
    texels = painted.surface.texels
    image, used = np.zeros((SIZE * SIZE, 3)), np.zeros(SIZE * SIZE, bool)
    image[texels] = painted.paint(0, len(texels))[arguments.person]
    used[texels] = True
    # Between the islands the nearest skin: no seam shows where a simulator's mipmaps average over them.
    rows, columns = distance_transform_edt(~used.reshape(SIZE, SIZE), return_distances=False, return_indices=True)
    filled = image.reshape(SIZE, SIZE, 3)[rows, columns]
    skin = Image.fromarray(np.round(filled).clip(0, 255).astype(np.uint8)).resize((SHIPPED, SHIPPED), Image.Resampling.LANCZOS)
    skin.save(arguments.out, "JPEG", quality=88)


if __name__ == "__main__":
    main()
