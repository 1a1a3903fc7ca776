"""How long MediaPipe's Hands takes for a frame of a video of one hand: `bench_runtime.py --mediapipe PYTHON` runs it beside ours.

    .detector/bin/python benchmarks/mediapipe_speed.py IMAGE.npy ROUNDS

MediaPipe 0.10.21 needs numpy < 2, so it lives in an environment of its own, and this file imports nothing of handmesh. It runs as
it comes, tracking, on the same (H, W, 3) uint8 image again and again, and prints median CPU and wall milliseconds and the share of
the frames in which a hand was found, as JSON. It gives 21 keypoints; no mesh, no joint angles.
"""

import json
import statistics
import sys
import time

import mediapipe
import numpy as np

image, rounds = np.load(sys.argv[1]), int(sys.argv[2])
with mediapipe.solutions.hands.Hands(static_image_mode=False, max_num_hands=1) as hands:
    for _ in range(10):
        hands.process(image)
    times, found = [], 0
    for _ in range(rounds):
        cpu, wall = time.process_time(), time.perf_counter()
        found += hands.process(image).multi_hand_landmarks is not None
        times.append((1000 * (time.process_time() - cpu), 1000 * (time.perf_counter() - wall)))
cpu_ms, wall_ms = (statistics.median(column) for column in zip(*times, strict=True))
print(json.dumps({"cpu_ms": cpu_ms, "wall_ms": wall_ms, "found": found / rounds}))
