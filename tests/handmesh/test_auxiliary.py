"""The auxiliary head: its rotations are rotations, it learns what features hold, and the net beside it is as it was."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from handmesh.keypoints import keypoint_regressor
from handmesh.losses import AUXILIARY_WEIGHTS, WEIGHTS, auxiliary_losses, total_loss
from handmesh.nets.auxiliary import AuxiliaryHead, PoseAndShape, TaughtNet, make_auxiliary, rotations_of
from handmesh.nets.registry import create_net, list_nets
from handsynth.core.toy import toy_hand

HAND = toy_hand()


def random_pose(count: int) -> PoseAndShape:
    rng = np.random.default_rng(0)
    rotations = Rotation.random(count * 16, rng=rng).as_matrix().reshape(count, 16, 3, 3)
    return PoseAndShape(torch.tensor(rotations).float(), torch.tensor(rng.normal(size=(count, 10))).float())


def test_any_two_vectors_give_a_rotation():
    """Orthonormal and no mirror; the first two columns of a rotation give it back."""
    columns = torch.randn(50, 2, 3, generator=torch.Generator().manual_seed(0))
    found = rotations_of(columns)
    torch.testing.assert_close(found.mT @ found, torch.eye(3).expand(50, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(found), torch.ones(50))
    true = random_pose(2).rotations
    torch.testing.assert_close(rotations_of(true[..., :2].mT), true, atol=1e-5, rtol=0)


def test_it_starts_as_the_flat_hand_and_learns():
    """Untrained it says identity and zero, nearly; trained on features that tell samples apart it finds their poses and shapes."""
    torch.manual_seed(0)
    head, true = AuxiliaryHead(24, 16, 10), random_pose(8)
    maps = torch.randn(8, 16, 2, 2), torch.randn(8, 8, 3, 3)
    first = head(maps)
    torch.testing.assert_close(first.rotations, torch.eye(3).expand(8, 16, 3, 3), atol=0.5, rtol=0)
    assert first.beta.abs().max() < 0.5
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    for _ in range(150):
        terms = auxiliary_losses(head(maps), true)
        optimizer.zero_grad()
        total_loss(terms, 5.0).backward()
        optimizer.step()
    assert terms["rotations"].mean() < 0.05
    assert terms["beta"].mean() < 0.2


def test_losses_by_hand():
    """Means over entries, a number for each sample; a turn of 90 degrees about z changes four entries of nine by 1."""
    true = PoseAndShape(torch.eye(3).expand(2, 16, 3, 3).clone(), torch.zeros(2, 10))
    found = PoseAndShape(true.rotations.clone(), torch.tensor([[1.0] * 10, [0.0] * 10]))
    found.rotations[1, 3] = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    terms = auxiliary_losses(found, true)
    assert terms["rotations"].tolist() == pytest.approx([0, 4 / 9 / 16])
    assert terms["beta"].tolist() == [1, 0]
    assert total_loss(terms, 2.0).item() == pytest.approx(2 * (4 / 9 / 16 / 2 + AUXILIARY_WEIGHTS["beta"] * 0.5))
    assert not set(AUXILIARY_WEIGHTS) & set(WEIGHTS)


@pytest.mark.parametrize("name", [net.name for net in list_nets()])
def test_beside_any_net(name):
    """It fits the features of every net, teaches both backbones, and the prediction is the net's own."""
    torch.manual_seed(0)
    net = create_net(name, keypoint_regressor(HAND), pretrained=False)
    taught = TaughtNet(net, make_auxiliary(net, HAND.num_joints, HAND.num_shapes))
    images = torch.rand(2, 3, 64, 64)
    _, told = taught(images)
    assert told.rotations.shape == (2, 16, 3, 3)
    assert told.beta.shape == (2, HAND.num_shapes)
    (told.rotations.square() * torch.rand(3, 3)).sum().backward()
    for backbone in (net.pose_backbone, net.mesh_backbone):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in backbone.late.parameters())
    with torch.no_grad():
        taught.eval()
        for ours, alone in zip(taught(images)[0], net(images), strict=True):
            assert torch.equal(ours, alone)
        assert TaughtNet(net, None)(images)[1] is None
