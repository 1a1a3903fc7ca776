"""Training a mesh net or an IK net."""

from pathlib import Path
from typing import Annotated, Any

import typer

from handmesh.cli.options import DeviceOpt

train_app = typer.Typer(help="Training, from shards or poses to a run folder.", no_args_is_help=True)


RunOpt = Annotated[Path, typer.Option("--out", help="folder of the run", show_default=False)]
MinutesOpt = Annotated[
    float | None, typer.Option("--minutes", help="train as long, whatever the epochs or steps; the learning rate ends at zero then")
]
RateOpt = Annotated[float | None, typer.Option("--lr", help="learning rate")]
SeedOpt = Annotated[int | None, typer.Option("--seed", help="of weights, order and augmentation")]
PretrainedOpt = Annotated[
    bool | None, typer.Option("--pretrained/--no-pretrained", help="start from ImageNet weights or random ones")
]
ResumeOpt = Annotated[bool, typer.Option("--resume", help="go on with the run in --out, or start it")]


@train_app.command("mesh")
def train_mesh_command(
    preset: Annotated[str, typer.Argument(metavar="PRESET", help="paper, fast, cpu, cpu64, demo, or a YAML", show_default=False)],
    data: Annotated[
        list[str],
        typer.Option("--data", help="folder or address of a dataset, or with =WEIGHT; repeat to mix", show_default=False),
    ],
    val: Annotated[list[str], typer.Option("--val", help="dataset to validate on; may be repeated", show_default=False)],
    out: RunOpt,
    net: Annotated[str | None, typer.Option("--net", help="another net than the preset's (handmesh nets)")] = None,
    side: Annotated[int | None, typer.Option("--side", help="side of the crops [px], a multiple of 32")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="samples of a step, over all ranks")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="passes over the data")] = None,
    minutes: MinutesOpt = None,
    lr: RateOpt = None,
    seed: SeedOpt = None,
    pretrained: PretrainedOpt = None,
    start: Annotated[
        str | None, typer.Option("--start", metavar="RUN", help="start from the weights of a run, or of shipped ones by name")
    ] = None,
    bin_centres: Annotated[
        bool | None,
        typer.Option("--bin-centres/--bin-edges", help="what the bins of heatmaps stand for: their middles or lower ends"),
    ] = None,
    decay_norms: Annotated[
        bool | None, typer.Option("--decay-norms/--no-decay-norms", help="weight decay of norms and biases too, or not")
    ] = None,
    ema: Annotated[
        float | None, typer.Option("--ema", help="decay of the mean of weights that is validated and saved; 0: none")
    ] = None,
    auxiliary: Annotated[float | None, typer.Option("--auxiliary", help="weight of the losses of theta and beta; 0: none")] = None,
    box: Annotated[
        float | None, typer.Option("--box-jitter", help="standard deviation of the box's edges, of its longer side")
    ] = None,
    amplitude: Annotated[float | None, typer.Option("--amplitude", help="share of crops with mixed amplitude spectra")] = None,
    erasing: Annotated[float | None, typer.Option("--erasing", help="share of crops with a rectangle erased")] = None,
    rotation: Annotated[float | None, typer.Option("--rotation-deg", help="standard deviation of the crops' rotation")] = None,
    scale: Annotated[float | None, typer.Option("--scale", help="standard deviation of the crops' size")] = None,
    colour: Annotated[float | None, typer.Option("--colour", help="greatest change of the channels' gains")] = None,
    grey: Annotated[float | None, typer.Option("--grey", help="share of crops without colours")] = None,
    saturation: Annotated[float | None, typer.Option("--saturation", help="greatest change of the colours' strength")] = None,
    contrast: Annotated[float | None, typer.Option("--contrast", help="greatest change of the logarithm of the contrast")] = None,
    sharpness: Annotated[float | None, typer.Option("--sharpness", help="of the most sharpened; others are blurred")] = None,
    hand: Annotated[Path | None, typer.Option("--hand", help="the datasets' hand (.npz), when it is not found by itself")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="loading processes of each rank [as many as it has cores]")
    ] = None,
    cache: Annotated[
        str, typer.Option("--cache", help="keep all images decoded: device, memory, or none", metavar="WHERE")
    ] = "none",
    device: DeviceOpt = "auto",
    checkpoint_every: Annotated[int, typer.Option("--checkpoint-every", min=1, help="steps")] = 500,
    resume: ResumeOpt = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="go on without damaged shards and samples")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="say at the end where a step's time went")] = False,
) -> None:
    """Trains a mesh net on shards; on several GPUs: torchrun --nproc-per-node N -m -- handmesh train mesh ..."""
    from handmesh.settings.mesh import load_preset, with_flags
    from handmesh.shipped import find_run
    from handmesh.training.loop import HowRun, train_mesh

    flags = {
        "net": net, "side": side, "batch": batch, "epochs": epochs, "minutes": minutes, "lr": lr, "seed": seed,
        "pretrained": pretrained,
        "augment.amplitude": amplitude, "augment.erasing": erasing, "augment.rotation_deg": rotation, "augment.scale": scale,
        "augment.colour": colour, "augment.grey": grey, "augment.saturation": saturation, "augment.contrast": contrast,
        "augment.sharpness": sharpness, "augment.box": box, "bin_centres": bin_centres, "decay_norms": decay_norms, "ema": ema,
        "auxiliary": auxiliary,
    }  # fmt: skip
    spec = with_flags(load_preset(preset), flags)
    how = HowRun(workers, cache, checkpoint_every, resume, skip_bad, profile)
    done = train_mesh(spec, data, val, out, device, how, hand, find_run(start) if start else None)
    if done:
        typer.echo(done)


@train_app.command("ik")
def train_ik_command(
    preset: Annotated[str, typer.Argument(metavar="PRESET", help="ik-paper, ik-cpu, ik-demo, or a YAML file", show_default=False)],
    out: RunOpt,
    hand: Annotated[
        str, typer.Option("--hand", help="auto (MANO where prepared, else embedded), mano, embedded, toy, or a .npz")
    ] = "auto",
    poses: Annotated[Path | None, typer.Option("--poses", help="bank of poses (.npz) [the one beside the hand]")] = None,
    dofs: Annotated[int | None, typer.Option("--dof", help="23, or 45 for the paper's baseline")] = None,
    known_shape: Annotated[bool | None, typer.Option("--known-shape/--free-shape", help="beta is given, not found")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="hands of a step")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs")] = None,
    epoch_hands: Annotated[int | None, typer.Option("--epoch-hands", help="hands drawn for an epoch")] = None,
    lr: RateOpt = None,
    noise: Annotated[float | None, typer.Option("--noise-mm", help="greatest standard deviation of the keypoints' noise")] = None,
    jitter: Annotated[float | None, typer.Option("--jitter-deg", help="normal noise on the bank's angles")] = None,
    swap: Annotated[float | None, typer.Option("--swap", help="share of fingers from another pose")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="of weights and hands")] = None,
    layer: Annotated[
        str, typer.Option("--layer", metavar="own|smplx", help="what poses the hands; smplx comes with [mano], non-commercial")
    ] = "own",
    device: DeviceOpt = "auto",
    resume: ResumeOpt = False,
) -> None:
    """Trains an IK net, from keypoints to joint angles, on hands drawn from a bank of poses."""
    import dataclasses

    from handmesh.device import pick_device
    from handmesh.settings.ik import load_ik_preset
    from handmesh.training import ik_loop

    flags: dict[str, Any] = {
        "dofs": dofs, "known_shape": known_shape, "batch": batch, "epochs": epochs, "epoch_hands": epoch_hands, "lr": lr,
        "noise_mm": noise, "jitter_deg": jitter, "swap_probability": swap, "seed": seed,
    }  # fmt: skip
    spec = dataclasses.replace(load_ik_preset(preset), **{key: value for key, value in flags.items() if value is not None})
    found = ik_loop.open_data(hand, poses)
    last = ik_loop.train_ik(spec, found, out, pick_device(device), resume, ik_loop.layer_named(layer))[-1]
    typer.echo(
        f"{out}: {spec.net} of the {found.hand.name} hand, {last['epoch']:.0f} epochs; on {len(found.validation.names)} validation "
        f"poses angles are {last['val_angle_deg']:.1f} deg off, PA-MPJPE {last['val_pa_mpjpe_mm']:.1f} mm, PA-MPVPE "
        f"{last['val_pa_mpvpe_mm']:.1f} mm; see curves.png"
    )


@train_app.command(
    "side", help="Trains the net that looks again, upright, at what a detector finds: a hand, and which? Presets: side, side-demo."
)
@train_app.command("detector", help="Trains a detector of hands on images of any number of them. Presets: detector, detector-demo.")
def train_small_command(
    context: typer.Context,
    preset: Annotated[str, typer.Argument(metavar="PRESET", help="a name, or a YAML file", show_default=False)],
    data: Annotated[
        list[str],
        typer.Option("--data", help="folder of a dataset, crowds above all, or with =WEIGHT; repeat to mix", show_default=False),
    ],
    val: Annotated[Path, typer.Option("--val", help="dataset to validate on", show_default=False)],
    out: RunOpt,
    steps: Annotated[int | None, typer.Option("--steps", help="of training")] = None,
    minutes: MinutesOpt = None,
    batch: Annotated[int | None, typer.Option("--batch", help="images or crops of a step")] = None,
    lr: RateOpt = None,
    seed: SeedOpt = None,
    pretrained: PretrainedOpt = None,
    start: Annotated[
        str | None,
        typer.Option("--start", metavar="RUN", help="start from the PoseNet of a run on EfficientNet-Lite0, or of shipped weights"),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=0, help="loading processes")] = 1,
    device: DeviceOpt = "auto",
    resume: ResumeOpt = False,
) -> None:
    """Both trainings of `training.small_loop` take the same options."""
    import dataclasses

    from handmesh.data.detection import DetectionShards
    from handmesh.data.sampler import split_weight
    from handmesh.device import pick_device
    from handmesh.run_files import SIDE
    from handmesh.settings.detector import load_detector_preset, load_side_preset
    from handmesh.shipped import find_run
    from handmesh.training.detector_loop import DetectorTraining
    from handmesh.training.side_loop import SideTraining

    given: dict[str, Any] = {"steps": steps, "minutes": minutes, "batch": batch, "lr": lr, "seed": seed, "pretrained": pretrained}
    is_side = context.command.name == SIDE
    spec = load_side_preset(preset) if is_side else load_detector_preset(preset)
    spec = dataclasses.replace(spec, **{key: value for key, value in given.items() if value is not None})
    parts = [(DetectionShards(folder), weight) for folder, weight in map(split_weight, data)]
    how = (parts, DetectionShards(val), out, pick_device(device), resume, workers, find_run(start) if start else None)
    training = SideTraining(spec, *how) if is_side else DetectorTraining(spec, *how)
    last = training.run()[-1]
    typer.echo(f"{out}: {last['steps']:.0f} steps; validation: {training.told(last)}; see curves.png")
