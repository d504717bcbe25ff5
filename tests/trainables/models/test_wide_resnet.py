import math

import pytest
import torch
from torch import nn

from trainables.models.wide_resnet import WideResNet


@pytest.mark.parametrize(
    ("depth", "width", "classes", "expected"),
    [
        (34, 10, 100, 46_218_164),  # note C
        (28, 10, 10, 36_479_194),  # as the paper (36.5 M) and other implementations have them
        (16, 4, 10, 2_748_890),
        (40, 2, 10, 2_243_546),
    ],
)
def test_parameters_are_those_published(depth, width, classes, expected):
    with torch.device("meta"):
        network = WideResNet(depth, width, classes=classes)
        logits = network(torch.zeros(2, 3, 32, 32))
    assert sum(p.numel() for p in network.parameters()) == expected
    assert logits.shape == (2, classes)


def test_groups_halve_the_resolution_and_double_the_channels():
    network = WideResNet(16, 2)
    shapes = []
    for layer in network.features[1:-2]:
        layer.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    network(torch.randn(2, 3, 32, 32))
    assert shapes == [(32, 32, 32)] * 2 + [(64, 16, 16)] * 2 + [(128, 8, 8)] * 2


def test_a_new_network_is_kaiming_normal_with_a_zero_head():
    torch.manual_seed(0)
    network = WideResNet(16, 4, classes=10)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            he = math.sqrt(2 / layer.weight[0].numel())
            assert layer.bias is None
            assert layer.weight.std().item() == pytest.approx(he, rel=0.15)
            assert layer.weight.abs().max() > 2 * he
    assert not network(torch.randn(2, 3, 32, 32)).any()


def test_a_block_is_preactivated_and_its_shortcut_is_the_input_or_the_projected_activation():
    torch.manual_seed(0)
    network = WideResNet(16, 2).eval()
    first, second = network.features[1], network.features[2]
    relu = nn.functional.relu
    x = torch.randn(2, 16, 8, 8)
    active = relu(first.norm1(x))
    expected = first.project(active) + first.conv2(relu(first.norm2(first.conv1(active))))
    y = first(x.clone())
    assert torch.allclose(y, expected, atol=1e-5)
    expected = y + second.conv2(relu(second.norm2(second.conv1(relu(second.norm1(y))))))
    assert torch.allclose(second(y.clone()), expected, atol=1e-5)


def test_dropout_acts_in_every_block_in_training_alone():
    torch.manual_seed(0)
    network = WideResNet(10, 1, dropout=0.5)
    nn.init.normal_(network.classifier.weight)
    images = torch.randn(2, 3, 32, 32)
    assert sum(m.p == 0.5 for m in network.modules() if isinstance(m, nn.Dropout)) == 3
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


@pytest.mark.parametrize("depth", [4, 28 + 1, 33, -2])
def test_depth_is_6n_plus_4(depth):
    with pytest.raises(ValueError, match=rf"depth must be 6n \+ 4 .*, got {depth}$"):
        WideResNet(depth)
