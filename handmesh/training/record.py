"""What a training shows of itself: metrics.csv, curves.png, TensorBoard, and a sheet of validation images."""

import csv
import io
from pathlib import Path
from typing import NamedTuple

import cv2
import imageio.v3 as iio
import numpy as np

from handmesh.data.dataset import HandDataset
from handmesh.estimation.drawing import draw_mesh, draw_outline, sheet
from handmesh.evaluation.inference import Predicted
from handsynth.core.files import write_atomically

SHEET_TILES, SHEET_COLUMNS = 24, 6
"""Images on the sheet; each is shown with the predicted mesh beside it."""


class Panel(NamedTuple):
    """One of the diagrams of curves.png."""

    title: str  # of the vertical axis
    lines: tuple[tuple[str, str, str], ...]  # column of the history, what it is called, its colour


RATE_PANEL = Panel("learning rate", (("lr", "at the end of the epoch", "tab:gray"),))

MESH_PANELS = (
    Panel(
        "loss of equation 4 [lixels]",
        (("train_loss", "training (augmented)", "tab:blue"), ("val_loss", "validation", "tab:orange")),
    ),
    Panel(
        "error [mm]",
        (
            ("train_mpjpe_mm", "MPJPE, training (augmented)", "tab:blue"),
            ("val_mpjpe_mm", "MPJPE, validation", "tab:orange"),
            ("val_pa_mpjpe_mm", "PA-MPJPE, validation", "tab:green"),
            ("val_pa_mpvpe_mm", "PA-MPVPE, validation", "tab:red"),
        ),
    ),
    RATE_PANEL,
)
"""Of a mesh net's run."""


class Recorder:
    """Writes the record of a run into its folder. Rows are those of `Progress.history`."""

    def __init__(self, out: Path, steps_done: int, panels: tuple[Panel, ...] = MESH_PANELS) -> None:
        """`steps_done` of a resumed run: what TensorBoard had noted beyond it is dropped."""
        from torch.utils.tensorboard import SummaryWriter

        self.out, self.panels = out, panels
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=steps_done)

    def step(self, steps_done: int, values: dict[str, float]) -> None:
        """Notes values of one step."""
        for name, value in values.items():
            self._board.add_scalar(name, value, steps_done)

    def epoch(self, history: list[dict[str, float]]) -> None:
        """Writes table and curves anew with all epochs so far."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(history[-1]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in history)
        write_atomically(self.out / "metrics.csv", lambda path: path.write_text(text.getvalue(), encoding="utf-8"))
        write_atomically(self.out / "curves.png", lambda path: plot_curves(path, history, self.panels))
        for name, value in history[-1].items():
            self._board.add_scalar(f"epoch/{name}", value, int(history[-1]["steps"]))
        self._board.flush()

    def close(self) -> None:
        """Ends TensorBoard's file."""
        self._board.close()


def plot_curves(path: Path, history: list[dict[str, float]], panels: tuple[Panel, ...] = MESH_PANELS) -> None:
    """What the panels name over the epochs, as an image."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), dpi=110, layout="constrained")
    epochs = [row["epoch"] for row in history]
    for axes, panel in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for key, label, colour in panel.lines:
            if key in history[-1]:
                axes.plot(epochs, [row.get(key, np.nan) for row in history], marker="o", markersize=3, label=label, color=colour)
        axes.set_ylabel(panel.title)
        axes.set_xlabel("epoch")
        axes.set_ylim(0, 1.08 * axes.dataLim.y1 or 1)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path)


def draw_validation(path: Path, data: HandDataset, predicted: Predicted, faces: np.ndarray) -> None:
    """Images spread evenly over the validation set, each beside itself with the predicted mesh and the true outline."""
    tiles = []
    for k in np.linspace(0, len(data) - 1, min(SHEET_TILES, len(data))).round().astype(int):
        record = data.record(int(k))
        zoom = 256 / record.image.shape[1]
        plain = cv2.resize(record.image, (256, 256), interpolation=cv2.INTER_CUBIC)
        drawn = draw_mesh(record.image, predicted.vertices[k], faces, record.K, zoom=zoom)
        drawn = draw_outline(drawn, predicted.true_vertices[k], faces, np.diag([zoom, zoom, 1]) @ record.K)
        tiles.append(np.concatenate([plain, drawn], 1))
    image = sheet(tiles, SHEET_COLUMNS // 2)
    write_atomically(path, lambda temporary: iio.imwrite(temporary, image))
