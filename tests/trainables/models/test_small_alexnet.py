import math

import pytest
import torch
from torch import nn

from trainables.models.small_alexnet import SmallAlexNet

CONVOLUTIONS = 672 + 20_832 + 166_080 + 331_968 + 165_984
HIDDEN = 1024 * 1024 + 1024
LAST = 1024 * 10 + 10


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, CONVOLUTIONS + (96 * 16 + 1) * 1024 + HIDDEN + LAST),
        ({"lrn": False}, CONVOLUTIONS + (96 * 16 + 1) * 1024 + HIDDEN + LAST),
        ({"image_size": 24}, CONVOLUTIONS + (96 * 9 + 1) * 1024 + HIDDEN + LAST),
        ({"pool_stride": 1}, CONVOLUTIONS + (98_304 + 1) * 1024 + HIDDEN + LAST),  # the note's 98304 inputs
        ({"head": "pooling"}, CONVOLUTIONS + 96 * 10 + 10),
        ({"head": "pooling+linear"}, CONVOLUTIONS + 97 * 1024 + HIDDEN + LAST),
        ({"batch_norm": True}, 3_319_274 + 2 * (600 + 2048)),
        ({"head": "pooling", "batch_norm": True, "classes": 100}, CONVOLUTIONS + 9_700 + 2 * 600),
    ],
)
def test_parameters_and_output_shape(options, expected):
    side = options.get("image_size", 32)
    with torch.device("meta"):
        network = SmallAlexNet(**options)
        logits = network(torch.zeros(2, 3, side, side))
    assert sum(p.numel() for p in network.parameters()) == expected
    assert logits.shape == (2, options.get("classes", 10))


def test_lrn_is_tensorflows_with_the_constants_of_the_notes_code():
    """tf.nn.lrn(x, depth_radius=4, bias=1, alpha=0.001 / 9, beta=0.75)."""
    layers = [m for m in SmallAlexNet() if isinstance(m, nn.LocalResponseNorm)]
    assert len(layers) == 2
    assert not any(isinstance(m, nn.LocalResponseNorm) for m in SmallAlexNet(lrn=False))
    torch.manual_seed(0)
    x = 100 * torch.rand(1, 24, 1, 1, dtype=torch.float64)
    c = 10
    around = (x[0, c - 4 : c + 5] ** 2).sum()
    expected = x[0, c] / (1 + 0.001 / 9 * around) ** 0.75
    assert torch.allclose(layers[0](x)[0, c], expected, rtol=1e-12)
    assert expected < 0.95 * x[0, c]


def test_stride_1_pools_pad_as_same_does():
    network = SmallAlexNet(pool_stride=1, head="pooling", lrn=False)
    start = next(i for i, m in enumerate(network) if isinstance(m, nn.ZeroPad2d))
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert nn.Sequential(*list(network)[start : start + 2])(x).tolist() == [[[[4.0, 4.0], [4.0, 4.0]]]]


def test_the_order_within_a_layer():
    with torch.device("meta"):
        names = [type(m).__name__ for m in SmallAlexNet(batch_norm=True)]
    first = ["Conv2d", "BatchNorm2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]
    assert names[:10] == first * 2
    assert names[10:20] == ["Conv2d", "BatchNorm2d", "ReLU"] * 3 + ["MaxPool2d"]
    assert names[20:] == ["Flatten", *["Linear", "BatchNorm1d", "ReLU", "Dropout"] * 2, "Linear"]


def test_he_initialization():
    torch.manual_seed(0)
    for layer in SmallAlexNet():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            he = math.sqrt(2 / layer.weight[0].numel())
            assert layer.weight.std().item() == pytest.approx(he, rel=0.1)
            assert layer.weight.abs().max() > 2 * he  # normal, not uniform
            assert not layer.bias.any()
    assert all(layer.bias.any() for layer in SmallAlexNet(initialization="default") if hasattr(layer, "bias"))


def test_dropout_is_the_probability_of_dropping():
    dropouts = [m for m in SmallAlexNet(head="pooling+linear", dropout=0.1) if isinstance(m, nn.Dropout)]
    torch.manual_seed(0)
    assert len(dropouts) == 2
    assert (dropouts[0](torch.ones(100_000)) == 0).float().mean() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("initialization", "msra", "'he', 'default'"),
        ("head", "fc", "'linear', 'pooling', 'pooling\\+linear'"),
        ("image_size", 28, "24, 32"),
        ("pool_stride", 3, "1, 2"),
    ],
)
def test_unknown_positions_are_refused(option, value, allowed):
    with pytest.raises(ValueError, match=f"{option} must be one of {allowed}, got {value!r}"):
        SmallAlexNet(**{option: value})
