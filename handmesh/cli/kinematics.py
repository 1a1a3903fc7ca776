"""Joint angles: found from meshes and images; a hand as robots have it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from handmesh.cli.options import DeviceOpt, FormatOpt, JsonOpt, ShapeOpt, print_json, run_and_rest
from handmesh.cli.predict import predict_and_print
from handsynth.core.errors import UsageError

if TYPE_CHECKING:
    from handmesh.kinematics.mesh_angles import Found

kinematics_app = typer.Typer(help="Joint angles of hands, and what takes them.", no_args_is_help=True)

InputsArg = Annotated[
    list[Path],
    typer.Argument(metavar="INPUT...", help="meshes (.obj, .ply), arrays of meshes (.npy), datasets; metres", show_default=False),
]
AnglesOutOpt = Annotated[Path, typer.Option("--out", metavar="DIR", help="for angles, fitted meshes and plots", show_default=False)]
LeftOpt = Annotated[bool, typer.Option("--left", help="files show left hands")]
IndicesOpt = Annotated[str | None, typer.Option("--indices", metavar="A:B[:STEP]", help="samples of datasets [all]")]
IterationsOpt = Annotated[int, typer.Option("--refine", min=0, help="iterations of the post-optimisation, at most")]


@kinematics_app.command("fit")
def kinematics_fit(
    inputs: InputsArg,
    out: AnglesOutOpt,
    hand: Annotated[
        str | None, typer.Option("--hand", help="mano, embedded, toy, or a .npz [a dataset's own; else MANO, if prepared]")
    ] = None,
    shape: ShapeOpt = None,
    left: LeftOpt = False,
    indices: IndicesOpt = None,
    iterations: IterationsOpt = 20,
    mesh_format: FormatOpt = "obj",
    as_json: JsonOpt = False,
) -> None:
    """Joint angles and shape of meshes, without a net: read off each part of the mesh, then fitted."""
    from handmesh.kinematics.mesh_angles import (
        angles_of_meshes,
        hand_of_sources,
        make_solver,
        mesh_sources,
        parse_samples,
        refuse_images,
    )

    sources, others = mesh_sources(inputs)
    refuse_images(others, "handmesh predict IMAGE finds their angles")
    solver = make_solver(hand_of_sources(hand, sources), None, shape, iterations)
    results = angles_of_meshes(solver, sources, out, left=left, samples=parse_samples(indices), mesh_format=mesh_format)
    _print_angles(results, out, as_json)


@kinematics_app.command("solve")
def kinematics_solve(
    words: Annotated[
        list[Path],
        typer.Argument(
            metavar="[IK_RUN] INPUT...",
            help="run of handmesh train ik or shipped weights; meshes (.obj, .ply), arrays of meshes (.npy), datasets; metres",
            show_default=False,
        ),
    ],
    out: AnglesOutOpt,
    mesh_run: Annotated[Path | None, typer.Option("--mesh-run", metavar="RUN", help="mesh net for images and videos")] = None,
    shape: ShapeOpt = None,
    left: LeftOpt = False,
    indices: IndicesOpt = None,
    iterations: IterationsOpt = 20,
    mesh_format: FormatOpt = "obj",
    device: DeviceOpt = "auto",
    as_json: JsonOpt = False,
) -> None:
    """Joint angles of meshes, or of images with --mesh-run: an IK net's, brought to the mesh by post-optimisation."""
    from handmesh.estimation.first_guess import open_guess
    from handmesh.estimation.predict import Request
    from handmesh.kinematics.ik_net import load_ik_run
    from handmesh.kinematics.mesh_angles import angles_of_meshes, make_solver, mesh_sources, parse_samples, refuse_images
    from handmesh.shipped import find_run

    run, inputs = run_and_rest(words, None, "INPUT... after IK_RUN")
    ik_run = find_run(run, "ik")
    sources, others = mesh_sources(inputs)
    if mesh_run is None:
        refuse_images(others, "give a mesh net with --mesh-run RUN")
    elif others:
        request = Request("left" if left else None, mesh_format=mesh_format)
        predict_and_print(
            mesh_run, others, out, request, as_json,
            lambda hand: make_solver(hand, open_guess(ik_run, hand), shape, iterations), device=device,
        )  # fmt: skip
    if sources:
        opened = load_ik_run(ik_run)
        solver = make_solver(opened.hand, opened.net, shape, iterations)
        results = angles_of_meshes(solver, sources, out, left=left, samples=parse_samples(indices), mesh_format=mesh_format)
        _print_angles(results, out, as_json)


def _print_angles(results: "list[Found]", out: Path, as_json: bool) -> None:
    from handmesh.kinematics.mesh_angles import summary

    if as_json:
        print_json([found.read(out) for found in results])
    else:
        for found in results:
            typer.echo(summary(found, out))


@kinematics_app.command("export")
def kinematics_export(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="file to write; meshes go beside it", show_default=False)],
    format: Annotated[str, typer.Option(metavar="urdf|mjcf|usd", help="urdf, mjcf (MuJoCo's) or usd", show_default=False)],
    run: Annotated[Path | None, typer.Option(metavar="RUN", help="take the hand of a training run")] = None,
    hand: Annotated[Path | None, typer.Option(metavar="FILE", help="a prepared hand (.npz); else the embedded one")] = None,
    beta: Annotated[str, typer.Option(metavar="B0,B1,...", help="shape in standard deviations; the rest are 0")] = "0",
    side: Annotated[str, typer.Option(metavar="right|left", help="left hands are mirrored right ones")] = "right",
    frame: Annotated[
        str, typer.Option(metavar="mano|dex", help="axes: the template's, or x out of the palm and z to the middle finger")
    ] = "mano",
    floating: Annotated[bool, typer.Option("--floating", help="the palm moves freely")] = False,
    coupled: Annotated[bool, typer.Option("--coupled", help="fingers' last joints follow those before: mimic, equality")] = False,
    collision: Annotated[str, typer.Option(metavar="capsules|convex", help="shapes for contacts")] = "capsules",
    visuals: Annotated[str, typer.Option(metavar="plain|textured", help="STL, or GLB and OBJ with the skin")] = "plain",
    texture: Annotated[
        Path | None, typer.Option(metavar="IMAGE", help="skin in the hand's layout [a painted one for the embedded hand]")
    ] = None,
    mesh_prefix: Annotated[str, typer.Option(metavar="package://NAME", help="before paths of meshes in URDF")] = "",
    scene: Annotated[
        Path | None, typer.Option(metavar="FILE", help="floor and light about an MJCF [scene.xml beside it]", show_default=False)
    ] = None,
    as_json: JsonOpt = False,
) -> None:
    """The hand as a robot's description: 16 links with meshes and masses, 23 revolute joints with limits, in the paper's order."""
    from handmesh.robot.articulated import articulate
    from handmesh.robot.export import SCENE, export_articulated, read_beta
    from handmesh.robot.gestures import named_gestures
    from handmesh.robot.robot_xml import ExportOptions
    from handmesh.robot.visuals import SHIPPED_SKIN, read_texture
    from handsynth.core.hand import load_hand
    from handsynth.core.named_hands import open_hand

    if run and hand:
        raise UsageError("--run and --hand both name a hand: give one of them")
    if texture and visuals != "textured":
        raise UsageError("--texture is for --visuals textured: give both, or neither")
    if run:
        from handmesh.run_files import HAND
        from handmesh.shipped import find_run

        hand = find_run(run) / HAND
        if not hand.exists():
            raise UsageError(f"{run} is no run folder: it has no {HAND}")
    opened = load_hand(hand) if hand else open_hand("embedded")
    if visuals == "textured" and texture is None:
        if opened.digest != open_hand("embedded").digest:
            raise UsageError(f"the hand {opened.name!r} comes without a skin: give one in its layout with --texture IMAGE")
        texture = SHIPPED_SKIN
    options = ExportOptions(floating, coupled, collision, visuals, mesh_prefix, named_gestures(opened))
    model = articulate(opened, read_beta(beta), side, frame)
    scene_file = (scene or out.parent / SCENE) if format == "mjcf" else scene
    meshes = export_articulated(model, out, format, options, read_texture(texture) if texture else None, scene_file)
    joints = [joint.name for link in model.links for joint in link.joints]
    if as_json:
        about = {"out": str(out), "format": format, "side": side, "beta": model.beta, "mass_kg": model.mass, "joints": joints}
        about |= {"frame": frame, "actuated": options.actuated, "scene": scene_file and str(scene_file)}
        print_json({**about, "meshes": [str(path) for path in meshes]})
    else:
        where = f"meshes in {meshes[0].parent}" if meshes else "meshes inside"
        typer.echo(
            f"{out}: {side} {model.hand} hand of {1000 * model.mass:.0f} g, {len(model.links)} links, {len(joints)} joints; {where}"
            + (f"; {scene_file} to open it" if scene_file else "")
        )
