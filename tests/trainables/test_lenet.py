import math

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, StepLR
from torchvision.transforms import Normalize

from trainables.data.task import DeviceData, Task
from trainables.lenet import LeNet, LeNetRecipe, LeNetSettings


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


def recipe(digits, **config):
    settings = LeNetSettings.from_config(config)
    return LeNetRecipe(settings, Task.of(DeviceData(digits), settings))


def test_inputs_are_those_of_the_notes_transforms(digits):
    images = torch.from_numpy(digits.test_images)
    expected = Normalize((0.5,) * 3, (0.5,) * 3)(images / 255)
    assert torch.allclose(recipe(digits).test_inputs(images), expected, atol=1e-6)


def test_training_inputs_are_augmented_and_test_inputs_are_not(digits):
    images = torch.from_numpy(digits.test_images)
    made = recipe(digits, flip=True, crop_padding=2, policy="autoaugment")
    one, same, other = (made.train_inputs(images, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(made.test_inputs(images), recipe(digits).test_inputs(images))
    plain = recipe(digits)
    assert torch.equal(plain.train_inputs(images, torch.Generator()), plain.test_inputs(images))


@pytest.mark.parametrize(
    ("decay", "scheduler"),
    [
        ("step", lambda optimizer: StepLR(optimizer, step_size=5, gamma=0.5)),
        ("cosine", lambda optimizer: CosineAnnealingLR(optimizer, T_max=12)),
        ("constant", lambda optimizer: LambdaLR(optimizer, lambda epoch: 1.0)),
    ],
)
def test_rates_are_those_of_pytorchs_schedulers(digits, decay, scheduler):
    made = recipe(digits, decay=decay, lr=0.002)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.002)
    schedule, expected = scheduler(optimizer), []
    for _ in range(12):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert [made.lr(epoch) for epoch in range(1, 13)] == pytest.approx(expected)


def test_the_defaults_are_the_notes_base():
    settings = LeNetSettings()
    assert (settings.epochs, settings.batch_size, settings.optimizer, settings.decay) == (12, 64, "sgd", "constant")
    assert (settings.conv1, settings.conv2, settings.dropout, settings.batch_norm) == (6, 16, 0.0, False)
