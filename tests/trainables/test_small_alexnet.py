import math

import pytest
import torch
from torch import nn

from trainables.data.task import DeviceData, Task
from trainables.ensembles.bagging import Bagging
from trainables.small_alexnet import SmallAlexNet, SmallAlexNetRecipe, SmallAlexNetSettings
from trainables.training import schedules
from trainables.training.settings import SettingError

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


def test_the_codes_normal_initialization_is_cut_off_at_two_deviations():
    torch.manual_seed(0)
    for layer in SmallAlexNet(initialization="normal"):
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            assert layer.weight.abs().max() <= 0.02
            # Of a normal cut off there; conv1 has 648 weights.
            assert layer.weight.std().item() == pytest.approx(0.0088, rel=0.1)
            assert not layer.bias.any()


def test_dropout_is_the_probability_of_dropping():
    dropouts = [m for m in SmallAlexNet(head="pooling+linear", dropout=0.1) if isinstance(m, nn.Dropout)]
    torch.manual_seed(0)
    assert len(dropouts) == 2
    assert (dropouts[0](torch.ones(100_000)) == 0).float().mean() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("initialization", "msra", "'he', 'default', 'normal'"),
        ("head", "fc", "'linear', 'pooling', 'pooling\\+linear'"),
        ("image_size", 28, "24, 32"),
        ("pool_stride", 3, "1, 2"),
    ],
)
def test_unknown_positions_are_refused(option, value, allowed):
    with pytest.raises(ValueError, match=f"{option} must be one of {allowed}, got {value!r}"):
        SmallAlexNet(**{option: value})


# The recipe: note E's inputs, rates and optimizers.

TINY = {"epochs": 2, "train_images": 32, "batch_size": 16, "head": "pooling", "initialization": "default"}
PLAIN = {"random_crop": False, "flip": False, "brightness": 0, "contrast": 0}


@pytest.fixture(scope="module")
def make_recipe(digits):
    data = DeviceData(digits)

    def make(**config):
        settings = SmallAlexNetSettings.from_config(TINY | config)
        return SmallAlexNetRecipe(settings, Task.of(data, settings))

    return make


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def rates(made, epochs):
    return [made.lr(epoch) for epoch in epochs]


def test_the_notes_rates(make_recipe):
    # 1.1 and 1.3: .001 for good, or falling to .0001 after 60 epochs.
    assert rates(make_recipe(lr=0.001, decay="constant", epochs=60), (1, 60)) == [0.001, 0.001]
    decayed = make_recipe(lr=0.001, decay="exponential", step_factor=0.1, step_epochs=60, epochs=80)
    assert rates(decayed, (1, 31, 61)) == pytest.approx([1e-3, 1e-3 / math.sqrt(10), 1e-4])
    # 1.2: at once.
    stepped = make_recipe(lr=0.001, decay="step", step_factor=0.1, step_epochs=30, epochs=60)
    assert rates(stepped, (30, 31, 60)) == pytest.approx([1e-3, 1e-4, 1e-4])
    # 2: .9995 every 10 of an epoch's 703.125 steps, by default.
    assert rates(make_recipe(), (1, 2, 81)) == pytest.approx([0.01, 0.01 * 0.9995**70.3125, 0.01 * 0.9995**5625])


def test_the_rule_divides_the_rate_by_10_down_to_1e_5(make_recipe):
    made = make_recipe(decay="plateau", plateau_epochs=2, lr=0.01)
    stalled = [0.5] * 20
    found = [made.lr(1) * made.slowdown(stalled[:finished]) for finished in range(12)]
    assert found == pytest.approx([1e-2] * 3 + [1e-3] * 2 + [1e-4] * 2 + [1e-5] * 5)
    assert make_recipe(decay="plateau", lr=1e-6).slowdown(stalled) == 1
    assert make_recipe(decay="constant").slowdown(stalled) == 1


def test_training_follows_the_rule(make_recipe):
    config = {"decay": "plateau", "plateau_epochs": 1, "epochs": 6, "lr": 0.05, "members": 2}
    training = Bagging(make_recipe(**config))
    metrics = [training.run_epoch() for _ in range(6)]
    for index, member in enumerate(training.members):
        assert member.val_accuracies == [m["each_val_accuracy"][index] for m in metrics]
    # The rate that is told is the first member's.
    accuracies = training.members[0].val_accuracies
    expected = [0.05 * max(2e-4, schedules.plateau(accuracies[:finished], 1)) for finished in range(6)]
    assert [m["lr"] for m in metrics] == pytest.approx(expected)
    assert metrics[-1]["lr"] < 0.05
    # Its rate does not depend on the members beside it.
    alone = Bagging(make_recipe(**config | {"members": 1}))
    assert [alone.run_epoch()["lr"] for _ in range(6)] == [m["lr"] for m in metrics]


def comparable(metrics):
    times = ("seconds", "train_seconds", "images_per_second")
    return {k: getattr(v, "tolist", lambda v=v: v)() for k, v in metrics.items() if k not in times}


@pytest.mark.parametrize(
    "config",
    [
        {"decay": "plateau", "plateau_epochs": 1, "momentum": 0.9, "batch_norm": True},
        {"optimizer": "adam", "lr": 0.001, "head": "linear", "dropout": 0.5, "lrn": True},
    ],
)
def test_a_restored_trial_goes_on_as_an_uninterrupted_one(make_recipe, tmp_path, config):
    config = {"epochs": 5, "train_images": 20, "lr": 0.05, **config}
    whole = Bagging(make_recipe(**config))
    expected = [comparable(whole.run_epoch()) for _ in range(5)]
    stopped = Bagging(make_recipe(**config))
    for _ in range(3):
        stopped.run_epoch()
    torch.save(stopped.state_dict(), tmp_path / "trial.pt")
    restored = Bagging(make_recipe(**config))
    restored.load_state_dict(torch.load(tmp_path / "trial.pt", weights_only=True))
    assert [comparable(restored.run_epoch()) for _ in range(2)] == expected[3:]
    if "decay" in config:
        assert len({m["lr"] for m in expected}) > 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"decay": "plateau", "validation": False}, "decay 'plateau' needs a validation set, got validation=False"),
        ({"decay": "step", "step_epochs": 0.5}, "step_epochs must be a whole number from 1 with decay 'step', got 0.5"),
        ({"decay": "step", "step_epochs": 2.5}, "step_epochs must be a whole number from 1 with decay 'step', got 2.5"),
        ({"pool_stride": 3}, "pool_stride must be one of 1, 2, got 3"),
    ],
)
def test_settings_that_do_not_go_together_are_told(config, message):
    with pytest.raises(SettingError) as error:
        SmallAlexNetSettings.from_config(config)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("config", "kind", "expected"),
    [
        ({}, torch.optim.SGD, {"momentum": 0.0, "lr": 0.01}),
        ({"momentum": 0.9, "weight_decay": 0.004}, torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.004}),
        ({"optimizer": "adam", "lr": 0.001}, torch.optim.Adam, {"lr": 0.001, "betas": (0.9, 0.999)}),
    ],
)
def test_the_optimizer_is_the_one_asked_for(make_recipe, config, kind, expected):
    made = make_recipe(**config)
    optimizer = made.optimizer(made.network())
    assert type(optimizer) is kind
    assert {name: optimizer.param_groups[0][name] for name in expected} == expected


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_few_steps_lower_the_loss_of_a_batch(make_recipe, optimizer):
    made = make_recipe(optimizer=optimizer, lr=0.1 if optimizer == "sgd" else 0.001, initialization="he")
    images, data = made.task.train[:16], made.task.data
    torch.manual_seed(0)
    network = made.network().train()
    steps = made.optimizer(network)
    inputs, labels = made.test_inputs(data.train_images[images]), data.train_labels[images]
    losses = [made.update(network, steps, inputs, labels)[0].mean().item() for _ in range(12)]
    assert losses[-1] < losses[0] - 0.1


def test_the_network_has_the_switches_asked_for(make_recipe):
    config = {"lrn": True, "dropout": 0.3, "head": "pooling+linear", "batch_norm": True, "pool_stride": 1}
    made = make_recipe(**config)
    expected = SmallAlexNet(10, initialization="default", image_size=24, **config)
    assert str(made.network()) == str(expected)
    assert str(make_recipe(random_crop=False, head="linear").network()) == str(
        SmallAlexNet(10, lrn=False, image_size=32)
    )
    torch.manual_seed(0)
    he = make_recipe(initialization="he").network()
    assert not he[0].bias.any()


def test_evaluation_takes_the_middle_less_the_mean(make_recipe):
    data = make_recipe().task.data
    images = data.test_images[:8]
    middle = images[:, :, 4:28, 4:28] / 255
    assert torch.equal(make_recipe().test_inputs(images), middle - data.mean)
    assert torch.equal(make_recipe(subtract_mean=False).test_inputs(images), middle)
    assert torch.equal(make_recipe(random_crop=False).test_inputs(images), images / 255 - data.mean)
    assert torch.equal(make_recipe(**PLAIN).train_inputs(images, draws()), make_recipe(**PLAIN).test_inputs(images))


@pytest.mark.parametrize("part", ["random_crop", "flip", "brightness", "contrast"])
def test_each_part_of_the_augmentation_alone(make_recipe, part):
    made = make_recipe(**PLAIN | {part: 0.25 if part in ("brightness", "contrast") else True})
    data = made.task.data
    images = data.train_images[:1].repeat(64, 1, 1, 1)
    plain = images / 255 - data.mean
    out = made.train_inputs(images, draws())
    different = {image.numpy().tobytes() for image in out}
    assert len(different) == 2 if part == "flip" else len(different) > 20
    if part == "random_crop":
        windows = plain[0].unfold(1, 24, 1).unfold(2, 24, 1).permute(1, 2, 0, 3, 4).reshape(-1, 3, 24, 24)
        assert all((image == windows).flatten(1).all(1).any() for image in out)
    elif part == "flip":
        assert all(torch.equal(image, plain[0]) or torch.equal(image, plain[0].flip(-1)) for image in out)
    elif part == "brightness":
        shift = (out - plain).flatten(1)
        assert (shift.amax(1) - shift.amin(1)).max() < 1e-6
        assert 0.2 < shift.abs().max() <= 0.25
    else:
        spread = out.flatten(2).std(2) / plain.flatten(2).std(2)
        assert 0.75 <= spread.min() < 0.8
        assert 1.2 < spread.max() <= 1.2501


def test_weight_decay_of_the_linears_spares_convolutions_and_biases(make_recipe):
    """L2 of the linears' weights, as a part of the loss: by hand, on a step without any other gradient."""
    made = make_recipe(head="linear", momentum=0.9, lr=0.1, linear_weight_decay=0.004, batch_norm=True)
    network = made.network()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer = made.optimizer(network)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    linears = {f"{name}.weight" for name, m in network.named_modules() if isinstance(m, nn.Linear)}
    assert len(linears) == 3
    for name, parameter in network.named_parameters():
        factor = 1 - 0.1 * 0.004 if name in linears else 1.0
        assert torch.allclose(parameter, before[name] * factor, rtol=1e-6), name


def test_weight_decay_of_the_linears_follows_the_rate_and_a_checkpoint(make_recipe, tmp_path):
    config = {"head": "linear", "linear_weight_decay": 0.5, "epochs": 4, "step_epochs": 1, "step_factor": 0.1}
    whole = Bagging(make_recipe(**config))
    expected = [comparable(whole.run_epoch()) for _ in range(4)]
    assert {group["lr"] for group in whole.members[0].optimizer.param_groups} == {expected[-1]["lr"]}
    stopped = Bagging(make_recipe(**config))
    stopped.run_epoch()
    torch.save(stopped.state_dict(), tmp_path / "trial.pt")
    restored = Bagging(make_recipe(**config))
    restored.load_state_dict(torch.load(tmp_path / "trial.pt", weights_only=True))
    assert [comparable(restored.run_epoch()) for _ in range(3)] == expected[1:]


def test_the_codes_pixels_are_255_times_as_large(make_recipe, digits):
    images = torch.from_numpy(digits.train_images[:4])
    one, large = (make_recipe(input_scale=scale) for scale in (1, 255))
    assert torch.allclose(large.test_inputs(images), 255 * one.test_inputs(images))
    assert torch.allclose(large.train_inputs(images, draws()), 255 * one.train_inputs(images, draws()))
