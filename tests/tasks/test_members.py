"""Stacked members compute, and learn, what as many separate networks do."""

import pytest
import torch
from torch import nn

from shiftless.tasks.members import MemberGate, MemberLinear, MemberMLP, MemberNorm

M, N, K, C = 3, 12, 4, 6


def copied(stacked, separate, member):
    """Give a separate network the weights of one member, layer by layer, in order."""
    own = [module for module in stacked.modules() if isinstance(module, (MemberLinear, MemberNorm))]
    theirs = [module for module in separate.modules() if isinstance(module, (nn.Linear, nn.BatchNorm1d))]
    assert len(own) == len(theirs)
    for one, other in zip(own, theirs):
        for name in ("weight", "bias"):
            value = getattr(one, name).detach()
            getattr(other, name).data = (value.view(M, -1) if isinstance(one, MemberNorm) else value)[member].clone()
    return separate


def classifier(classes, first, second):
    return nn.Sequential(
        nn.Linear(C, first), nn.ReLU(), nn.BatchNorm1d(first), nn.Linear(first, second), nn.ReLU(),
        nn.BatchNorm1d(second), nn.Linear(second, classes),
    )  # fmt: skip


@pytest.mark.parametrize(("classes", "widths"), [(5, (128, 32)), (34, (256, 128))])
def test_the_classifiers_are_separate_networks_in_training_and_in_use(classes, widths):
    torch.manual_seed(0)
    stacked = MemberMLP(M, C, classes)
    separate = [copied(stacked, classifier(classes, *widths), member) for member in range(M)]
    x = torch.randn(M, N, C)
    trained = [net(one) for net, one in zip(separate, x)]
    torch.testing.assert_close(stacked(x), torch.stack(trained), atol=1e-5, rtol=1e-4)
    stacked.eval()
    used = [net.eval()(one) for net, one in zip(separate, x)]  # running statistics, after one look
    torch.testing.assert_close(stacked(x), torch.stack(used), atol=1e-5, rtol=1e-4)


def test_the_gradient_of_a_member_is_its_own():
    stacked = MemberMLP(M, C, 5)
    stacked(torch.randn(M, N, C))[1].square().sum().backward()
    gradient = stacked.first.weight.grad
    assert gradient[1].abs().max() > 0
    assert not gradient[[0, 2]].any()


def test_the_gates_weigh_each_reading_by_a_separate_network():
    torch.manual_seed(0)
    stacked = MemberGate(M, C, hidden=8, dropout=0.0)
    separate = [
        copied(stacked, nn.Sequential(nn.Linear(C, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, C)), member)
        for member in range(M)
    ]
    readings = torch.randn(M, N, K, C)
    weights = torch.stack([
        net(one.reshape(N * K, C)).view(N, K, C).softmax(1) for net, one in zip(separate, readings)
    ])  # fmt: skip
    torch.testing.assert_close(stacked.weights(readings), weights)
    torch.testing.assert_close(stacked(readings), (weights * readings).sum(2))


def test_one_input_for_all_members_is_the_same_as_a_copy_for_each():
    gate, net = MemberGate(M, C).eval(), MemberMLP(M, C, 5).eval()
    readings = torch.randn(1, N, K, C)
    torch.testing.assert_close(net(gate(readings)), net(gate(readings.expand(M, -1, -1, -1))))
