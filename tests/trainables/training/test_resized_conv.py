import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trainables.training.resized_conv import ResizedConv2d, _fold

# image side, size, kernel, stride, padding
ALEXNET = (32, 224, 11, 4, 1)
FOLDED = [ALEXNET, (8, 24, 5, 2, 0), (8, 56, 9, 4, 2)]
NOT_FOLDED = [
    (224, 224, 11, 4, 1),  # nothing to enlarge
    (30, 224, 11, 4, 1),  # no whole scale
    (32, 128, 11, 4, 1),  # scale and stride share a factor
    (16, 48, 3, 1, 1),  # the last output reaches the padding
]


def made(side: int, size: int, kernel: int, stride: int, padding: int, channels: int = 3) -> tuple:
    torch.manual_seed(0)
    layer = ResizedConv2d(channels, 5, kernel, stride, padding, size=size).double()
    return layer, torch.randn(3, channels, side, side, dtype=torch.float64)


def resized_then_convolved(layer: nn.Conv2d, images: torch.Tensor, size: int) -> torch.Tensor:
    enlarged = F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)
    return F.conv2d(enlarged, layer.weight, layer.bias, layer.stride, layer.padding)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("geometry", FOLDED + NOT_FOLDED)
def test_output_and_gradients_are_those_of_resize_then_convolution(geometry, channels):
    layer, images = made(*geometry, channels=channels)
    outputs, expected = layer(images), resized_then_convolved(layer, images, geometry[1])
    torch.testing.assert_close(outputs, expected, atol=1e-12, rtol=1e-11)
    gradient = torch.randn_like(expected)
    parameters = list(layer.parameters())
    found = torch.autograd.grad(outputs, parameters, gradient)
    for ours, theirs in zip(found, torch.autograd.grad(expected, parameters, gradient), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(("geometry", "folds"), [(g, True) for g in FOLDED] + [(g, False) for g in NOT_FOLDED])
def test_only_geometries_for_which_the_fold_holds_are_folded(geometry, folds):
    assert (_fold(*geometry, torch.float64) is not None) is folds


def test_images_that_want_a_gradient_get_it():
    layer, images = made(*ALEXNET)
    images.requires_grad_()
    layer(images).sum().backward()
    expected = torch.autograd.grad(resized_then_convolved(layer, images, 224).sum(), images)[0]
    torch.testing.assert_close(images.grad, expected)


def test_parameters_and_their_draws_are_those_of_a_convolution():
    torch.manual_seed(3)
    layer = ResizedConv2d(3, 5, 11, 4, 1, size=224)
    torch.manual_seed(3)
    plain = nn.Conv2d(3, 5, 11, 4, 1)
    assert layer.state_dict().keys() == plain.state_dict().keys()
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(layer.parameters(), plain.parameters(), strict=True))


def test_a_step_of_training_is_the_plain_one():
    layer, images = made(*ALEXNET)
    plain = copy.deepcopy(layer)
    for network, outputs in ((layer, layer(images)), (plain, plain.plain(images))):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        outputs.square().mean().backward()
        optimizer.step()
    torch.testing.assert_close(layer.weight, plain.weight)


def test_the_output_lies_channels_last():
    layer, images = made(*ALEXNET)
    assert layer(images).is_contiguous(memory_format=torch.channels_last)
