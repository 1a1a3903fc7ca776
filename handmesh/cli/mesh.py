"""Mesh nets: counted, evaluated, exported."""

from pathlib import Path
from typing import Annotated, Any

import typer

from handmesh.cli.options import BatchOpt, DeviceOpt, IKRunOpt, JsonOpt, RunArg, print_json, run_and_rest
from handsynth.core.errors import UsageError


def nets(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="one net, per module")] = None, as_json: JsonOpt = False
) -> None:
    """Parameters and multiply-accumulates of the nets, as the paper counts and truly, beside the paper's figures."""
    from handmesh.nets.counting import module_table, net_table, summarise
    from handmesh.nets.registry import list_nets, net_info

    chosen = [net_info(name)] if name else list_nets()
    found = [summarise(info) for info in chosen]
    if as_json:
        print_json(found)
    else:
        typer.echo(module_table(found[0]) if name else net_table(found))


def evaluate(
    run: RunArg = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="SHARDS", help="folder or address to evaluate on; may be repeated", show_default=False),
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(metavar="FILE", help="labelled photographs instead: COCO-style JSON beside its images")
    ] = None,
    predictions: Annotated[
        list[str] | None, typer.Option(metavar="[NAME=]FILE", help="another method's keypoints of the photographs; may be repeated")
    ] = None,
    keypoints: Annotated[
        str | None,
        typer.Option(metavar="TABLE", help="with --photos: keypoints of a table too, by name or file"),
    ] = None,
    fit_keypoints: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="with --photos: fit such a table, and keep it here (.yaml)"),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="for metrics, errors and plots [RUN/evaluation-NAME]")] = None,
    batch: BatchOpt = 32,
    workers: Annotated[int, typer.Option(help="processes that load samples", min=0)] = 0,
    device: DeviceOpt = "auto",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="leave out damaged shards and samples, and count them")] = False,
    kinematics: Annotated[bool, typer.Option("--kinematics", help="evaluate the hands of the found joint angles too")] = False,
    ik_run: IKRunOpt = "own",
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="keep in RUN what makes its standard deviations as large as the errors found here")
    ] = False,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="write a page too (.html): errors, worst hands, curves")
    ] = None,
    compare: Annotated[
        Path | None, typer.Option("--compare", metavar="DIR", help="in the page, an evaluation of another run on the same data")
    ] = None,
    as_json: JsonOpt = False,
) -> None:
    """Errors of a net on datasets, overall and by view, pose and visibility, beside those of a constant baseline.

    Of a detector (its run, or the name of shipped weights): average precision, sides, false hands, on crowds or photographs.
    """
    from handmesh.data.shards import ShardDataset
    from handmesh.device import pick_device
    from handmesh.estimation.backends import NONE, OWN
    from handmesh.estimation.first_guess import open_guess
    from handmesh.evaluation.evaluate import default_folder, evaluate_run
    from handmesh.evaluation.page import read_compared, write_run_page
    from handmesh.evaluation.report import metrics_table, write_report
    from handmesh.kinematics.mesh_angles import make_solver
    from handmesh.run_files import DETECTOR
    from handmesh.run_folder import load_run, recalibrate
    from handmesh.shipped import find_run, is_shipped, results_folder
    from handsynth.core.files import check_out_folder
    from handsynth.core.page.render import check_report

    if _is_detector(run):
        _evaluate_detector(find_run(run, DETECTOR), data or [], photos, out, as_json)
        return
    if bool(data) == bool(photos) or ((predictions or keypoints or fit_keypoints) and not photos):
        raise UsageError(
            "evaluate takes --data SHARDS, or --photos FILE with or without --predictions, --keypoints, --fit-keypoints"
        )
    if report and photos:
        raise UsageError("--report takes --data SHARDS: photographs have sheets of their own in --out")
    if compare and not report:
        raise UsageError("--compare is shown in a page: add --report FILE.html")
    if calibrate and photos:
        raise UsageError("--calibrate takes --data SHARDS: labels of photographs have no depth")
    if calibrate and is_shipped(find_run(run)):
        raise UsageError("--calibrate changes the run: give the folder of one, not shipped weights")
    where = pick_device(device)
    opened = load_run(find_run(run), where)
    results = results_folder(opened.folder)
    if photos:
        folder = out or results / f"evaluation-{photos.stem}"
        _evaluate_photos(opened, photos, predictions or [], keypoints, fit_keypoints, folder, where, as_json)
        return
    parts = [ShardDataset(folder, opened.hand, skip_bad) for folder in data or []]
    wants_angles = kinematics or ik_run not in (OWN, NONE)
    solver = make_solver(opened.hand, open_guess(ik_run, opened.hand)) if wants_angles else None
    folder = out or default_folder(results, parts)
    check_out_folder(folder)
    if report:
        check_report(report)
    compared = read_compared(compare, parts) if compare else None
    found = evaluate_run(opened, parts, batch, workers, where, skip_bad, solver)
    if calibrate:
        about = {"datasets": [part.name for part in parts], "hands": len(found.per_hand["index"])}
        recalibrate(opened, *found.point_ratios, about)
    title = f"{opened.spec.net} on {', '.join(part.name for part in parts)}"
    write_report(folder, found.summary, found.evaluated, found.per_hand, title)
    if report:
        write_run_page(report, opened, parts, found, compared)
        typer.echo(f"{report}: written", err=True)
    if as_json:
        print_json({**found.summary, "out": str(folder)})
    else:
        lost, (x, y, z) = found.summary["left_out"], found.summary["error_over_std"]["vertices"]
        typer.echo(metrics_table(found.summary["groups"]))
        typer.echo(f"\nErrors are {x:.2f} (x), {y:.2f} (y) and {z:.2f} (z) times the net's own standard deviations")
        if calibrate:
            typer.echo(f"{run}: from now on its standard deviations are as large as these errors")
        typer.echo(f"\n{folder}: metrics, errors of each hand, plots" + (f"; {lost} damaged samples left out" if lost else ""))


def _is_detector(run: Path | None) -> bool:
    from handmesh.run_files import CONFIG, DETECTOR, read_kind
    from handmesh.shipped import list_shipped

    if run is None:
        return False
    if (run / CONFIG).exists():
        return read_kind(run) == DETECTOR
    return not run.exists() and any(weights.name == str(run) and weights.kind == DETECTOR for weights in list_shipped())


def _evaluate_detector(run: Path, data: list[str], photos: Path | None, out: Path | None, as_json: bool) -> None:
    """`evaluate` of a detector."""
    from functools import partial

    from handmesh.data.detection import DetectionShards
    from handmesh.data.photos import read_photos
    from handmesh.estimation.detector_scores import evaluate_detector
    from handmesh.evaluation.detection import crowd_truth, photo_truth, scores_table
    from handmesh.evaluation.report import csv_bytes
    from handmesh.run_files import SIDE
    from handmesh.shipped import find_run
    from handsynth.core.files import check_out_folder, write_file

    if bool(data) == bool(photos):
        raise UsageError("evaluate of a detector takes --data SHARDS, or --photos FILE")
    rows, sides = {}, find_run(None, SIDE)
    for folder in data:
        part = DetectionShards(folder)
        rows[part.name] = evaluate_detector(run, partial(crowd_truth, part), side=sides)
    if photos:
        hands = read_photos(photos)
        rows[photos.stem] = evaluate_detector(run, lambda side: photo_truth(hands), side=sides)
    if out:
        check_out_folder(out)
        out.mkdir(parents=True, exist_ok=True)
        keys = list(next(iter(rows.values())).to_dict())
        table: list[list[Any]] = [["data", *keys], *([name, *score.to_dict().values()] for name, score in rows.items())]
        write_file(out / "detection.csv", csv_bytes(table))
    if as_json:
        print_json({"run": str(run), "data": {name: score.to_dict() for name, score in rows.items()}})
    else:
        typer.echo(scores_table(rows))


def _evaluate_photos(
    run: Any,
    photos: Path,
    predictions: list[str],
    keypoints: str | None,
    fit_keypoints: Path | None,
    out: Path,
    device: Any,
    as_json: bool,
) -> None:
    """`evaluate --photos`: a `run_folder.Run` on labelled photographs, beside other methods' keypoints."""
    from handmesh.data.photos import read_photos
    from handmesh.estimation.backends import TorchNet
    from handmesh.estimation.estimate import Estimator
    from handmesh.estimation.photos import adapted_to, estimate_photos, found_of, photos_table, write_photos_report
    from handmesh.evaluation.keypoint_tables import load_table, save_table
    from handmesh.evaluation.photo_scores import group_rows, read_predictions
    from handsynth.core.files import check_out_folder

    hands = read_photos(photos)
    others = [text.rpartition("=") for text in predictions]
    read = {name or Path(file).stem: read_predictions(Path(file), hands) for name, _, file in others}
    table = load_table(keypoints, run.hand) if keypoints else None
    check_out_folder(out)
    views, estimates = estimate_photos(Estimator(TorchNet(run.net, device), run.hand, run.spec.side), hands)
    methods: dict[str, Any] = {run.spec.net: found_of(views, estimates)}
    if table:
        methods[f"{run.spec.net}, keypoints of {table.name}"] = found_of(views, estimates, [table.matrix] * len(hands))
    if fit_keypoints:
        fitted, of_each = adapted_to(fit_keypoints.stem, run.hand, hands, views, estimates)
        save_table(fit_keypoints, fitted)
        methods[f"{run.spec.net}, keypoints fitted to other hands"] = found_of(views, estimates, of_each)
    methods |= read
    rows = group_rows(hands, methods)
    write_photos_report(out, hands, methods, rows, views, estimates, run.hand.faces)
    if as_json:
        print_json({"run": str(run.folder), "photos": str(photos), "groups": rows, "out": str(out)})
    else:
        typer.echo(photos_table(rows))
        typer.echo(f"\n{out}: figures by group, errors of each hand, overlays (worst first)")


def export(
    words: Annotated[
        list[Path], typer.Argument(metavar="[RUN] MODEL.ONNX", help="run or shipped weights, file to write", show_default=False)
    ],
    check: Annotated[bool, typer.Option(help="compare the file with the net on random images")] = True,
    as_json: JsonOpt = False,
) -> None:
    """A run's net as ONNX: image in; keypoints, vertices and their standard deviations out, in units that its metadata name."""
    import torch

    from handmesh.estimation.onnx import check_onnx, export_onnx
    from handmesh.run_folder import load_run
    from handmesh.shipped import find_run
    from handsynth.core.files import check_out_file

    run, (out,) = run_and_rest(words, 1, "MODEL.ONNX, the file to write, alone or after RUN")
    opened = load_run(find_run(run), torch.device("cpu"))
    check_out_file(out)
    spec = opened.spec
    export_onnx(opened.net, opened.hand, spec.net, spec.side, out)
    worst = check_onnx(opened.net, spec.side, out) if check else None
    if as_json:
        print_json(
            {"out": str(out), "net": spec.net, "side_px": spec.side, "bytes": out.stat().st_size, "difference_lixels": worst}
        )
    else:
        message = "not compared with the net" if worst is None else f"differs from the net by {worst:.1g} lixels at most"
        typer.echo(f"{out}: {spec.net} at {spec.side} px, {out.stat().st_size / 1e6:.1f} MB, {message}")
