"""Every net can learn: eight samples overfitted, to less than two millimetres."""

import numpy as np
import pytest
import torch

from handmesh.data.augment import NO_AUGMENTATION
from handmesh.data.crop import lixels_to_camera
from handmesh.data.dataset import HandDataset
from handmesh.data.shards import ShardDataset
from handmesh.keypoints import keypoint_regressor
from handmesh.losses import inside, lixel_losses, total_loss
from handmesh.metrics import point_errors_mm
from handmesh.nets.registry import create_net, list_nets
from handsynth.core.toy import toy_hand

LIMIT_MM = 2.0


class Eight(HandDataset):
    """The first eight samples."""

    def __len__(self) -> int:
        return 8


def steps_to_learn(name: str, folder, side: int, lr: float, most: int) -> int:
    """Trains on eight samples until the net knows them; raises AssertionError after `most` steps.

    Evaluated as it is trained: batch norm's variance over a batch is an eighth smaller than the one that it keeps for later, a
    difference that vanishes in batches of usual size. Tips beyond 15 cm of depth have no lixel, and are left out.
    """
    torch.manual_seed(0)
    hand = toy_hand()
    net = create_net(name, keypoint_regressor(hand), pretrained=False).to(memory_format=torch.channels_last)
    data = Eight([ShardDataset(folder)], side, NO_AUGMENTATION)
    batch = torch.utils.data.default_collate([data[k] for k in range(8)])
    image = batch.image.contiguous(memory_format=torch.channels_last)
    faces = torch.as_tensor(hand.faces.astype(np.int64))
    optimizer = torch.optim.Adam(net.parameters(), lr=lr, fused=True)
    error = np.inf
    for step in range(1, most + 1):
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1, 0.2 + 1.6 * (1 - step / most))
        net.train()
        prediction = net(image)
        loss = total_loss(lixel_losses(prediction, net.regress_keypoints(prediction.vertices), batch.target, faces))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        here = np.broadcast_to(np.eye(3), (8, 3, 3))
        lixels = net.regress_keypoints(prediction.vertices).detach().numpy()
        found = lixels_to_camera(lixels, batch.root_depth.numpy(), batch.K.numpy(), here, side)
        errors = point_errors_mm(found, batch.keypoints_m.numpy())
        error = errors[inside(batch.keypoints).bool().numpy()].mean()
        if error < LIMIT_MM:
            return step
    raise AssertionError(f"{name} is still {error:.1f} mm away after {most} steps")


@pytest.mark.slow
def test_lite_fast_overfits(hand_shards):
    """In some fifty steps; the first prediction is far away, so that there is something to learn."""
    assert 10 < steps_to_learn("lite-fast", hand_shards, 64, 2e-3, 200)


@pytest.fixture
def two_threads():
    """With one thread PyTorch goes a slower way through 1x1 convolutions of fewer than sixteen images."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.long
@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("name", [info.name for info in list_nets() if info.name != "lite-fast"])
def test_papers_nets_overfit(name, hand_shards):
    """At 128 x 128 px; minutes each."""
    lr = 3e-4 if name.startswith("i2l-") else 1e-3  # lighter decoders bear more
    print(name, steps_to_learn(name, hand_shards, 128, lr, 400))
