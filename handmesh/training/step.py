"""One step of training, given to the device without ever waiting for it.

Figures are added up on the device and read every `READ_EVERY` steps. A step whose loss or gradients are not finite must change no
weight, and the host learns of it too late: so AdamW itself leaves out that step and all that follow (its `found_inf`), and the
next reading says which it was. On one GPU the whole step is recorded as a CUDA graph and launched at once, as its some thousand
small kernels take longer to launch than to run.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from handmesh.data.batches import Batch, Raw, to_device
from handmesh.lixels import lixels_to_depth, lixels_to_pixels
from handmesh.losses import AUXILIARY_WEIGHTS, WEIGHTS, auxiliary_losses, lixel_losses, total_loss
from handmesh.nets.auxiliary import PoseAndShape, TaughtNet
from handmesh.settings.mesh import TrainSpec
from handmesh.training.profile import Profile
from handmesh.training.ranks import Ranks
from handmesh.training.weights import parameter_groups

READ_EVERY = 50
"""Steps between two readings of what the device has added up."""


def figures_of(spec: TrainSpec) -> tuple[str, ...]:
    """What a step adds up, over its samples."""
    return ("loss", *WEIGHTS, *(AUXILIARY_WEIGHTS if spec.auxiliary else ()), "mpjpe_mm")


_EAGER_STEPS = 3  # before a step is recorded: libraries choose their kernels and take their memory

KERNELS_TRIED = 4
"""Of those that cuDNN proposes for a layer, the best first: trying its usual ten took 45 seconds on an H200."""


@contextmanager
def choosing_kernels(tried: bool) -> Iterator[None]:
    """Lets cuDNN try kernels for sizes that it has not met, or take its first guess, where a size is met too rarely to pay that."""
    before = torch.backends.cudnn.benchmark, torch.backends.cudnn.benchmark_limit
    torch.backends.cudnn.benchmark, torch.backends.cudnn.benchmark_limit = tried, KERNELS_TRIED
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark, torch.backends.cudnn.benchmark_limit = before


class Step:
    """The step as a callable; see the module's first lines.

    Args:
        spec: how to train.
        taught: the net with its auxiliary head if it has one, on its device, in training mode when called.
        model: that as `Ranks.wrap` gives it.
        optimizer: fused AdamW, as of `make_optimizer`.
        faces: (F, 3) int64, on the device.
        ranks: this process among all.
        finish: makes a batch of a raw one on the device.
        profile: measures phases.
    """

    def __init__(
        self,
        spec: TrainSpec,
        taught: TaughtNet,
        model: nn.Module,
        optimizer: Optimizer,
        faces: Tensor,
        ranks: Ranks,
        finish: Callable[[Raw], Batch],
        profile: Profile,
    ) -> None:
        self.spec, self.taught, self.model, self.optimizer = spec, taught, model, optimizer
        self.figures = figures_of(spec)
        self.faces, self.ranks, self.finish, self.profile = faces, ranks, finish, profile
        device = ranks.device
        self._sums = torch.zeros(len(self.figures), dtype=torch.float64, device=device)
        self._bad = torch.zeros((), device=device)  # 1 from the first step on that was not finite
        self._good_steps = torch.zeros((), dtype=torch.float64, device=device)
        self.optimizer.found_inf = self._bad  # type: ignore[attr-defined]  # as torch.amp.GradScaler tells it
        self._graph: _Graph | None = None
        self._graphs = device.type == "cuda" and ranks.world == 1
        self._stream = torch.cuda.Stream(device) if self._graphs else None
        self._eager_steps = 0

    def start(self, sums: dict[str, float]) -> None:
        """Goes on from such sums of the epoch."""
        values = [sums.get(name, 0.0) if self.ranks.first else 0.0 for name in self.figures]
        self._sums.copy_(torch.tensor(values, dtype=torch.float64))

    def read(self) -> tuple[dict[str, float], int, bool]:
        """Waits for the device -> sums of the epoch over all ranks, good steps since this was made, whether all were good."""
        state = torch.cat([self.ranks.total(self._sums.clone()), self._good_steps[None], self._bad[None].double()])
        *sums, good, bad = state.tolist()
        self.profile.read()
        return dict(zip(self.figures, sums, strict=True)), round(good), not bad

    def __call__(self, raw: Raw, count: int, rate: float) -> None:
        """One step of AdamW on this rank's part, on the CPU, of a global batch of `count` samples."""
        often = self.ranks.device.type == "cuda" and count == self.spec.batch
        with self.profile.step(), choosing_kernels(often):
            if self._stream is None:
                self._launch(raw, count, rate)
                return
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                self._launch(raw, count, rate)
            torch.cuda.current_stream().wait_stream(self._stream)

    def _launch(self, raw: Raw, count: int, rate: float) -> None:
        set_rate(self.optimizer, rate)
        if self._graphs and self._graph is None and count == self.spec.batch:
            self._eager_steps += 1
            if self._eager_steps > _EAGER_STEPS:
                self._record(raw, count)
        if self._graph and self._graph.fits(raw, count):
            with self.profile.phase("copy to the device"):
                self._graph.fill(raw)
            with self.profile.phase("step, as a CUDA graph"):
                self._graph.replay()
            return
        with self.profile.phase("copy to the device"):
            there = to_device(raw, self.ranks.device)
        self._compute(there, count)

    def _record(self, raw: Raw, count: int) -> None:
        """Makes the graph, or says on stderr why there is none."""
        self.profile.paused = True
        try:
            self._graph = _Graph(raw, count, self.ranks.device, self._stream, lambda inputs: self._compute(inputs, count))
        except RuntimeError as error:
            self._graphs = False
            reason = " ".join(str(error).split())
            print(f"no CUDA graph of a step, each kernel is launched by itself: {reason:.200}", file=sys.stderr)
        finally:
            self.profile.paused = False

    def _compute(self, raw: Raw, count: int) -> None:
        """The step on the device. Nothing in here may wait for it, or depend on more than shapes and `count`."""
        spec, ranks, phase = self.spec, self.ranks, self.profile.phase
        with phase("crop and colours"):
            batch = self.finish(raw)
        with phase("forward"):
            with torch.autocast("cuda", torch.bfloat16, enabled=spec.bf16 and ranks.device.type == "cuda"):
                prediction, told = self.model(batch.image)
            keypoints = self.taught.net.regress_keypoints(prediction.vertices)
            each = lixel_losses(prediction, keypoints, batch.target, self.faces)
            if told is not None:
                each |= auxiliary_losses(told, PoseAndShape(batch.rotations, batch.beta))
            # Each rank's share of the mean over the global batch; DDP averages gradients, hence the factor.
            terms = {name: t.sum() / count for name, t in each.items()}
            loss = total_loss(terms, spec.auxiliary)
        with phase("backward"):
            self.optimizer.zero_grad(set_to_none=True)
            (loss * ranks.world).backward()
        with phase("AdamW"):
            norm = torch.nn.utils.clip_grad_norm_(self.taught.parameters(), spec.clip)
            bad = ranks.total((~(torch.isfinite(loss.detach()) & torch.isfinite(norm))).float())
            self._bad.copy_(torch.maximum(self._bad, bad.clamp(max=1)))
            self.optimizer.step()
        with phase("figures"), torch.no_grad():
            error = joint_errors_mm(keypoints, batch).sum()
            self._sums += torch.stack([loss.double() * count, *(t.double() * count for t in terms.values()), error.double()])
            self._good_steps += 1 - self._bad


class _Graph:
    """A step recorded as a CUDA graph, with the memory that its inputs are copied into.

    Raises RuntimeError when something in the step cannot be recorded.
    """

    def __init__(
        self, raw: Raw, count: int, device: torch.device, stream: torch.cuda.Stream | None, compute: Callable[[Raw], None]
    ) -> None:
        self.inputs, self.count = to_device(raw, device), count
        torch.cuda.synchronize(device)
        self._graph = torch.cuda.CUDAGraph()
        # The loader's thread that pins memory goes on meanwhile: its calls are none of the graph's.
        with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
            compute(self.inputs)

    def fits(self, raw: Raw, count: int) -> bool:
        """Whether it was recorded for such a batch."""
        return count == self.count and all(a.shape == b.shape for a, b in zip(_leaves(raw), _leaves(self.inputs), strict=True))

    def fill(self, raw: Raw) -> None:
        """Copies a batch into the inputs."""
        for into, tensor in zip(_leaves(self.inputs), _leaves(raw), strict=True):
            into.copy_(tensor, non_blocking=True)

    def replay(self) -> None:
        """Launches the step."""
        self._graph.replay()


def _leaves(raw: Raw) -> list[Tensor]:
    return [*raw.batch, *raw.colours, raw.place]


def make_optimizer(spec: TrainSpec, net: nn.Module, device: torch.device) -> torch.optim.AdamW:
    """AdamW that can be told its rate, and to leave a step out, without the host's waiting for the device."""
    graphs = device.type == "cuda"
    rate = torch.tensor(spec.lr, device=device) if graphs else spec.lr
    groups = parameter_groups(net, spec.decay_norms)
    return torch.optim.AdamW(groups, lr=rate, weight_decay=spec.weight_decay, fused=True, capturable=graphs)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Sets the learning rate of all parameters."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def joint_errors_mm(keypoints: Tensor, batch: Batch) -> Tensor:
    """(B,) mean distances of (B, 21, 3) predicted keypoints [lixels] from the true ones, in the crop's camera [mm].

    In plain arithmetic, where a matrix's inverse would make the host wait.
    """
    depth = batch.root_depth[:, None] + lixels_to_depth(keypoints[..., 2])
    x, y = (lixels_to_pixels(keypoints[..., :2], batch.image.shape[-1]) - batch.K[:, None, :2, 2]).unbind(-1)
    a, b, c, d = batch.K[:, :2, :2].flatten(1).T.unsqueeze(-1)  # no row of K but these turns or scales
    scale = depth / (a * d - b * c)
    found = torch.stack([(d * x - b * y) * scale, (a * y - c * x) * scale, depth], -1)
    return 1000 * (found - batch.keypoints_m).norm(dim=-1).mean(1)
