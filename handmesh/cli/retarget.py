"""`handmesh retarget`: from a human hand to a robot's."""

from pathlib import Path
from typing import Annotated, Any

import typer

from handmesh.cli.options import DeviceOpt, JsonOpt, print_json
from handsynth.core.errors import UsageError


def retarget(
    source: Annotated[
        Path, typer.Argument(metavar="IMAGE|VIDEO|ANGLES", help="or keypoints: .json .jsonl .csv .npz .npy", show_default=False)
    ],
    robot: Annotated[
        str,
        typer.Option(metavar="NAME|FILE", help="shadow, allegro, leap, inspire, ability, hand, a URDF or MJCF", show_default=False),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="for joint positions and drawings", show_default=False)],
    correspondences: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML: which links stand for which keypoints; for a robot of a file")
    ] = None,
    descriptions: Annotated[
        Path | None,
        typer.Option(metavar="DIR", envvar="HANDMESH_ROBOTS", help="folder of descriptions, such as dex-urdf's robots/hands"),
    ] = None,
    mode: Annotated[
        str | None, typer.Option(metavar="vector|position|dexpilot", help="[vector, or what the correspondences say]")
    ] = None,
    method: Annotated[str, typer.Option(metavar="own|dex", help="our least squares, or the package dex-retargeting")] = "own",
    scale: Annotated[float | None, typer.Option(metavar="X", help="robot's size per human's [the correspondences']")] = None,
    left: Annotated[bool, typer.Option("--left", help="a left hand, where the source does not say")] = False,
    hand: Annotated[str, typer.Option("--hand", help="that angles are of: mano, embedded, toy, or a .npz")] = "embedded",
    run: Annotated[Path | None, typer.Option(metavar="RUN", help="net for images [shipped weights]")] = None,
    fps: Annotated[float, typer.Option(help="frames a second of a clip without times", min=0.01)] = 30.0,
    draw: Annotated[bool, typer.Option(help="the human and the robot hand side by side, as image or video")] = True,
    simulate: Annotated[bool, typer.Option("--simulate", help="--robot hand: its servos follow the clip under gravity")] = False,
    device: DeviceOpt = "auto",
    as_json: JsonOpt = False,
) -> None:
    """Joint positions of a robot hand that does what a human hand does, in an image, a video, or a file of angles or keypoints."""
    from handmesh.robot.bridge import HAND, open_target, retarget_clip, write_results
    from handmesh.robot.clip import ANGLE_SUFFIXES, read_clip
    from handsynth.core.files import check_out_folder
    from handsynth.core.named_hands import open_hand

    if not source.exists():
        raise UsageError(f"{source} does not exist")
    if scale is not None and not 0 < scale < 100:
        raise UsageError(f"--scale {scale:g}: expected a number above 0")
    if simulate and robot != HAND:
        raise UsageError("--simulate is for --robot hand, whose servos we know: leave it out for other robots")
    check_out_folder(out)
    model = open_hand(hand)
    if source.suffix.lower() in ANGLE_SUFFIXES:
        clip = read_clip(source, model, "left" if left else "right", fps)
    else:
        clip, model = _of_images(source, run, left, device, robot == HAND)
    out.mkdir(parents=True, exist_ok=True)
    with open_target(robot, clip.side, model, mode, correspondences, descriptions, scale) as target:
        found, free = retarget_clip(target, clip, method, model)
        about = {"source": str(source), "robot": robot, "side": clip.side, "mode": target.task.mode, "method": method}
        result = write_results(target, clip, found, free, out, about, draw, simulate)
    if as_json:
        print_json(result)
    else:
        _print(result, out)


def _of_images(source: Path, run: Path | None, left: bool, device: str, angles: bool) -> tuple[Any, Any]:
    """The clip of an image or video, and the net's hand."""
    from handmesh.estimation.hands import load
    from handmesh.robot.seen import clip_of_images
    from handmesh.sources import is_video

    hands = load(run, mode="video" if is_video(source) else "image", angles=angles, device=device)
    return clip_of_images(source, hands, "left" if left else "right"), hands.hand


def _print(result: dict[str, Any], out: Path) -> None:
    errors, files = result["fingertips"], result["files"]
    text = f"; fingertips {errors['median_mm']:.1f} mm from the scaled human ones at the median" if errors else ""
    typer.echo(f"{result['source']}: {result['frames']} frames for {result['robot']}{text} -> {out / files['npz']}")
    for found in result["beyond_limits"]:
        (low, high), worst = found["limits"], found["worst"]
        where = f"{found['name']}, at worst {worst:.3f}, outside {low:.3f} to {high:.3f}"
        typer.echo(f"  beyond its limits in {found['frames']} frames: {where}")
    if done := result.get("simulated"):
        median, most = done["error_deg"]["median"], done["error_deg"]["max"]
        text = f"joints {median:.1f} degrees from the clip at the median, {most:.1f} at worst"
        typer.echo(f"  simulated: {text}; {done['warnings']} warnings")
        if done["too_fast"]:
            typer.echo(f"  the clip turns these faster than servos can, 5 rad/s, where they lag: {', '.join(done['too_fast'])}")
        for found in done["passing"]:
            who = " and ".join(found["between"])
            text = f"up to {found['deepest_mm']:.1f} mm, {found['seconds']:.2f} s: contacts between them were off"
            typer.echo(f"  the clip has {who} inside each other, {text}")
