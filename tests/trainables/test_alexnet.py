import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trainables.alexnet import AlexNet


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def by_hand(channels: int, widths: list[int], nodes: int, classes: int, batch_norm: bool) -> int:
    total = 0
    for inputs, outputs, kernel in zip([channels, *widths], widths, (11, 5, 3, 3, 3), strict=False):
        total += inputs * outputs * kernel**2 + outputs + 2 * outputs * batch_norm
    return total + (widths[-1] * 25 + 1) * nodes + (nodes + 1) * nodes + (nodes + 1) * classes


WIDTHS = {
    # note A, section 2
    100: ([24, 64, 96, 96, 64], 1028),
    10: ([6, 16, 24, 24, 16], 258),
}


@pytest.mark.parametrize("classes", [100, 10])
@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_widths_and_parameters(classes, gray, batch_norm):
    network = AlexNet(classes, channels=1 if gray else 3, batch_norm=batch_norm)
    convolutions = [m for m in network if isinstance(m, nn.Conv2d)]
    linears = [m for m in network if isinstance(m, nn.Linear)]
    widths, nodes = WIDTHS[classes]
    assert [m.out_channels for m in convolutions] == widths
    assert [m.out_features for m in linears] == [nodes, nodes, classes]
    assert count(network) == by_hand(convolutions[0].in_channels, widths, nodes, classes, batch_norm)


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({"classes": 100}, 3_048_220),
        ({"classes": 100, "batch_norm": False}, 3_047_532),
        ({"classes": 100, "channels": 1}, 3_042_412),
        ({"classes": 10}, 189_802),
        ({"classes": 1000, "ratio": 0.0}, 50_846_760),
    ],
)
def test_golden_parameter_counts(options, parameters):
    with torch.device("meta"):
        assert count(AlexNet(**options)) == parameters


def test_ratio_0_is_the_original_width_and_1_scales_with_the_classes():
    with torch.device("meta"):
        full, tenth = AlexNet(100, ratio=0.0), AlexNet(100, ratio=1.0)
    assert [m.out_channels for m in full if isinstance(m, nn.Conv2d)] == [96, 256, 384, 384, 256]
    assert [m.out_channels for m in tenth if isinstance(m, nn.Conv2d)] == [9, 25, 38, 38, 25]


def test_a_ratio_that_leaves_no_channel_is_refused():
    with pytest.raises(ValueError, match=r"^ratio must leave conv1 at least one channel for 10 classes, got 1.0$"):
        AlexNet(10, ratio=1.0)


def test_layers_stand_in_the_notes_order():
    kinds = [type(m).__name__ for m in AlexNet(10)]
    norm = "BatchNorm2d"
    pooled = [norm, "MaxPool2d", "ReLU"]
    head = ["Linear", "ReLU", "Dropout"]
    assert kinds == [
        *("ResizedConv2d", *pooled),
        *("Conv2d", *pooled),
        *("Conv2d", norm, "ReLU") * 2,
        *("Conv2d", *pooled),
        "Flatten",
        *head * 2,
        "Linear",
    ]
    assert [m.p for m in AlexNet(10, dropout=0.3) if isinstance(m, nn.Dropout)] == [0.3, 0.3]


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_resized_to_224(channels):
    torch.manual_seed(0)
    network = AlexNet(10, channels=channels).eval()
    sizes = {}

    def note(module, _, output):
        sizes[module] = tuple(output.shape)

    for module in network:
        module.register_forward_hook(note)
    images = torch.rand(2, channels, 32, 32)
    logits = network(images)
    assert logits.shape == (2, 10)
    assert [sizes[m][1:] for m in network if isinstance(m, nn.Conv2d)] == [
        (6, 54, 54),
        (16, 26, 26),
        (24, 12, 12),
        (24, 12, 12),
        (16, 12, 12),
    ]
    assert [sizes[m] for m in network if isinstance(m, nn.Flatten)] == [(2, 16 * 5 * 5)]
    resized = F.interpolate(images, size=(224, 224), mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(resized), logits)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_training_is_that_of_the_network_as_the_note_has_it(batch_norm):
    """ReLU before each pool, on images resized beforehand: the same loss and gradients, in float64."""
    torch.manual_seed(0)
    network = AlexNet(10, batch_norm=batch_norm, dropout=0.0).double()
    images, labels = torch.rand(4, 3, 32, 32, dtype=torch.float64), torch.tensor([0, 1, 2, 3])
    layers = list(network)
    for place, layer in enumerate(network):
        if isinstance(layer, nn.MaxPool2d):
            layers[place], layers[place + 1] = layers[place + 1], layer
    assert [type(layer) for layer in layers] != [type(layer) for layer in network]
    resized = F.interpolate(images, size=(224, 224), mode="bilinear", align_corners=False)
    losses = [
        F.cross_entropy(net(inputs), labels) for net, inputs in ((network, images), (nn.Sequential(*layers), resized))
    ]
    torch.testing.assert_close(*losses)
    parameters = list(network.parameters())
    ours, theirs = (torch.autograd.grad(loss, parameters) for loss in losses)
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-7)


def test_weights_start_xavier_uniform():
    torch.manual_seed(0)
    for layer in AlexNet(100):
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            pixels = layer.weight[0, 0].numel()
            inputs, outputs = layer.weight.shape[1] * pixels, layer.weight.shape[0] * pixels
            bound = math.sqrt(6 / (inputs + outputs))
            assert layer.weight.abs().max() <= bound
            assert layer.weight.abs().max() > 0.99 * bound
            assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
            assert layer.weight.mean().item() == pytest.approx(0, abs=0.05 * bound)
            assert layer.bias.abs().max() <= 1 / math.sqrt(inputs)
            assert layer.bias.abs().max() > 0


# The recipe: note A's preprocessing, here around a network of the same settings.


def test_gray_networks_take_one_channel(make_recipe):
    made = make_recipe(gray=True)
    assert made.test_inputs(made.task.data.train_images[:4]).shape == (4, 1, 32, 32)


@pytest.mark.parametrize("gray", [False, True])
def test_normalised_inputs_have_no_mean_and_unit_deviation(make_recipe, gray):
    made = make_recipe(gray=gray)
    inputs = made.test_inputs(made.task.data.train_images)
    assert inputs.mean((0, 2, 3)).tolist() == pytest.approx([0] * inputs.shape[1], abs=1e-4)
    assert inputs.std((0, 2, 3)).tolist() == pytest.approx([1] * inputs.shape[1], abs=1e-3)


def test_inputs_that_are_not_normalised_are_fractions(make_recipe):
    made = make_recipe(normalize=False)
    images = made.task.data.train_images[:4]
    assert torch.equal(made.test_inputs(images), images / 255)


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_real_time_augmentation_is_of_training_images_and_differs_from_draw_to_draw(make_recipe):
    made = make_recipe(augmentation="real-time")
    images = made.task.data.train_images[:8]
    plain = made.test_inputs(images)
    assert torch.equal(made.test_inputs(images), plain)
    generator = draws()
    first, second = made.train_inputs(images, generator), made.train_inputs(images, generator)
    assert len({inputs.numpy().tobytes() for inputs in (plain, first, second)}) == 3
    assert torch.equal(made.train_inputs(images, draws()), first)


def test_without_augmentation_training_inputs_are_those_of_evaluation(make_recipe):
    made = make_recipe()
    images = made.task.data.train_images[:8]
    assert torch.equal(made.train_inputs(images, draws()), made.test_inputs(images))


def test_without_crop_and_jitter_augmentation_only_mirrors(make_recipe):
    made = make_recipe(augmentation="real-time", random_crop=False, jitter=0.0)
    images = made.task.data.train_images[:32]
    out, plain = made.train_inputs(images, draws()), made.test_inputs(images)
    mirrored = [torch.equal(o, p.flip(-1)) for o, p in zip(out, plain, strict=True)]
    left = [torch.equal(o, p) for o, p in zip(out, plain, strict=True)]
    assert all(m or s for m, s in zip(mirrored, left, strict=True))
    assert 8 < sum(mirrored) < 24


def test_crop_scale_bounds_what_a_crop_cuts_away(make_recipe):
    images = make_recipe().task.data.train_images[:32]

    def changed(scale: float) -> float:
        made = make_recipe(augmentation="real-time", jitter=0.0, crop_scale=scale, normalize=False)
        return (made.train_inputs(images, draws()).mean((1, 2, 3)) - images.float().mean((1, 2, 3)) / 255).std().item()

    assert changed(0.95) < 0.5 * changed(0.08)
