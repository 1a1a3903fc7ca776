"""The mean of two runs, as `scripts/mean_weights.py` makes it."""

import csv
import dataclasses
import hashlib
import sys

import pytest
import torch
from test_train import CPU, SPEC, train
from tiny import load_script

from handmesh.data.shards import ShardDataset
from handmesh.evaluation.evaluate import evaluate_run
from handmesh.run_files import WEIGHTS
from handmesh.run_folder import load_run


def test_mean_of_two_runs(hand_shards, tmp_path, monkeypatch, capsys):
    """`scripts/mean_weights.py`: every weight lies half-way, figures are the mean's own or left out; other nets are refused."""
    script = load_script("mean_weights")
    whole, other, large, out = (tmp_path / name for name in ("whole", "other", "large", "mean"))
    for folder, change in ((whole, {}), (other, {"seed": 1}), (large, {"side": 64})):
        train(hand_shards, folder, dataclasses.replace(SPEC, **change))

    def make(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["mean_weights.py", *map(str, arguments), "--val", str(hand_shards), "--device", "cpu"])
        script.main()

    make(whole, other, out)
    runs = [load_run(folder, CPU) for folder in (whole, other, out)]
    for name, value in runs[2].net.state_dict().items():
        a, b = (run.net.state_dict()[name] for run in runs[:2])
        assert torch.equal(value, (a + b) / 2 if value.is_floating_point() else b), name
    assert [part["sha256"] for part in runs[2].config["mean_of"]] == [
        hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest() for folder in (whole, other)
    ]
    rows = list(csv.DictReader(open(out / "metrics.csv")))
    assert [row["epoch"] for row in rows] == ["1", "2", "2"]
    scores = evaluate_run(runs[2], [ShardDataset(hand_shards)], 4, 0, CPU, False).evaluated["net"].scores
    found = {f"val_{name}": values.mean() for name, values in scores.items()}
    assert found.keys() < rows[-1].keys()
    assert float(rows[-1]["val_pa_mpjpe_mm"]) != pytest.approx(float(rows[1]["val_pa_mpjpe_mm"]))
    for name, value in rows[-1].items():
        if name in found:
            assert float(value) == pytest.approx(found[name], rel=1e-4), name
        else:
            assert value == (rows[1][name] if name in ("epoch", "steps") else ""), name
    for arguments, message in (
        ((whole, other, out), "is there: name another"),
        ((whole, large, tmp_path / "b"), "other sides"),
    ):
        with pytest.raises(SystemExit):
            make(*arguments)
        assert message in capsys.readouterr().err
