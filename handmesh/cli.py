"""The command line: parse, call, print. Results on stdout, progress and errors on stderr; heavy rooms are imported inside."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from handsynth.core.errors import AssetError, HandsynthError, UsageError

app = typer.Typer(
    help="From a picture of a hand to its mesh.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

convert_app = typer.Typer(help="Foreign data into our shards, once.", no_args_is_help=True)
app.add_typer(convert_app, name="convert")

submit_app = typer.Typer(help="Predictions as a challenge takes them.", no_args_is_help=True)
app.add_typer(submit_app, name="submit")

RunArg = Annotated[Path, typer.Argument(metavar="RUN", help="folder of a training run", show_default=False)]
DeviceOpt = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")]
BatchOpt = Annotated[int, typer.Option(help="pictures at a time", min=1)]
train_app = typer.Typer(help="Training, from shards or poses to a run folder.", no_args_is_help=True)
app.add_typer(train_app, name="train")

kinematics_app = typer.Typer(help="Joint angles of hands, and what takes them.", no_args_is_help=True)
app.add_typer(kinematics_app, name="kinematics")

InputsArg = Annotated[
    list[Path],
    typer.Argument(metavar="INPUT...", help="meshes (.obj, .ply), arrays of meshes (.npy), datasets; metres", show_default=False),
]
AnglesOutOpt = Annotated[Path, typer.Option("--out", metavar="DIR", help="for angles, fitted meshes and plots", show_default=False)]
FormatOpt = Annotated[str, typer.Option("--format", help="of meshes: obj, ply or none")]
ShapeOpt = Annotated[
    Path | None,
    typer.Option("--shape", metavar="FILE", help="JSON with the known shape `beta`, as kinematics fit writes it"),
]
LeftOpt = Annotated[bool, typer.Option("--left", help="files show left hands")]
IndicesOpt = Annotated[str | None, typer.Option("--indices", metavar="A:B[:STEP]", help="samples of datasets [all]")]
IterationsOpt = Annotated[int, typer.Option("--refine", min=0, help="iterations of the post-optimisation, at most")]
JsonOpt = Annotated[bool, typer.Option("--json", help="machine-readable output")]


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))


@app.command()
def nets(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="one net, per module")] = None, as_json: JsonOpt = False
) -> None:
    """Parameters and multiply-accumulates of the nets, as the paper counts and truly, beside the paper's figures."""
    from handmesh.nets.registry import list_nets, net_info
    from handmesh.nets.summary import module_table, net_table, summarise

    chosen = [net_info(name)] if name else list_nets()
    found = [summarise(info) for info in chosen]
    if as_json:
        _print_json(found)
    else:
        typer.echo(module_table(found[0]) if name else net_table(found))


@convert_app.command("freihand")
def convert_freihand(
    src: Annotated[Path, typer.Argument(metavar="SRC", help="FreiHAND v2's folder", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="folder for OUT/train and OUT/val", show_default=False)],
    hand: Annotated[Path, typer.Option(help="MANO's right hand as `handsynth assets prepare` wrote it (.npz)", show_default=False)],
    shard_size: Annotated[int, typer.Option(help="samples of a shard", min=1)] = 1000,
    as_json: JsonOpt = False,
) -> None:
    """FreiHAND v2 -> shards: every version of every picture, nine tenths to train on, one tenth to validate."""
    from handmesh.data import freihand
    from handsynth.core.hand import load_hand

    made = freihand.convert_freihand(src, out, load_hand(hand), shard_size)
    if as_json:
        _print_json(made)
    else:
        typer.echo(f"{out}: {made['train']} samples in train, {made['val']} in val, of {made['originals']} originals")


@app.command()
def evaluate(
    run: RunArg,
    data: Annotated[list[Path], typer.Option(metavar="SHARDS", help="dataset to judge on; may be repeated", show_default=False)],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="for metrics, errors and plots [RUN/evaluation-NAME]")] = None,
    batch: BatchOpt = 32,
    workers: Annotated[int, typer.Option(help="processes that load samples", min=0)] = 0,
    device: DeviceOpt = "auto",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="leave out damaged shards and samples, and count them")] = False,
    as_json: JsonOpt = False,
) -> None:
    """Errors of a net on datasets, overall and by view, pose and visibility, beside those of a hand that never moves."""
    from handmesh.data.shards import ShardDataset
    from handmesh.device import pick_device
    from handmesh.evaluation.evaluate import default_folder, evaluate_run
    from handmesh.evaluation.report import metrics_table, write_report
    from handmesh.run_folder import load_run

    where = pick_device(device)
    opened = load_run(run, where)
    parts = [ShardDataset(folder, opened.hand, skip_bad) for folder in data]
    found = evaluate_run(opened, parts, batch, workers, where, skip_bad)
    folder = out or default_folder(run, parts)
    title = f"{opened.spec.net} on {', '.join(part.name for part in parts)}"
    write_report(folder, found.summary, found.judged, found.per_hand, title)
    if as_json:
        _print_json({**found.summary, "out": str(folder)})
    else:
        lost = found.summary["left_out"]
        typer.echo(metrics_table(found.summary["groups"]))
        typer.echo(f"\n{folder}: metrics, errors of each hand, plots" + (f"; {lost} damaged samples left out" if lost else ""))


@submit_app.command("freihand")
def submit_freihand(
    run: RunArg,
    src: Annotated[Path, typer.Argument(metavar="SRC", help="FreiHAND's folder, with evaluation/rgb", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="PRED.ZIP", help="file to write", show_default=False)],
    boxes: Annotated[
        Path | None,
        typer.Option(help="JSON list of [x0, y0, x1, y1] px tightly about each hand, from a detector [the picture's centre]"),
    ] = None,
    batch: BatchOpt = 32,
    device: DeviceOpt = "auto",
    as_json: JsonOpt = False,
) -> None:
    """FreiHAND's evaluation pictures -> the challenge's zip; scored at once where its annotations are in SRC."""
    from handmesh.device import pick_device
    from handmesh.evaluation import challenge
    from handmesh.evaluation.report import scores_line
    from handmesh.run_folder import load_run

    where = pick_device(device)
    opened = load_run(run, where)
    task = challenge.read_challenge(src, opened.hand, boxes)
    made = challenge.submit_freihand(opened.net, opened.hand, task, out, opened.spec.side, batch, where)
    if as_json:
        _print_json(made)
    else:
        typer.echo(f"{out}: {made['pictures']} hands")
        typer.echo(
            scores_line(made["metrics"]) if "metrics" in made else "not scored: evaluation_xyz.json, evaluation_verts.json missing"
        )


@train_app.command("mesh")
def train_mesh(
    preset: Annotated[str, typer.Argument(metavar="PRESET", help="paper, fast, cpu, cpu64, demo, or a YAML", show_default=False)],
    data: Annotated[
        list[str], typer.Option("--data", help="a dataset's folder, or FOLDER=WEIGHT; repeat to mix", show_default=False)
    ],
    val: Annotated[
        list[Path], typer.Option("--val", help="a dataset's folder to validate on; may be repeated", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="folder of the run", show_default=False)],
    net: Annotated[str | None, typer.Option("--net", help="another net than the preset's (handmesh nets)")] = None,
    side: Annotated[int | None, typer.Option("--side", help="side of the crops [px], a multiple of 32")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="samples of a step, over all ranks")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="passes over the data")] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="learning rate")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="of weights, order and augmentation")] = None,
    pretrained: Annotated[
        bool | None, typer.Option("--pretrained/--no-pretrained", help="start from ImageNet weights or random ones")
    ] = None,
    amplitude: Annotated[float | None, typer.Option("--amplitude", help="share of crops with mixed amplitude spectra")] = None,
    erasing: Annotated[float | None, typer.Option("--erasing", help="share of crops with a rectangle erased")] = None,
    rotation: Annotated[float | None, typer.Option("--rotation-deg", help="spread of the crops' rotation")] = None,
    scale: Annotated[float | None, typer.Option("--scale", help="spread of the crops' size")] = None,
    colour: Annotated[float | None, typer.Option("--colour", help="spread of the colour gains")] = None,
    hand: Annotated[Path | None, typer.Option("--hand", help="the datasets' hand (.npz), when it is not found by itself")] = None,
    workers: Annotated[int, typer.Option("--workers", min=0, help="loading processes")] = 2,
    device: DeviceOpt = "auto",
    checkpoint_every: Annotated[int, typer.Option("--checkpoint-every", min=1, help="steps")] = 500,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out, or start it")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="go on without damaged shards and samples")] = False,
) -> None:
    """Trains a mesh net on shards; on several GPUs: torchrun --nproc-per-node N -m handmesh train mesh ..."""
    from handmesh.training.command import train_mesh_command

    flags = {
        "net": net, "side": side, "batch": batch, "epochs": epochs, "lr": lr, "seed": seed, "pretrained": pretrained,
        "augment.amplitude": amplitude, "augment.erasing": erasing, "augment.rotation_deg": rotation, "augment.scale": scale,
        "augment.colour": colour,
    }  # fmt: skip
    done = train_mesh_command(
        preset,
        flags,
        data,
        val,
        out,
        hand,
        device,
        workers=workers,
        checkpoint_every=checkpoint_every,
        resume=resume,
        skip_bad=skip_bad,
    )
    if done:
        typer.echo(done)


@train_app.command("ik")
def train_ik(
    preset: Annotated[str, typer.Argument(metavar="PRESET", help="ik-paper, ik-cpu, ik-demo, or a YAML file", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="folder of the run", show_default=False)],
    hand: Annotated[
        str, typer.Option("--hand", help="auto (MANO where prepared, else embedded), mano, embedded, toy, or a .npz")
    ] = "auto",
    poses: Annotated[Path | None, typer.Option("--poses", help="bank of poses (.npz) [the one beside the hand]")] = None,
    dofs: Annotated[int | None, typer.Option("--dof", help="23, or 45 for the paper's baseline")] = None,
    known_shape: Annotated[bool | None, typer.Option("--known-shape/--free-shape", help="beta is given, not found")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="hands of a step")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs")] = None,
    epoch_hands: Annotated[int | None, typer.Option("--epoch-hands", help="hands drawn for an epoch")] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="learning rate")] = None,
    noise: Annotated[float | None, typer.Option("--noise-mm", help="greatest standard deviation of the keypoints' noise")] = None,
    jitter: Annotated[float | None, typer.Option("--jitter-deg", help="normal noise on the bank's angles")] = None,
    swap: Annotated[float | None, typer.Option("--swap", help="share of fingers from another pose")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="of weights and hands")] = None,
    device: DeviceOpt = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out, or start it")] = False,
) -> None:
    """Trains an IK net, from keypoints to joint angles, on hands drawn from a bank of poses."""
    from handmesh.training.ik_command import train_ik_command

    flags = {
        "dofs": dofs, "known_shape": known_shape, "batch": batch, "epochs": epochs, "epoch_hands": epoch_hands, "lr": lr,
        "noise_mm": noise, "jitter_deg": jitter, "swap_probability": swap, "seed": seed,
    }  # fmt: skip
    typer.echo(train_ik_command(preset, flags, hand, poses, out, device, resume))


@app.command()
def predict(
    run: RunArg,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="pictures, folders of pictures, videos", show_default=False)
    ],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="for drawings, meshes and JSON [RUN/predictions]")] = None,
    box: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(metavar="X0 Y0 X1 Y1", help="tightly about the hand [px] [found, in a picture that shows little else]"),
    ] = None,
    left: Annotated[bool, typer.Option("--left", help="the pictures show left hands")] = False,
    focal: Annotated[
        float | None, typer.Option(metavar="PX", help="focal length [what EXIF says, else the picture's diagonal]")
    ] = None,
    K: Annotated[Path | None, typer.Option("--K", metavar="FILE", help="JSON with the 3 x 3 intrinsics [px]")] = None,
    root_depth: Annotated[
        float | None, typer.Option(metavar="M", help="of the wrist [where the palm has the mean hand's size]")
    ] = None,
    mesh_format: FormatOpt = "obj",
    kinematics: Annotated[bool, typer.Option("--kinematics", help="joint angles too, and the mesh that has them")] = False,
    ik_run: Annotated[
        Path | None, typer.Option("--ik-run", metavar="IK_RUN", help="of handmesh train ik, to start from; implies --kinematics")
    ] = None,
    shape: ShapeOpt = None,
    device: DeviceOpt = "auto",
    as_json: JsonOpt = False,
) -> None:
    """Hands of pictures: the mesh drawn over them with its uncertainty, a mesh file, and keypoints as JSON."""
    from handmesh.angles.command import make_solver
    from handmesh.predicting.predict import Asked
    from handmesh.sources import read_K

    asked = Asked("left" if left else "right", box, focal, read_K(K) if K else None, root_depth, mesh_format)
    solver = (lambda hand: make_solver(hand, ik_run, shape)) if kinematics or ik_run or shape else None
    _predict(run, images, out or run / "predictions", asked, device, as_json, solver)


def _predict(
    run: Path, images: list[Path], out: Path, asked: Any, device: str, as_json: bool, make_solver: Callable[[Any], Any] | None
) -> None:
    """Predicts and prints; `make_solver` takes the run's hand and gives what finds angles."""
    from handmesh.device import pick_device
    from handmesh.predicting.estimate import Estimator
    from handmesh.predicting.predict import about_run, predict, summary
    from handmesh.run_folder import load_run

    where = pick_device(device)
    opened = load_run(run, where)
    estimator = Estimator(opened.net, opened.hand, opened.spec.side, where)
    solver = make_solver(opened.hand) if make_solver else None
    done = predict(estimator, about_run(opened.spec.net, opened.hand), images, out, asked, solver)
    if as_json:
        _print_json(done.results)
    else:
        for result in done.results:
            typer.echo(summary(result, out))
    done.raise_failures()


@app.command()
def export(
    run: RunArg,
    out: Annotated[Path, typer.Argument(metavar="MODEL.ONNX", help="file to write", show_default=False)],
    check: Annotated[bool, typer.Option(help="compare the file with the net on random pictures")] = True,
    as_json: JsonOpt = False,
) -> None:
    """A run's net as ONNX: picture in, keypoints, vertices and their spreads in lixels out; its metadata name hand and units."""
    import torch

    from handmesh.export import check_onnx, export_onnx
    from handmesh.run_folder import load_run

    opened = load_run(run, torch.device("cpu"))
    spec = opened.spec
    export_onnx(opened.net, opened.hand, spec.net, spec.side, out)
    worst = check_onnx(opened.net, spec.side, out) if check else None
    if as_json:
        _print_json(
            {"out": str(out), "net": spec.net, "side_px": spec.side, "bytes": out.stat().st_size, "difference_lixels": worst}
        )
    else:
        said = "not compared with the net" if worst is None else f"differs from the net by {worst:.1g} lixels at most"
        typer.echo(f"{out}: {spec.net} at {spec.side} px, {out.stat().st_size / 1e6:.1f} MB, {said}")


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
    from handmesh.angles.command import angles_of_meshes, hand_of_sources, make_solver, mesh_sources, refuse_pictures
    from handmesh.angles.sources import parse_samples

    sources, others = mesh_sources(inputs)
    refuse_pictures(others, "handmesh predict RUN PICTURE --kinematics finds their angles")
    solver = make_solver(hand_of_sources(hand, sources), None, shape, iterations)
    told = angles_of_meshes(solver, sources, out, left=left, samples=parse_samples(indices), mesh_format=mesh_format)
    _print_angles(told, out, as_json)


@kinematics_app.command("solve")
def kinematics_solve(
    ik_run: Annotated[Path, typer.Argument(metavar="IK_RUN", help="folder of a run of handmesh train ik", show_default=False)],
    inputs: InputsArg,
    out: AnglesOutOpt,
    mesh_run: Annotated[Path | None, typer.Option("--mesh-run", metavar="RUN", help="mesh net for pictures and videos")] = None,
    shape: ShapeOpt = None,
    left: LeftOpt = False,
    indices: IndicesOpt = None,
    iterations: IterationsOpt = 20,
    mesh_format: FormatOpt = "obj",
    device: DeviceOpt = "auto",
    as_json: JsonOpt = False,
) -> None:
    """Joint angles of meshes, or of pictures with --mesh-run: an IK net's, brought to the mesh by post-optimisation."""
    from handmesh.angles.command import angles_of_meshes, make_solver, mesh_sources, refuse_pictures
    from handmesh.angles.sources import parse_samples
    from handmesh.ik.run import load_ik_run
    from handmesh.predicting.predict import Asked

    sources, others = mesh_sources(inputs)
    if mesh_run is None:
        refuse_pictures(others, "give a mesh net with --mesh-run RUN")
    elif others:
        asked = Asked("left" if left else "right", mesh_format=mesh_format)
        _predict(mesh_run, others, out, asked, device, as_json, lambda hand: make_solver(hand, ik_run, shape, iterations))
    if sources:
        solver = make_solver(load_ik_run(ik_run).hand, ik_run, shape, iterations)
        told = angles_of_meshes(solver, sources, out, left=left, samples=parse_samples(indices), mesh_format=mesh_format)
        _print_angles(told, out, as_json)


def _print_angles(told: list[dict[str, Any]], out: Path, as_json: bool) -> None:
    from handmesh.angles.command import summary

    if as_json:
        _print_json(told)
    else:
        for each in told:
            typer.echo(summary(each, out))


@kinematics_app.command("export")
def kinematics_export(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="file to write; meshes go beside it", show_default=False)],
    format: Annotated[str, typer.Option(metavar="urdf|mjcf", help="urdf, or mjcf (MuJoCo's)", show_default=False)],
    run: Annotated[Path | None, typer.Option(metavar="RUN", help="take the hand of a training run")] = None,
    hand: Annotated[Path | None, typer.Option(metavar="FILE", help="a prepared hand (.npz); else the embedded one")] = None,
    beta: Annotated[str, typer.Option(metavar="B0,B1,...", help="shape in standard deviations; the rest are 0")] = "0",
    side: Annotated[str, typer.Option(metavar="right|left", help="left hands are mirrored right ones")] = "right",
    as_json: JsonOpt = False,
) -> None:
    """The hand as a robot's description: 16 links with meshes and masses, 23 hinges with limits, named as in the paper's order."""
    from handmesh.hands import embedded_hand
    from handmesh.robot.articulated import articulate
    from handmesh.robot.export import export_articulated, read_beta
    from handsynth.core.hand import load_hand

    if run and hand:
        raise UsageError("--run and --hand both name a hand: give one of them")
    if run:
        from handmesh.run_folder import HAND

        hand = run / HAND
        if not hand.exists():
            raise UsageError(f"{run} is no run folder: it has no {HAND}")
    model = articulate(load_hand(hand) if hand else embedded_hand(), read_beta(beta), side)
    meshes = export_articulated(model, out, format)
    hinges = [hinge.name for link in model.links for hinge in link.hinges]
    if as_json:
        about = {"out": str(out), "format": format, "side": side, "beta": model.beta, "mass_kg": model.mass, "hinges": hinges}
        _print_json({**about, "meshes": [str(path) for path in meshes]})
    else:
        typer.echo(
            f"{out}: {side} {model.hand} hand of {1000 * model.mass:.0f} g, {len(model.links)} links, {len(hinges)} hinges; "
            f"meshes in {meshes[0].parent}"
        )


def main() -> None:
    """Entry point: every error that a user can cause is one sentence on stderr and its exit code."""
    # Threads that wait sleep instead of spinning: on a machine that does something else besides, that is twice as fast or more.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        try:
            app()
        except ModuleNotFoundError as error:
            if error.name not in ("torch", "torchvision"):
                raise
            raise AssetError(f"{error.name} is not installed: pip install 'handsynth[train]'") from None
    except HandsynthError as error:
        print(f"handmesh: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("handmesh: stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
