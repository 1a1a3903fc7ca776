"""Commands about a dataset that is there: verify, show, replay, stats."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from handsynth.cli.options import (
    AnnotationsOpt,
    AssetsOpt,
    BackgroundsOpt,
    DeviceOpt,
    EnvironmentsOpt,
    HandOpt,
    IndexArg,
    JsonOpt,
    ObjectsOpt,
    OutArg,
    TexturesOpt,
    assets_of,
    echo,
    image_path,
    place,
    print_json,
)

if TYPE_CHECKING:
    from handsynth.dataset.replay import Here


def verify(
    out: OutArg,
    replay: Annotated[int, typer.Option("--replay", min=0, help="make this many samples again and compare")] = 0,
    hand: HandOpt = None,
    backgrounds: BackgroundsOpt = None,
    annotations: AnnotationsOpt = None,
    environments: EnvironmentsOpt = None,
    objects: ObjectsOpt = None,
    textures: TexturesOpt = None,
    device: DeviceOpt = "auto",
    assets: AssetsOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Hashes, schema, gaps, labels against geometry and pixels; exit code 1 on any fault.

    --hand, --backgrounds, --annotations, --environments, --objects, --textures and --device are for datasets made elsewhere:
    where the same assets lie here.
    """
    from handsynth.dataset.verify import verify as run_verify

    here = _here(hand, textures, backgrounds, annotations, environments, objects, device)
    findings = run_verify(out, assets_of(assets), replay, here)
    if as_json:
        print_json(vars(findings))
    else:
        for note in findings.notes:
            echo(f"note: {note}", err=True)
        for fault in findings.faults:
            echo(fault)
        checked = f"{findings.samples} samples checked, {findings.silhouettes} silhouettes compared, {findings.replayed} replayed"
        echo(f"{out}: {checked}, {len(findings.faults) or 'no'} fault{'s' * (len(findings.faults) != 1)}")
    if findings.faults:
        raise typer.Exit(1)


def show(out: OutArg, index: IndexArg, save: Annotated[Path | None, typer.Option("--save", help="image to write")] = None) -> None:
    """One sample with everything drawn."""
    from handsynth.dataset.statistics import sample_sheet, save_image

    path = image_path(save or Path(f"sample-{index:09d}.png"))
    save_image(path, sample_sheet(out, index))
    echo(f"sample {index} of {out} drawn in {path}")


def replay(
    out: OutArg,
    index: IndexArg,
    hand: HandOpt = None,
    backgrounds: BackgroundsOpt = None,
    annotations: AnnotationsOpt = None,
    environments: EnvironmentsOpt = None,
    objects: ObjectsOpt = None,
    textures: TexturesOpt = None,
    device: DeviceOpt = "auto",
    assets: AssetsOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Make one sample again from its stored recipe and compare every member; exit code 1 when they differ.

    --hand, --backgrounds, --annotations, --environments, --objects, --textures and --device are for datasets made elsewhere:
    where the same assets lie here.
    """
    from handsynth.dataset.replay import replay as run_replay

    here = _here(hand, textures, backgrounds, annotations, environments, objects, device)
    found = run_replay(out, [index], assets_of(assets), here)[0]
    if as_json:
        print_json({"index": index, "equal": found.equal, "different": found.different, "same_driver": found.same_driver})
    else:
        where = "the same OpenGL driver" if found.same_driver else "another OpenGL driver, whose pixels may differ"
        equal, different = (", ".join(names) or "none" for names in (found.equal, found.different))
        echo(f"sample {index}, on {where}: equal {equal}; different {different}")
    if not found.faithful:
        raise typer.Exit(1)


def _here(
    hand: str | None,
    textures: str | None,
    backgrounds: str | None,
    annotations: str | None,
    environments: str | None,
    objects: str | None,
    device: str,
) -> "Here":
    """Where the assets of a dataset that was made elsewhere lie on this machine."""
    from handsynth.dataset.replay import Here

    named = {"backgrounds": backgrounds, "annotations": annotations, "environments": environments, "objects": objects}
    places = {key: place(key, text) for key, text in named.items() if text}
    return Here(hand, textures, **places, device=device)


def stats(
    out: OutArg,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="write a page about the dataset (.html)"),
    ] = None,
    check: Annotated[
        bool, typer.Option("--verify/--no-verify", help="the page says what verify finds, which takes most of the time")
    ] = True,
    assets: AssetsOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """What a dataset holds: views, sizes, visibility, forearms, clothing, brightness, poses, backgrounds.

    With --report, a page too that opens in any browser, without a network; exit code 1 when verify finds faults.
    """
    if report is None:
        from handsynth.dataset.statistics import collect_stats

        _print_stats(collect_stats(out), as_json)
        return
    from handsynth.core.page.render import check_report
    from handsynth.dataset.report.page import write_dataset_report
    from handsynth.dataset.verify import verify as run_verify

    check_report(report)
    findings = run_verify(out, assets_of(assets)) if check else None
    _print_stats(write_dataset_report(report, out, assets_of(assets), findings), as_json)
    faults = len(findings.faults) if findings else 0
    echo(f"{report}: written" + (f"; verify found {faults} fault{'s' * (faults != 1)}, listed in it" if faults else ""), err=True)
    if faults:
        raise typer.Exit(1)


def _print_stats(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    for key, value in found.items():
        if isinstance(value, list) and key != "quantiles_percent":
            value = "  ".join(f"{q}%: {v:g}" for q, v in zip(found["quantiles_percent"], value, strict=True))
        if key != "quantiles_percent":
            echo(f"{key:>16}  {value}")
