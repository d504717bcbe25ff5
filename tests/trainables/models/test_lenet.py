import math

import pytest
import torch
from torch import nn

from trainables.models.lenet import LeNet


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 62_006),  # LeNet with three input channels: 456 + 2416 + 48120 + 10164 + 850
        ({"batch_norm": True}, 62_006 + 2 * (6 + 16 + 120)),
        ({"conv1": 12, "conv2": 32}, 912 + 9632 + 96120 + 10164 + 850),
        ({"classes": 100}, 62_006 + 90 * 85),
        (
            {"conv1": 256, "conv2": 256, "batch_norm": True, "dropout": 0.1},
            19456 + 1638656 + 768120 + 10164 + 850 + 2 * (256 + 256 + 120),
        ),
    ],
)
def test_parameters_and_output_shape(options, expected):
    network = LeNet(**options)
    assert parameters(network) == expected
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, options.get("classes", 10))


def test_pooling_before_relu_computes_what_the_note_computes():
    torch.manual_seed(0)
    network = LeNet(batch_norm=True).eval()
    conv1, conv2 = (m for m in network if isinstance(m, nn.Conv2d))
    norm1, norm2 = (m for m in network if isinstance(m, nn.BatchNorm2d))
    (norm3,) = (m for m in network if isinstance(m, nn.BatchNorm1d))
    linear1, linear2, linear3 = (m for m in network if isinstance(m, nn.Linear))
    for norm in (norm1, norm2, norm3):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    images = torch.randn(4, 3, 32, 32)
    x = norm1(nn.functional.max_pool2d(conv1(images).relu(), 2))
    x = norm2(nn.functional.max_pool2d(conv2(x).relu(), 2))
    x = norm3(linear1(x.flatten(1)).relu())
    expected = linear3(linear2(x).relu())
    assert torch.equal(network(images), expected)


def test_dropout_follows_each_of_the_three_batch_norms():
    layers = list(LeNet(batch_norm=True, dropout=0.3))
    places = [i for i, layer in enumerate(layers) if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d))]
    assert len(places) == 3
    assert [layers[i + 1].p for i in places] == [0.3] * 3
    assert sum(isinstance(layer, nn.Dropout) for layer in layers) == 3


@pytest.mark.parametrize(("initialization", "gain"), [("kaiming", math.sqrt(6)), ("default", 1.0)])
def test_initial_weights_are_uniform_up_to_their_bound(initialization, gain):
    torch.manual_seed(0)
    network = LeNet(conv1=64, conv2=64, initialization=initialization)
    for layer in network:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            bound = gain / math.sqrt(layer.weight[0].numel())
            assert layer.weight.abs().max() <= bound
            assert layer.weight.abs().max() > 0.95 * bound
            assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_unknown_initialization_is_refused():
    with pytest.raises(ValueError, match="initialization must be 'default' or 'kaiming', got 'xavier'"):
        LeNet(initialization="xavier")
