"""The Python API: `handmesh.load()` gives a `Hands`, which turns images into meshes and joint angles; no torch is needed.

Frames and units are the package's: metres in the image's own camera frame (x right, y down, z forward), pixels from the corner of
the top-left one, sRGB. Examples, which the tests run: docs/api.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from handmesh.estimation.backends import OWN, Opened, open_net
from handmesh.estimation.detect import Detection, Detector, detections, given_boxes, open_detector
from handmesh.estimation.drawing import draw_meshes, draw_skeletons
from handmesh.estimation.estimate import Estimate, Estimator, View, tight_box
from handmesh.estimation.first_guess import open_guess
from handmesh.estimation.tracking import Track, Tracker
from handmesh.kinematics.dof import DOF_NAMES, embed, hand_dof_matrix
from handmesh.kinematics.fit import AngleSolver, FitResult, std_weights
from handmesh.kinematics.linear import HandState, linear_hand
from handmesh.sources import Camera, camera_of, read_image
from handsynth.core.camera import project
from handsynth.core.errors import UsageError
from handsynth.core.hand import HandModel
from handsynth.core.images import MAX_PIXELS, MIN_SIDE
from handsynth.core.mirror import mirror_left
from handsynth.core.rotation import rotmat_to_rotvec

MODES = ("image", "video")
FRAME_ITERATIONS = 6
"""Steps of a fit in a frame of a video, at most."""

STYLES = ("mesh", "uncertainty", "skeleton")
"""What `render` draws: a plain mesh, one coloured by the net's standard deviation, or bones."""


@dataclass(frozen=True, eq=False)
class Hand:
    """A hand that was found. V vertices, in the order of `Hands.faces`; camera frame of the image [m].

    In mode "video" vertices, keypoints and angles are those of the filtered hand, and agree with each other; in mode "image"
    vertices and keypoints are the net's, and `fitted_vertices` those of the hand that has the joint angles.
    """

    side: str  # "right" or "left"
    score: float  # in [0, 1], the detector's; 1 for boxes that were given, and where the whole image was looked at
    box: np.ndarray  # (4,) x0, y0, x1, y1 about the hand, which the net looked at last [px]: a loose one is laid anew
    vertices: np.ndarray  # (V, 3)
    keypoints: np.ndarray  # (21, 3) FreiHAND's order: wrist, then thumb to pinky from the palm outwards
    std_mm: np.ndarray  # (V,) one standard deviation of each vertex's place, the three axes together [mm]
    root_depth: float  # of the wrist [m]
    K: np.ndarray  # (3, 3) of the image [px]
    track: int | None = None  # in mode "video": the same number, the same hand
    fit: FitResult | None = None  # one hand, right: a left one's mirror image in x = 0; None without joint angles
    fitted_vertices: np.ndarray | None = None  # (V, 3)

    @property
    def keypoints_xy(self) -> np.ndarray:
        """(21, 2) where the keypoints are in the image [px]."""
        return project(self.keypoints, self.K)

    @property
    def joint_angles_deg(self) -> dict[str, float]:
        """The 23 joint angles by name ("index_pip_flexion") [deg]; zero is the flat hand. Empty where none were asked for."""
        if self.fit is None:
            return {}
        return dict(zip(DOF_NAMES, np.rad2deg(self.fit.angles[0].astype(np.float64)).tolist(), strict=True))


def load(
    model: str | Path | None = None,
    *,
    mode: str = "image",
    detector: Detector | str | Path | None = OWN,
    angles: bool = True,
    ik: str | Path | None = OWN,
    smooth: bool = True,
    device: str = "auto",
    runtime: str = "auto",
    threads: int | None = None,
    fps: float = 30.0,
) -> "Hands":
    """Opens a model, by default the one that comes with the package.

    Args:
        model: name of shipped weights (`handmesh weights list`), a file of `handmesh export`, or a run's folder.
        mode: "image": each call stands alone. "video": calls are frames, hands are followed and filtered.
        detector: "own", the one that comes with the package; a function from image to (box, side, score, angle); MediaPipe's
            `hand_landmarker.task`; a run of handmesh train detector. None or "none": one hand, for which the whole image is looked
            at first. Where boxes are given, it is not asked.
        angles: finds joint angles too.
        ik: where they start, and what they keep near: "own", the IK net that comes with the package, for its hand; a run of
            handmesh train ik. None or "none": the mesh itself.
        smooth: filters them in mode "video", and with them mesh and camera.
        device: "auto", "cpu", "cuda" or "cuda:N"; a GPU needs torch.
        runtime: "auto", "onnx" or "torch".
        threads: of onnxruntime; None: as many as there are cores.
        fps: frames a second in mode "video", for calls that say no time.

    Raises UsageError for an unknown model or mode, HandsynthError for a damaged file, AssetError naming what to install.
    """
    if isinstance(detector, str | Path):
        detector = open_detector(detector, threads)
    opened = open_net(model, device, runtime, threads)
    solver = AngleSolver(opened.hand, open_guess(ik, opened.hand)) if angles else None
    return Hands(opened, mode=mode, detector=detector, angles=angles, smooth=smooth, fps=fps, solver=solver)


class Hands:
    """From an image to its hands; made by `load`."""

    def __init__(
        self,
        opened: Opened,
        *,
        mode: str = "image",
        detector: Detector | None = None,
        angles: bool = True,
        smooth: bool = True,
        fps: float = 30.0,
        solver: AngleSolver | None = None,
    ) -> None:
        """As `load` has it, of an opened net; a `solver` says how angles are found, None begins with the package's IK net."""
        if mode not in MODES:
            raise UsageError(f"there is no mode {mode!r}: use {' or '.join(MODES)}")
        if not 0 < fps < np.inf:
            raise UsageError(f"fps is {fps:g}: give a number above 0")
        self.opened, self.mode, self.detector, self.smooth, self.fps = opened, mode, detector, smooth, fps
        self.estimator = Estimator(opened.net, opened.hand, opened.side)
        self.solver = (solver or AngleSolver(opened.hand, open_guess(OWN, opened.hand))) if angles or solver else None
        if self.solver and mode == "video":  # which begins near the end, and goes on in the next frame
            self.solver = replace(self.solver, iterations=min(self.solver.iterations, FRAME_ITERATIONS))
        self.reset()

    @property
    def hand(self) -> HandModel:
        """The hand model, a right hand."""
        return self.opened.hand

    @property
    def faces(self) -> np.ndarray:
        """(F, 3) of the vertices; counter-clockwise from outside for right hands, clockwise for left ones."""
        return self.opened.hand.faces

    def reset(self) -> None:
        """Forgets all hands: the next frame is the first of another video."""
        self._tracker, self._time_s = Tracker(self.opened.hand), -np.inf

    def __call__(
        self,
        image: np.ndarray | str | Path,
        *,
        boxes: Sequence[Sequence[float]] | None = None,
        sides: str | Sequence[str] | None = None,
        focal_px: float | None = None,
        K: np.ndarray | None = None,
        root_depth: float | None = None,
        time_s: float | None = None,
    ) -> list[Hand]:
        """The hands of an image; an empty list when a detector finds none.

        Args:
            image: (H, W, 3) uint8 sRGB, or a file, which is turned as its EXIF tag asks and whose EXIF focal length is used.
            boxes: (4,) each, x0, y0, x1, y1 about a hand [px]; instead of a detector's. In mode "video" they begin new hands.
            sides: "right" or "left" for all boxes, or one for each; or for all hands that a detector finds. None: the side that the
                detector says, and right where there is none.
            focal_px: focal length [px]. None: what EXIF says, else 60 degrees across the longer side. Depths grow with it.
            K: (3, 3) [px], instead.
            root_depth: of the wrist [m]. None: where the palm is as large as the mean hand's.
            time_s: of the frame, in mode "video" [s]; None: 1 / fps after the last.

        Raises UsageError for what no image or box can be, HandsynthError when a file cannot be read.
        """
        focal_35mm = None
        if isinstance(image, str | Path):
            image, focal_35mm = read_image(Path(image))
        image = _checked(image)
        camera = camera_of(image, focal_35mm, focal_px, K)
        if self.mode == "image":
            return self._image(image, camera, boxes, sides, root_depth)
        return self._frame(image, camera, boxes, sides, root_depth, time_s)

    def render(self, image: np.ndarray | str | Path, hands: Sequence[Hand], style: str = "mesh", zoom: float = 1.0) -> np.ndarray:
        """The hands over their image, the farthest first.

        Args:
            image: as given to `__call__`; it is not changed.
            hands: of that image.
            style: of `STYLES`.
            zoom: the result is so many times as large.

        Returns:
            (zoom H, zoom W, 3) uint8.
        """
        if style not in STYLES:
            raise UsageError(f"there is no style {style!r}: use {', '.join(STYLES)}")
        drawn = read_image(Path(image))[0] if isinstance(image, str | Path) else _checked(image)
        ordered = sorted(hands, key=lambda hand: -hand.root_depth)
        if style == "skeleton" or not ordered:
            return draw_skeletons(drawn, [hand.keypoints_xy for hand in ordered], zoom=zoom)
        stds = [hand.std_mm for hand in ordered] if style == "uncertainty" else None
        return draw_meshes(drawn, [hand.vertices for hand in ordered], self.faces, ordered[0].K, stds, zoom=zoom)

    def _image(
        self,
        image: np.ndarray,
        camera: Camera,
        boxes: Sequence[Sequence[float]] | None,
        sides: str | Sequence[str] | None,
        root_depth: float | None,
    ) -> list[Hand]:
        found = self._detect(image, boxes, sides)
        if found is None:
            views, scores = [View(image, camera.K, _one_side(sides or "right"))], [1.0]
        else:
            views = [View(image, camera.K, one.side, one.box, -(one.angle or 0.0)) for one in found]
            scores = [one.score for one in found]
        for view in views:
            tight_box(view)
        views, estimates = self.estimator.find(views, root_depth)
        fits = self._fit(views, estimates)
        return [self._hand(*each) for each in zip(views, estimates, scores, fits, strict=True)]

    def _detect(
        self, image: np.ndarray, boxes: Sequence[Sequence[float]] | None, sides: str | Sequence[str] | None
    ) -> list[Detection] | None:
        """None: nobody says where hands are."""
        if boxes is not None:
            return given_boxes(boxes, sides or "right")
        if self.detector is None:
            return None
        found = detections(self.detector(image))
        return found if sides is None else [one._replace(side=_one_side(sides)) for one in found]

    def _fit(self, views: Sequence[View], estimates: Sequence[Estimate]) -> list[FitResult | None]:
        """The feasible hands nearest to estimates, each vertex weighted by how sure the net is of it."""
        if self.solver is None or not views:
            return [None] * len(views)
        vertices = mirror_left(np.stack([estimate.vertices for estimate in estimates]), [view.side for view in views])
        fit = self.solver(vertices, std_weights(np.stack([estimate.std_mm for estimate in estimates])), predicted=True)
        return [_row(fit, k) for k in range(len(views))]

    def _hand(self, view: View, estimate: Estimate, score: float, fit: FitResult | None) -> Hand:
        fitted = None if fit is None else mirror_left(fit.vertices, [view.side])[0]
        return Hand(
            view.side, score, tight_box(view), estimate.vertices, estimate.keypoints, estimate.std_mm, estimate.root_depth, view.K,
            fit=fit, fitted_vertices=fitted,
        )  # fmt: skip

    def _frame(
        self,
        image: np.ndarray,
        camera: Camera,
        boxes: Sequence[Sequence[float]] | None,
        sides: str | Sequence[str] | None,
        root_depth: float | None,
        time_s: float | None,
    ) -> list[Hand]:
        if time_s is None:
            time_s = 0.0 if self._time_s == -np.inf else self._time_s + 1 / self.fps
        dt = time_s - self._time_s
        if dt <= 0:
            raise UsageError(
                f"a frame at {time_s:g} s after one at {self._time_s:g} s: times must grow; reset() begins another video"
            )
        self._time_s = time_s
        tracker = self._tracker
        if boxes is not None or (self.detector is not None and tracker.needs_detector(time_s)):
            tracker.match(self._detect(image, boxes, sides) or [], time_s)
        elif self.detector is None and not tracker.tracks:
            tracker.begin(None, _one_side(sides or "right"))
        views = [track.view(image, camera.K) for track in tracker.tracks]
        for view in views:
            tight_box(view)
        views, estimates = self.estimator.find(views, root_depth, [track.followed for track in tracker.tracks])
        lost = [t for t, view, estimate in zip(tracker.tracks, views, estimates, strict=True) if not t.follow(view, estimate)]
        made = [self._followed(*each, dt) for each in zip(tracker.tracks, views, estimates, strict=True) if each[0] not in lost]
        tracker.end(lost)
        kept = {track.number for track in tracker.tracks}
        return [hand for hand in made if hand.track in kept]

    def _followed(self, track: Track, view: View, estimate: Estimate, dt: float) -> Hand:
        """A hand of a frame, fitted from where it was in the last, and filtered."""
        if self.solver is None:
            return replace(self._hand(view, estimate, track.score, None), track=track.number)
        vertices = mirror_left(estimate.vertices[None], [view.side])
        fit = self.solver(vertices, std_weights(estimate.std_mm[None]), predicted=True, start=track.fit)
        track.fit = fit
        if self.smooth:
            state = track.smoother(HandState(fit.rotation, fit.translation, fit.angles, fit.beta), estimate.std_mm, dt)
            fit = _posed(self.hand, state, fit, vertices)
        shown = mirror_left(fit.vertices, [view.side])[0]
        keypoints = mirror_left(fit.keypoints, [view.side])[0]
        return Hand(
            view.side, track.score, tight_box(view), shown, keypoints, estimate.std_mm, float(keypoints[0, 2]), view.K,
            track.number, fit, shown,
        )  # fmt: skip


def _posed(hand: HandModel, state: HandState, fit: FitResult, targets: np.ndarray) -> FitResult:
    """A fit with the state in the place of its own; `targets` (1, V, 3) are what its errors are distances from."""
    state = HandState(*(value.astype(np.float32) for value in state))
    vertices, keypoints = linear_hand(hand).points(state)
    theta = np.concatenate([rotmat_to_rotvec(state.rotation)[:, None], embed(state.angles, hand_dof_matrix(hand))], 1)
    return replace(
        fit, **state._asdict(), theta=theta.astype(np.float32), vertices=vertices, keypoints=keypoints,
        vertex_errors_m=np.linalg.norm(vertices - targets, axis=-1),
    )  # fmt: skip


def _row(fit: FitResult, k: int) -> FitResult:
    """One hand of many."""
    return FitResult(**{name: value[k : k + 1] for name, value in vars(fit).items()})


def _one_side(sides: str | Sequence[str]) -> str:
    side = sides if isinstance(sides, str) else (list(sides) or [""])[0]
    if side not in ("right", "left"):
        raise UsageError(f"a hand's side is right or left, not {side!r}")
    return side


def _checked(image: np.ndarray) -> np.ndarray:
    """The array, or UsageError when it is no image."""
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UsageError(f"the image is {image.dtype} of shape {image.shape}: expected uint8 of (height, width, 3), sRGB")
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE or height * width > MAX_PIXELS:
        raise UsageError(
            f"the image has {width} x {height} px: expected {MIN_SIDE} px or more a side, {MAX_PIXELS:,} in all at most"
        )
    return image
