import pytest
import torch
from torch import nn

from trainables.convnet import ConvNet, ConvNetRecipe, ConvNetSettings
from trainables.data.task import DeviceData, Task


@pytest.mark.parametrize(("depth", "expected"), [(2, 219_044), (3, 168_036), (5, 1_116_388)])
def test_parameters_are_those_the_note_prints(depth, expected):
    network = ConvNet(depth)
    assert sum(p.numel() for p in network.parameters()) == expected
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 100)


def test_widths_double_from_the_first():
    network = ConvNet(5, width=8, classes=10)
    widths = [m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert widths == [8, 16, 32, 64, 128]
    assert network(torch.zeros(1, 3, 32, 32).expand(3, -1, -1, -1)).shape == (3, 10)


@pytest.mark.parametrize("depth", [0, 6])
def test_depth_that_the_image_cannot_halve_is_refused(depth):
    with pytest.raises(ValueError, match=f"depth must be from 1 to 5 for 32x32, got {depth}"):
        ConvNet(depth)


def test_inputs_are_normalised_by_the_training_set(digits):
    data = DeviceData(digits)
    images = data.train_images
    for normalize, mean, std in ((True, 0.0, 1.0), (False, data.mean.mean().item(), data.std.mean().item())):
        settings = ConvNetSettings(normalize=normalize)
        inputs = ConvNetRecipe(settings, Task.of(data, settings)).test_inputs(images)
        assert inputs.mean().item() == pytest.approx(mean, abs=1e-5)
        assert inputs.std().item() == pytest.approx(std, abs=1e-4)
