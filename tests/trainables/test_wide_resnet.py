import copy
import math

import pytest
import torch
from torch import nn

from trainables.data.task import DeviceData, Task
from trainables.ensembles.bagging import Bagging
from trainables.training.loop import Member
from trainables.training.recipe import Recipe
from trainables.training.settings import SettingError
from trainables.wide_resnet import WideResNet, WideResNetRecipe, WideResNetSettings


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


# The recipe: note C's inputs, loss and steps.

TINY = {"depth": 10, "width": 1, "epochs": 2, "train_images": 32, "batch_size": 16, "lr": 0.02}


@pytest.fixture(scope="module")
def make_recipe(digits):
    data = DeviceData(digits)

    def make(**config):
        settings = WideResNetSettings.from_config(TINY | config)
        return WideResNetRecipe(settings, Task.of(data, settings))

    return make


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(made, n=16):
    """Inputs and labels of n training images, and a network whose head is no longer all zeros."""
    images = made.task.train[:n]
    torch.manual_seed(0)
    network = made.network().train()
    nn.init.normal_(network.classifier.weight, std=0.1)
    data = made.task.data
    return network, made.test_inputs(data.train_images[images]), data.train_labels[images]


def test_depth_is_checked_before_anything_is_built():
    with pytest.raises(SettingError, match=r"^depth must be 6n \+ 4 \(10, 16, 22, 28, 34, 40, \.\.\.\), got 18$"):
        WideResNetSettings.from_config({"depth": 18})


def test_the_network_is_as_deep_wide_and_dropped_out_as_asked(make_recipe):
    network = make_recipe(depth=16, width=3, dropout=0.2).network()
    expected = WideResNet(16, 3, classes=10, dropout=0.2)
    assert str(network) == str(expected)


@pytest.mark.parametrize("adaptive", [False, True])
def test_an_update_is_the_note_s_two_passes_written_out(make_recipe, adaptive):
    rho, lr, momentum, weight_decay = 0.3, 0.05, 0.9, 0.01
    made = make_recipe(rho=rho, adaptive=adaptive, lr=lr, momentum=momentum, weight_decay=weight_decay)
    network, inputs, labels = batch(made)
    network, inputs = network.double(), inputs.double()
    other = copy.deepcopy(network)
    optimizer = made.optimizer(network)
    velocity = [torch.zeros_like(p) for p in other.parameters()]

    def gradients():
        logits = other(inputs)
        target = torch.full_like(logits, 0.1 / 9).scatter(1, labels[:, None], 0.9)
        losses = -(target * logits.log_softmax(1)).sum(1)
        return losses, logits, torch.autograd.grad(losses.mean(), list(other.parameters()))

    for _ in range(3):
        first = gradients()
        scales = [p.detach().abs() if adaptive else torch.ones_like(p) for p in other.parameters()]
        norm = sum(((s * g) ** 2).sum() for s, g in zip(scales, first[2], strict=True)).sqrt()
        weights = [p.detach().clone() for p in other.parameters()]
        with torch.no_grad():
            for p, s, g in zip(other.parameters(), scales, first[2], strict=True):
                p += rho * s**2 * g / norm
        second = gradients()
        with torch.no_grad():
            for p, w, v, g in zip(other.parameters(), weights, velocity, second[2], strict=True):
                v.mul_(momentum).add_(g + weight_decay * w)
                p.copy_(w - lr * v)
        losses, logits = made.update(network, optimizer, inputs, labels)
        torch.testing.assert_close(losses, first[0].detach(), atol=1e-9, rtol=1e-9)  # of the first pass
        torch.testing.assert_close(logits, first[1].detach(), atol=1e-9, rtol=1e-9)
        assert not losses.requires_grad
    # BatchNorm's statistics too: the note's code updates them in both passes.
    torch.testing.assert_close(network.state_dict(), other.state_dict(), atol=1e-9, rtol=1e-9)


def test_at_rho_0_an_update_is_the_plain_optimizer_s(make_recipe):
    made = make_recipe(rho=0.0)
    network, inputs, labels = batch(made)
    other = copy.deepcopy(network)
    ours, plain = made.optimizer(network), made.optimizer(other)
    for _ in range(2):
        made.update(network, ours, inputs, labels)
        Recipe.update(made, other, plain, inputs, labels)
    pairs = zip(network.state_dict().values(), other.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(("change", "batches"), [({}, 2), ({"freeze_batch_norm": True}, 1), ({"rho": 0.0}, 1)])
def test_batch_norm_counts_the_passes_that_update_it(make_recipe, change, batches):
    made = make_recipe(**change)
    network, inputs, labels = batch(made)
    made.update(network, made.optimizer(network), inputs, labels)
    counts = {int(m.num_batches_tracked) for m in network.modules() if isinstance(m, nn.BatchNorm2d)}
    assert counts == {batches}


@pytest.mark.parametrize("rho", [0.0, 0.1])
def test_a_few_steps_lower_the_loss_of_a_batch(make_recipe, rho):
    made = make_recipe(rho=rho)
    network, inputs, labels = batch(made)
    optimizer = made.optimizer(network)
    losses = [made.update(network, optimizer, inputs, labels)[0].mean().item() for _ in range(6)]
    assert losses[-1] < losses[0] - 0.05


def test_training_images_are_cropped_flipped_normalised_then_cut_out(make_recipe):
    images = make_recipe().task.data.train_images[:400]
    mean, std = make_recipe().task.data.mean, make_recipe().task.data.std
    plain = make_recipe().test_inputs(images)
    assert torch.equal(plain, (images / 255 - mean) / std)
    assert torch.equal(make_recipe(cutout=0, crop_padding=0, flip=False).train_inputs(images, draws()), plain)

    flipped = make_recipe(cutout=0, crop_padding=0).train_inputs(images, draws())
    same = (flipped == plain).flatten(1).all(1)
    mirrored = (flipped == plain.flip(-1)).flatten(1).all(1)
    assert (same | mirrored).all()
    assert 100 < mirrored.sum() < 300

    # What padding brings in is black, as pixels of the note's images are before they are normalised.
    white = torch.full_like(images, 255)
    cropped = make_recipe(cutout=0, flip=False).train_inputs(white, draws())
    black = ((0 - mean) / std).expand_as(cropped)
    assert cropped.shape == plain.shape
    assert (cropped == black).any()
    assert ((cropped == black) | (cropped == make_recipe().test_inputs(white))).all()

    # What Cutout leaves is the mean, 0.
    cut = make_recipe(crop_padding=0, flip=False).train_inputs(images, draws())
    changed = cut != plain
    assert (cut[changed] == 0).all()
    assert 140 < changed.flatten(1).any(1).sum() < 260


def test_an_epoch_draws_its_augmentation_from_seed_member_and_epoch(make_recipe):
    made = make_recipe()
    losses = [Member(made, index).train_epoch(epoch).loss for index, epoch in ((0, 1), (0, 1), (1, 1), (0, 2))]
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3


def test_the_rate_falls_in_the_note_s_steps(make_recipe):
    made = make_recipe(epochs=20, lr=0.1)
    rates = [made.lr(epoch) for epoch in range(1, 21)]
    assert rates == pytest.approx([0.1] * 4 + [0.02] * 6 + [0.004] * 4 + [0.0008] * 3 + [0.00016] * 3)


def comparable(metrics):
    times = ("seconds", "train_seconds", "images_per_second")
    return {k: getattr(v, "tolist", lambda v=v: v)() for k, v in metrics.items() if k not in times}


def test_a_restored_trial_goes_on_as_an_uninterrupted_one(make_recipe, tmp_path):
    config = {"epochs": 3, "dropout": 0.3, "freeze_batch_norm": True, "members": 2}
    whole = Bagging(make_recipe(**config))
    expected = [comparable(whole.run_epoch()) for _ in range(3)]
    stopped = Bagging(make_recipe(**config))
    stopped.run_epoch()
    torch.save(stopped.state_dict(), tmp_path / "trial.pt")
    restored = Bagging(make_recipe(**config))
    restored.load_state_dict(torch.load(tmp_path / "trial.pt", weights_only=True))
    assert [comparable(restored.run_epoch()) for _ in range(2)] == expected[1:]


def test_the_test_loss_is_reported_as_cross_entropy_and_as_the_note_s(make_recipe):
    training = Bagging(make_recipe(epochs=1, label_smoothing=0.1))
    metrics = training.run_epoch()
    data, task = training.recipe.task.data, training.recipe.task
    log = training.members[0].probabilities(data.test_images, task.test).log()
    target = torch.full_like(log, 0.1 / 9).scatter(1, data.test_labels[task.test][:, None], 0.9)
    entropy = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1 / 9))
    assert metrics["test_kl_loss"] == pytest.approx(-(target * log).sum(1).mean().item() - entropy, rel=1e-4)
    assert metrics["test_loss"] == pytest.approx(
        torch.nn.functional.nll_loss(log, data.test_labels[task.test]).item(), rel=1e-4
    )
    assert "test_kl_loss" not in Bagging(make_recipe(epochs=1, label_smoothing=0.0)).run_epoch()
