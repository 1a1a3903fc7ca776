"""Mesh nets put to work: on images and videos, and live."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from handmesh.cli.options import DeviceOpt, FormatOpt, IKRunOpt, JsonOpt, ShapeOpt, print_json, run_and_rest
from handsynth.core.errors import UsageError

RunOpt = Annotated[
    Path | None,
    typer.Option("--run", metavar="MODEL", help="run folder, .onnx of export, or name of shipped weights [the default of these]"),
]
DetectorOpt = Annotated[
    str,
    typer.Option(
        metavar="own|none|FILE|RUN",
        help="what finds the hands: the package's own, nothing (one hand, anywhere), MediaPipe's hand_landmarker.task, or a run",
    ),
]
RuntimeOpt = Annotated[str, typer.Option("--runtime", help="auto, onnx (needs no torch) or torch")]
ThreadsOpt = Annotated[int | None, typer.Option("--threads", help="of onnxruntime [all cores]", min=1)]
FocalOpt = Annotated[
    float | None,
    typer.Option("--focal", metavar="PX", help="focal length [EXIF's, else 60 degrees across the longer side]"),
]
LeftOpt = Annotated[bool, typer.Option("--left", help="all hands are left ones [what the detector says]")]


def predict(
    images: Annotated[
        list[Path],
        typer.Argument(metavar="[RUN] IMAGE...", help="images, folders, videos, patterns such as '*.jpg'", show_default=False),
    ],
    run: RunOpt = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="for drawings, meshes and JSON [RUN/predictions; ./predictions for shipped weights]"),
    ] = None,
    detector: DetectorOpt = "own",
    box: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(metavar="X0 Y0 X1 Y1", help="tightly about the hand [px] [found]"),
    ] = None,
    left: LeftOpt = False,
    focal: FocalOpt = None,
    K: Annotated[Path | None, typer.Option("--K", metavar="FILE", help="JSON with the 3 x 3 intrinsics [px]")] = None,
    root_depth: Annotated[
        float | None, typer.Option(metavar="M", help="of the wrist [where the palm has the mean hand's size]")
    ] = None,
    mesh_format: FormatOpt = "obj",
    kinematics: Annotated[bool, typer.Option(help="joint angles too, and the mesh that has them")] = True,
    ik_run: IKRunOpt = "own",
    shape: ShapeOpt = None,
    device: DeviceOpt = "auto",
    runtime: RuntimeOpt = "auto",
    threads: ThreadsOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Hands of images: drawn over them, as meshes and glTF, keypoints as JSON, joint angles as CSV."""
    from handmesh.estimation.backends import NONE, OWN
    from handmesh.estimation.first_guess import open_guess
    from handmesh.estimation.predict import Request
    from handmesh.kinematics.mesh_angles import make_solver
    from handmesh.sources import read_K

    if run is None:
        run, images = run_and_rest(images, None, "IMAGE... after RUN")
    request = Request("left" if left else None, box, focal, read_K(K) if K else None, root_depth, mesh_format)

    def solver(hand: Any) -> Any:
        return make_solver(hand, open_guess(ik_run, hand), shape)

    predict_and_print(
        run, images, out, request, as_json, solver if kinematics or shape or ik_run not in (OWN, NONE) else None,
        device=device, runtime=runtime, threads=threads, detector=detector,
    )  # fmt: skip


def predict_and_print(
    model: Path | None,
    images: list[Path],
    out: Path | None,
    request: Any,
    as_json: bool,
    make_solver: Callable[[Any], Any] | None,
    *,
    device: str = "auto",
    runtime: str = "auto",
    threads: int | None = None,
    detector: str = "own",
) -> None:
    """Predicts (`request` is a `predict.Request`) and prints; `make_solver` takes the net's hand and gives what finds angles."""
    from handmesh.estimation.backends import open_net
    from handmesh.estimation.detect import open_detector
    from handmesh.estimation.hands import Hands
    from handmesh.estimation.predict import predict, summary
    from handmesh.shipped import find_run, results_folder
    from handsynth.core.files import check_out_folder

    opened = open_net(model, device, runtime, threads)
    if out is None:
        is_file = model is not None and model.suffix == ".onnx"
        out = (Path() if is_file else results_folder(find_run(model))) / "predictions"
    check_out_folder(out)
    solver = make_solver(opened.hand) if make_solver else None
    found = None if request.box is not None else open_detector(detector, threads)
    hands = Hands(opened, detector=found, angles=solver is not None, solver=solver)
    done = predict(hands, images, out, request)
    if as_json:
        print_json(done.results)
    else:
        for result in done.results:
            typer.echo(summary(result, out))
    done.raise_failures()


def live(
    source: Annotated[str, typer.Argument(metavar="[CAMERA|VIDEO]", help="number of a camera, or a video file")] = "0",
    run: RunOpt = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="keep overlay video, joint angles and their plot there")] = None,
    display: Annotated[bool, typer.Option(help="show a window; q ends")] = True,
    style: Annotated[str, typer.Option(help="mesh, uncertainty or skeleton")] = "mesh",
    detector: DetectorOpt = "own",
    left: LeftOpt = False,
    focal: FocalOpt = None,
    frames: Annotated[int | None, typer.Option(metavar="N", help="end after so many", min=1)] = None,
    device: DeviceOpt = "auto",
    runtime: RuntimeOpt = "auto",
    threads: ThreadsOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Hands before a camera, frame by frame: mesh or skeleton, joint angles beside it, frames a second."""
    import sys

    from handmesh.estimation.hands import load
    from handmesh.estimation.live import LiveRequest
    from handmesh.estimation.live import live as run_live
    from handsynth.core.files import check_out_folder

    if focal is not None and not focal > 0:
        raise UsageError(f"--focal {focal:g}: expected a number above 0")
    request = LiveRequest(display, out, style, "left" if left else None, focal, frames)
    if out is not None:
        check_out_folder(out)
    hands = load(run, mode="video", detector=detector, device=device, runtime=runtime, threads=threads)
    result = run_live(hands, source, request)
    if result["cut"]:
        print(result["cut"], file=sys.stderr)
    if as_json:
        print_json(result)
    else:
        count, kept = len(result["tracks"]), f" -> {out}" if out else ""
        typer.echo(f"{source}: {result['frames']} frames, {result['fps']:.1f} a second, {count} hand{'s' * (count != 1)}{kept}")
