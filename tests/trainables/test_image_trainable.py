"""A function that returns a network is a trainable: its arguments are hyperparameters, all else is as for a family."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ray import cloudpickle
from torch import nn

from search import columns
from tests.trainables.data.pictures_on_disk import write_digits
from trainables.base import build
from trainables.data.datasets import ImageData, load
from trainables.data.task import DeviceData
from trainables.ensembles.bagging import Bagging
from trainables.image_trainable import Bounds, Metric, image_trainable
from trainables.own_functions import fresh, load_states
from trainables.training import checkpoint
from trainables.training.settings import SettingError
from trainables.training.torch_names import Optimizer, Scheduler, TorchSettings, multiple, plateau_multiple

OPTIMIZERS: tuple[str, ...] = Optimizer.__args__  # type: ignore[attr-defined]
SCHEDULERS: tuple[str, ...] = Scheduler.__args__  # type: ignore[attr-defined]


def small(
    classes: int,
    channels: int,
    size: int,
    width: Annotated[int, Bounds(1, 64)] = 8,
    norm: Literal["batch", "none"] = "batch",
    drop: Annotated[float, Bounds(0, 0.9)] = 0,
    bias: bool = True,
    hidden: int | None = None,
) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 5, stride=3, bias=bias)]
    layers += [nn.BatchNorm2d(width)] * (norm == "batch") + [nn.ReLU(), nn.Flatten(), nn.Dropout(drop)]
    if hidden:
        layers += [nn.LazyLinear(hidden), nn.ReLU()]
    return nn.Sequential(*layers, nn.LazyLinear(classes))


class Tutorial(nn.Module):
    """A module as tutorials write it: `view` on what a convolution returns, a branch on a value."""

    def __init__(self, classes: int, channels: int = 3, width: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 5, stride=4)
        self.head = nn.Linear(width * 7 * 7, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        x = x if x.abs().max() > 1e9 else F.relu(x)
        return self.head(x.view(len(x), -1))


TINY = {"epochs": 2, "train_images": 60, "batch_size": 20}


def trained(trainable: Any, digits: ImageData, **config: Any) -> tuple[Any, list[dict[str, Any]]]:
    training = build(trainable, TINY | config, DeviceData(digits))
    return training, [training.run_epoch() for _ in range(training.total_epochs)]


# Hyperparameters.


def test_the_arguments_are_hyperparameters_with_their_types_bounds_and_defaults() -> None:
    settings = image_trainable(small).recipe.settings_type
    types = settings.column_types()
    assert {name: types[name] for name in ("width", "norm", "drop", "bias", "hidden")} == {
        "width": "int64",
        "norm": "string",
        "drop": "float64",
        "bias": "bool",
        "hidden": "int64",
    }
    made = settings.from_config({"width": np.int64(16), "drop": 0})
    assert (made.width, made.norm, made.drop, made.hidden) == (16, "batch", 0.0, None)
    assert (made.optimizer, made.lr) == ("AdamW", 0.001)
    for config, words in (
        ({"width": 65}, "width must be a whole number from 1 to 64, got 65"),
        ({"width": 8.5}, "width must be a whole number"),
        ({"norm": "layer"}, "norm must be one of 'batch', 'none', got 'layer'"),
        ({"bias": 1}, "bias must be true or false, got 1"),
        ({"depth": 1}, "unknown hyperparameter 'depth'"),
        ({"optimizer": "adam"}, "optimizer must be one of 'SGD', 'Adam'"),
    ):
        with pytest.raises(SettingError, match=words):
            settings.from_config(config)


def test_a_class_that_inherits_its_arguments_keeps_their_annotations() -> None:
    class Bounded(nn.Module):
        def __init__(self, classes: int, width: Annotated[int, Bounds(1, 64)] = 8, hidden: int | None = None) -> None:
            super().__init__()

    class Child(Bounded): ...

    settings = image_trainable(Child).recipe.settings_type
    assert settings.from_config({"width": 16, "hidden": 3}).hidden == 3
    with pytest.raises(SettingError, match="width must be a whole number from 1 to 64, got 65"):
        settings.from_config({"width": 65})


def no_classes(channels: int, width: int = 3) -> nn.Module: ...
def no_default(classes: int, width: int) -> nn.Module: ...
def any_names(classes: int, **more: int) -> nn.Module: ...
def restored(classes: int, restore: int = 1) -> nn.Module: ...
def tried(classes: int, trial: int = 1) -> nn.Module: ...
def taken(classes: int, momentum: float = 0.5) -> nn.Module: ...
def untold(classes: int, width=None) -> nn.Module: ...
def strange(classes: int, widths: list[int] = [1]) -> nn.Module: ...  # noqa: B006
def outside(classes: int, width: Annotated[int, Bounds(low=4)] = 3) -> nn.Module: ...


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (no_classes, "no_classes must take `classes`"),
        (no_default, "no_default: width must have a default"),
        (any_names, "any_names must name each hyperparameter"),
        (taken, "momentum is a hyperparameter of the training"),
        (restored, "restored: restore belongs to the search, give the hyperparameter another name"),
        (tried, "tried: trial belongs to the search"),
        (functools.partial(lambda classes: nn.Flatten()), "must be written with def"),
        (untold, "width must be annotated"),
        (strange, "widths must be annotated"),
        (outside, "a default is wrong: width must be a whole number of at least 4, got 3"),
        (lambda classes: nn.Flatten(), "must be written with def"),
        (3, "make_network must be a function"),
        ("resnet19", "a model of torchvision required, got 'resnet19': did you mean"),
    ],
)
def test_a_function_that_cannot_be_used_is_refused_in_one_line(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        image_trainable(make)
    assert "\n" not in str(caught.value)


def not_a_module(classes: int) -> Any:
    return 3


def wrong_outputs(classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(classes + 1))


def nothing_to_train(classes: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.ConstantPad1d((0, classes - 3), 0.0))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (not_a_module, r"not_a_module\(classes=10\) cannot take .*: it must return a torch.nn.Module, got int"),
        (wrong_outputs, r"must turn 2 images into logits \[2, 10\], one for each class, got \[2, 11\]"),
        (nothing_to_train, "must have parameters to train"),
        (Tutorial, r"Tutorial\(classes=10, channels=3, width=4\) cannot take images of 3 x 16 x 16: RuntimeError"),
        ("vit_b_16", "cannot take images of 3 x 20 x 20"),
    ],
)
def test_a_network_that_cannot_take_the_images_is_refused_before_the_start(make: Any, words: str) -> None:
    recipe = image_trainable(make).recipe
    size = {"Tutorial": 16, "vit_b_16": 20}.get(getattr(make, "__name__", make), 32)
    with pytest.raises(SettingError, match=words) as caught:
        recipe.require_images(recipe.settings_type(), 3, size, 10)
    assert "\n" not in str(caught.value)


# Training.


def test_it_learns_is_restored_to_the_bit_and_its_weights_become_a_module(digits) -> None:
    trainable = image_trainable(small)
    config = {"lr": 0.01, "epochs": 3, "hidden": 20, "drop": 0.1, "members": 2, "flip": True}
    training, results = trained(trainable, digits, **config)
    assert results[-1]["train_loss"] < results[0]["train_loss"]
    assert results[-1]["prefix_parameters"][1] == 2 * results[-1]["prefix_parameters"][0]
    again = build(trainable, TINY | config, DeviceData(digits))
    again.run_epoch()
    state = checkpoint.parse(bytes(checkpoint.dump(again.state_dict())))
    restored = build(trainable, TINY | config, DeviceData(digits))
    restored.load_state_dict(state)
    for _ in range(2):
        last = restored.run_epoch()
    assert last["val_loss"] == results[-1]["val_loss"]
    assert last["predicted"].tolist() == results[-1]["predicted"].tolist()
    weights = bytes(checkpoint.dump(training.state_dict()))
    predictor = trainable.load_network(weights, TINY | config, digits.described(), digits.class_names)
    assert predictor.labels(torch.from_numpy(digits.test_images)).tolist() == last["predicted"].tolist()


def test_fused_members_are_what_they_are_alone(digits) -> None:
    trainable = image_trainable(small)
    for optimizer in ("AdamW", "SGD", "RMSprop", "Adagrad"):
        config = {"members": 3, "optimizer": optimizer, "lr": 0.01}
        (_, alone), (training, fused) = (trained(trainable, digits, **config, engine=e) for e in ("plain", "fuse"))
        assert training.fused is not None
        for before, after in zip(alone, fused, strict=True):
            assert after["each_train_loss"] == pytest.approx(before["each_train_loss"], rel=1e-3)
    training, _ = trained(trainable, digits, members=2, optimizer="Adafactor", engine="fuse")
    assert training.fused is None


def test_a_module_as_tutorials_write_it_trains(digits) -> None:
    trainable = image_trainable(Tutorial)
    trainable.recipe.require_images(trainable.recipe.settings_type(), 3, 32, 10)
    _, results = trained(trainable, digits)
    assert math.isfinite(results[-1]["test_loss"])


def test_a_worker_that_has_no_such_module_gets_it_whole(digits) -> None:
    trainable = cloudpickle.loads(cloudpickle.dumps(image_trainable(small)))
    assert trained(trainable, digits)[1][-1]["val_loss"] == trained(image_trainable(small), digits)[1][-1]["val_loss"]


# Optimizers and schedules.


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_trains_as_pytorchs_own(name: str, digits) -> None:
    training = build(image_trainable(small), TINY | {"optimizer": name, "lr": 0.01}, DeviceData(digits))
    member = training.members[0]
    assert type(member.optimizer) is getattr(torch.optim, name)
    own = getattr(torch.optim, name)([torch.zeros(1, requires_grad=True)], lr=0.01)
    differ = {key for key in own.defaults if own.defaults[key] != member.optimizer.defaults[key]}
    assert differ == set()  # PyTorch's own defaults
    assert math.isfinite(training.run_epoch()["train_loss"])


def test_the_chosen_optimizer_takes_the_hyperparameters_that_it_has(digits) -> None:
    def group(**config: Any) -> dict[str, Any]:
        return build(image_trainable(small), TINY | config, DeviceData(digits)).members[0].optimizer.param_groups[0]

    given = {"momentum": 0.9, "weight_decay": 0.1, "beta2": 0.9, "eps": 1e-3, "lr": 0.5}
    sgd, adam = group(optimizer="SGD", nesterov=True, **given), group(optimizer="NAdam", **given)
    assert (sgd["momentum"], sgd["nesterov"], sgd["weight_decay"], sgd["lr"]) == (0.9, True, 0.1, 0.5)
    assert (adam["betas"], adam["eps"], adam["weight_decay"]) == ((0.9, 0.9), 1e-3, 0.1)
    with pytest.raises(SettingError, match="nesterov needs momentum above 0"):
        group(optimizer="SGD", nesterov=True)


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name not in ("none", "ReduceLROnPlateau")])
def test_every_schedule_gives_pytorchs_own_rates(name: str) -> None:
    settings = TorchSettings(lr=0.2, lr_scheduler=name, gamma=0.5, T_0=3, pct_start=0.4, eta_min=0.01, end_factor=0.5)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.2)
    arguments = {
        "StepLR": {"step_size": 3, "gamma": 0.5},
        "ExponentialLR": {"gamma": 0.5},
        "CosineAnnealingLR": {"T_max": 10, "eta_min": 0.01},
        "CosineAnnealingWarmRestarts": {"T_0": 3, "eta_min": 0.01},
        "PolynomialLR": {"total_iters": 10},
        "LinearLR": {"total_iters": 10, "end_factor": 0.5},
        "OneCycleLR": {"max_lr": 0.2, "total_steps": 10, "pct_start": 0.4, "cycle_momentum": False},
    }[name]
    scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, **arguments)
    for epoch in range(1, 11):
        assert 0.2 * multiple(settings, epoch, 10) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        if epoch < 10:
            scheduler.step()


def test_the_plateau_schedule_watches_validation_accuracy() -> None:
    settings = TorchSettings(lr_scheduler="ReduceLROnPlateau", plateau_patience=2, factor=0.5)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", patience=2, factor=0.5, threshold=0)
    seen: list[float] = []
    for accuracy in (0.1, 0.2, 0.2, 0.15, 0.2, 0.1, 0.1, 0.1, 0.3, 0.2):
        seen.append(accuracy)
        scheduler.step(accuracy)
        assert plateau_multiple(settings, seen) == pytest.approx(optimizer.param_groups[0]["lr"])
    with pytest.raises(SettingError, match="needs a validation set"):
        TorchSettings(lr_scheduler="ReduceLROnPlateau", validation=False)
    with pytest.raises(SettingError, match="decay must be 'constant'"):
        TorchSettings(lr_scheduler="StepLR", decay="cosine")


# Losses, metrics, augmentation.


def focal(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    nats = F.cross_entropy(logits, labels, reduction="none")
    return (1 - (-nats).exp()) ** 2 * nats


def macro_recall(probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    right = probabilities.argmax(1) == labels
    return torch.stack([right[labels == label].double().mean() for label in labels.unique()]).mean()


def cost(probabilities: torch.Tensor, labels: torch.Tensor) -> float:
    return float(5 * (probabilities.argmax(1) != labels).double().mean())


def noisy(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return images.float() / 255 + 0.1 * torch.randn(images.shape, generator=generator, device=images.device)


def mean_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits, labels)


def test_a_loss_of_ones_own_is_trained_and_one_that_takes_the_mean_is_refused(digits) -> None:
    _, plain = trained(image_trainable(small), digits)
    _, same = trained(image_trainable(small, loss=F.cross_entropy), digits)
    assert [result["train_loss"] for result in same] == [result["train_loss"] for result in plain]
    _, other = trained(image_trainable(small, loss=focal), digits)
    assert other[0]["train_loss"] < plain[0]["train_loss"]
    assert other[-1]["val_loss"] != plain[-1]["val_loss"]
    with pytest.raises(ValueError, match=r"mean_loss must return a loss for each image, \[20\], got \[\]"):
        trained(image_trainable(small, loss=mean_loss), digits)
    recipe = image_trainable(small, loss=focal).recipe
    with pytest.raises(ValueError, match="label_smoothing must be 0 with a loss of one's own"):
        recipe.require(recipe.settings_type(label_smoothing=0.1))


def test_metrics_of_ones_own_are_measured_on_validation_and_test_images(digits) -> None:
    trainable = image_trainable(small, metrics={"recall": macro_recall, "cost": Metric(cost, "min", low=0, high=5)})
    assert [(column.name, column.better, column.measured_on) for column in trainable.metrics] == [
        ("val_recall", "max", "validation"),
        ("test_recall", "max", "test"),
        ("val_cost", "min", "validation"),
        ("test_cost", "min", "test"),
    ]
    training, results = trained(trainable, digits, members=2, lr=0.01)
    assert "test_recall" not in results[0]
    labels = torch.from_numpy(digits.test_labels)
    images, places = training.recipe.task.data.test_images, training.recipe.task.test
    mean = torch.stack([member.probabilities(images, places) for member in training.members]).mean(0)
    assert results[-1]["test_recall"] == pytest.approx(macro_recall(mean, labels).item())


def test_an_accuracy_of_ones_own_is_a_fraction_since_readers_see_it_in_percent() -> None:
    own = image_trainable(small, metrics={"top3_accuracy": macro_recall, "score": macro_recall}).metrics
    assert columns.wrong({"val_top3_accuracy": 0.931, "val_score": 93.1}, own) is None
    assert "must report test_top3_accuracy from" in (columns.wrong({"test_top3_accuracy": 93.1}, own) or "")


def test_an_augmentation_of_ones_own_is_for_training_only(digits) -> None:
    _, plain = trained(image_trainable(small), digits)
    training, noised = trained(image_trainable(small, augment=noisy), digits)
    assert plain[0]["train_loss"] != noised[0]["train_loss"]
    images = training.recipe.task.data.test_images[:4]
    torch.testing.assert_close(training.recipe.test_inputs(images), training.recipe.test_inputs(images))
    assert training.recipe.test_inputs(images).mean().abs() < 1


def widened(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return images.int()


def of_255(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return images.float()


def centred(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return images.float() / 127.5 - 1


def doubled(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return images.double() / 255


def twice(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.cat([images, images])


def cut(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return images[..., 1:, 1:]


@pytest.mark.parametrize(
    ("augment", "got"),
    [
        (widened, "int32 [2, 3, 32, 32]"),
        (of_255, "floats from 0 to 255"),
        (centred, "floats from -1 to 1"),
        (doubled, "float64 [2, 3, 32, 32]"),
        (twice, "uint8 [4, 3, 32, 32]"),
        (cut, "uint8 [2, 3, 31, 31]"),
    ],
)
def test_an_augmentation_on_another_scale_than_the_evaluation_is_refused_before_the_start(augment, got: str) -> None:
    recipe = image_trainable(small, augment=augment).recipe
    with pytest.raises(SettingError) as caught:
        recipe.require_images(recipe.settings_type(), 3, 32, 10)
    name = augment.__name__
    assert str(caught.value) == f"{name} must return uint8 images [2, 3, 32, 32] (or float32 from 0 to 1), got {got}"
    for good in (noisy, Noise(0.1)):
        recipe = image_trainable(small, augment=good).recipe
        recipe.require_images(recipe.settings_type(), 3, 32, 10)


@dataclasses.dataclass
class Powered:
    """A loss that cannot be hashed."""

    power: float

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits, labels, reduction="none") ** self.power


class Noise(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return images.float() / 255 + self.scale * torch.randn(images.shape, generator=generator, device=images.device)

    def __len__(self) -> int:
        return 0  # false where truth is asked


class Hardening(nn.Module):
    """A loss that weighs hard images more and more, by the steps that it counts."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("step", torch.zeros(()))

    def forward(self, logits: torch.Tensor, labels: torch.Tensor, pace: float = 0.2) -> torch.Tensor:
        self.step += 1
        losses = F.cross_entropy(logits, labels, reduction="none")
        return losses * losses.detach() ** (self.step * pace)


class Fading(nn.Module):
    """An augmentation whose noise fades with each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(0.3))

    def forward(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        self.scale *= 0.8
        return images.float() / 255 + self.scale * torch.randn(images.shape, generator=generator, device=images.device)


class Smoothed:
    """A metric that remembers, as torchmetrics' do."""

    def __init__(self) -> None:
        self.mean = torch.tensor(0.0)

    def __call__(self, probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        self.mean = 0.5 * self.mean + 0.5 * (probabilities.argmax(1) == labels).double().mean()
        return self.mean

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"mean": self.mean}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.mean = state["mean"]


@pytest.mark.parametrize("loss", [Hardening(), functools.partial(Hardening(), pace=0.3)])
def test_what_a_loss_augmentation_or_metric_remembers_is_one_trials_and_is_restored(loss, digits) -> None:
    trainable = image_trainable(small, loss=loss, augment=Fading(), metrics={"smoothed": Smoothed()})
    config = TINY | {"epochs": 3, "members": 2, "lr": 0.01, "engine": "fuse"}
    data = DeviceData(digits)

    def shown(results: list[dict[str, Any]]) -> list[Any]:
        return [(each["each_train_loss"], each["val_smoothed"]) for each in results]

    _, first = trained(trainable, digits, **config)
    _, second = trained(trainable, digits, **config)  # in the same worker
    assert shown(second) == shown(first)
    _, alone = trained(trainable, digits, **config | {"members": 1})
    assert [each["each_train_loss"] for each in alone] == [each["each_train_loss"][:1] for each in first]
    begun = build(trainable, config, data)
    begun.run_epoch()
    state = checkpoint.parse(bytes(checkpoint.dump(begun.state_dict())))
    restored = build(trainable, config, data)
    restored.load_state_dict(state)
    assert shown([restored.run_epoch() for _ in range(2)]) == shown(first[1:])


class Kept:
    """A loss, augmentation or metric whose state is a given value."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, first: torch.Tensor, second: Any) -> Any:
        return first if first.ndim == 4 else F.cross_entropy(first, second, reduction="none")

    def state_dict(self) -> dict[str, Any]:
        return {"m": self.value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value = state["m"]


class Extra(Tutorial):
    def get_extra_state(self) -> Any:
        return {"seen": np.int64(3)}

    def set_extra_state(self, state: Any) -> None: ...


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (np.float64(0.5), "numpy.float64 as m"),
        ({"of": [np.zeros(2)]}, "numpy.ndarray as m['of'][0]"),
        ({np.int64(1): 0}, "numpy.int64 as the key m[np.int64(1)]"),
        (np.random.RandomState(0).get_state(), "numpy.ndarray as m[1]"),
        (print, "builtin_function_or_method as m"),
    ],
)
def test_a_state_that_no_checkpoint_gives_back_is_refused_before_the_start(value: Any, got: str, digits) -> None:
    words = f"Kept: its state_dict must hold tensors, numbers and text, got {got}"
    for given in ({"loss": Kept(value)}, {"augment": Kept(value)}):
        recipe = image_trainable(small, **given).recipe
        with pytest.raises(SettingError) as caught:
            recipe.require_images(recipe.settings_type(), 3, 32, 10)
        assert str(caught.value) == words
        training = build(image_trainable(small, **given), TINY, DeviceData(digits))
        with pytest.raises(SettingError, match="got "):  # also if it turns so in training
            training.state_dict()


def test_a_state_that_a_checkpoint_gives_back_is_taken() -> None:
    for value in (torch.ones(2), 1, 0.5, True, None, "text", b"bytes", (1, [2.0]), {"of": {3: torch.float32}}):
        recipe = image_trainable(small, loss=Kept(value), augment=Kept(value)).recipe
        recipe.require_images(recipe.settings_type(), 3, 32, 10)


def test_a_network_whose_extra_state_no_checkpoint_gives_back_is_refused_before_the_start() -> None:
    recipe = image_trainable(Extra).recipe
    with pytest.raises(
        SettingError, match=r"Extra\(.*\): its state_dict must hold .*, got numpy.int64 as _extra_state"
    ):
        recipe.require_images(recipe.settings_type(), 3, 32, 10)


def test_a_partial_functions_tensors_and_module_go_to_the_trials_device_and_the_given_ones_stay() -> None:
    device = torch.device("meta")
    weights = torch.ones(10)
    moved = fresh(functools.partial(F.cross_entropy, weight=weights, ignore_index=3), device)
    assert (moved.keywords["weight"].device, moved.keywords["ignore_index"], weights.device.type) == (device, 3, "cpu")
    given = functools.partial(functools.partial(Noise(0.1)), weights)
    moved = fresh(given, device)
    assert (moved.func.scale.device, moved.args[0].device, given.func.scale.device.type) == (device, device, "cpu")


def test_an_objects_state_is_restored_on_the_trials_device_but_a_generators_bytes() -> None:
    device = torch.device("meta")
    metric, bytes_ = Kept(None), torch.Generator().get_state()
    load_states({"kept": metric}, {"kept": {"m": {"sums": [torch.ones(3), 2], "generator": bytes_}}}, device)
    assert (metric.value["sums"][0].device, metric.value["sums"][1]) == (device, 2)
    assert torch.equal(metric.value["generator"], bytes_)


def labels_alike(probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return probabilities.argmax(1) == labels


def of_20_classes(probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return probabilities[:, 19].mean()


def nothing(probabilities: torch.Tensor, labels: torch.Tensor) -> None: ...


@pytest.mark.parametrize(
    ("metric", "got"),
    [
        (labels_alike, "got [20]"),
        (of_20_classes, "got IndexError: index 19 is out of bounds for dimension 1 with size 10"),
        (nothing, "got None"),
    ],
)
def test_a_metric_that_returns_no_number_is_refused_before_the_start(metric, got: str) -> None:
    recipe = image_trainable(small, metrics={"own": metric}).recipe
    with pytest.raises(SettingError) as caught:
        recipe.require_images(recipe.settings_type(), 3, 32, 10)
    told = f"the metric {metric.__name__} must return one number for probabilities [20, 10] and labels, {got}"
    assert str(caught.value) == told
    smoothed = Smoothed()
    recipe = image_trainable(small, metrics={"a": macro_recall, "b": Metric(cost, "min"), "c": smoothed}).recipe
    recipe.require_images(recipe.settings_type(), 3, 32, 10)
    assert smoothed.mean == 0  # a copy was tried


class Sampling(nn.Module):
    """A network that drops outputs in evaluation too, as Monte Carlo dropout does."""

    def __init__(self, classes: int, channels: int = 3, size: int = 32) -> None:
        super().__init__()
        self.head = nn.Linear(channels * size * size, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(F.dropout(images.flatten(1), 0.5))


def grainy(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return images.float() / 255 + 0.1 * torch.randn_like(images, dtype=torch.float32)


def bootstrapped(probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    drawn = torch.randint(len(labels), (len(labels),))
    return probabilities[drawn, labels[drawn]].mean() + np.random.rand()


@pytest.mark.parametrize(
    ("make", "given", "config"),
    [
        (Sampling, {}, {"members": 2}),
        (small, {"augment": grainy}, {"train_measure": "augmented"}),
        (small, {"metrics": {"drawn": bootstrapped}}, {}),
    ],
)
def test_what_is_drawn_in_evaluation_comes_from_the_seed_and_a_restored_trial_repeats_it(
    make: Any, given: dict[str, Any], config: dict[str, Any], digits
) -> None:
    trainable = image_trainable(make, **given)

    def shown(result: dict[str, Any]) -> list[Any]:
        return [result[name] for name in ("each_val_accuracy", "val_loss", "train_accuracy", "test_loss")] + [
            result.get("val_drawn")
        ]

    torch.manual_seed(1)
    np.random.seed(1)
    _, first = trained(trainable, digits, **config)
    begun = build(trainable, TINY | config, DeviceData(digits))
    begun.run_epoch()
    restored = build(trainable, TINY | config, DeviceData(digits))
    restored.load_state_dict(checkpoint.parse(bytes(checkpoint.dump(begun.state_dict()))))
    torch.manual_seed(2)
    np.random.seed(2)
    assert shown(restored.run_epoch()) == shown(first[-1])
    _, other = trained(trainable, digits, **config, seed=1)
    assert shown(other[-1]) != shown(first[-1])


def test_a_loss_with_parameters_to_train_is_refused() -> None:
    class Temperature(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.log_t = nn.Parameter(torch.zeros(()))

        def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return F.cross_entropy(logits * self.log_t.exp(), labels, reduction="none")

    with pytest.raises(ValueError, match=r"must have no parameters to train, .*, got Temperature with log_t: make"):
        image_trainable(small, loss=Temperature())
    with pytest.raises(ValueError, match=r"got Temperature with log_t"):
        image_trainable(small, loss=functools.partial(Temperature()))
    frozen = Temperature().requires_grad_(False)
    assert image_trainable(small, loss=frozen).recipe.loss is not None


class CountedRows:
    def __init__(self, times: int) -> None:
        self.times = times

    def __call__(self, probabilities: torch.Tensor, labels: torch.Tensor) -> float:
        return float(self.times * len(labels))


class Made:
    def __init__(self, hidden: int) -> None:
        self.hidden = hidden

    def __call__(self, classes: int, width: Annotated[int, Bounds(1, 64)] = 8) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.LazyLinear(classes))


def test_a_callable_object_is_a_loss_augmentation_metric_or_network(digits) -> None:
    _, plain = trained(image_trainable(small), digits)
    for loss, alike in (
        (nn.CrossEntropyLoss(reduction="none"), True),
        (functools.partial(F.cross_entropy, label_smoothing=0.0), True),
        (nn.CrossEntropyLoss(torch.arange(10.0), reduction="none"), False),
        (Powered(1.0), True),
        (Powered(2.0), False),
    ):
        _, results = trained(image_trainable(small, loss=loss), digits)
        assert (results[-1]["train_loss"] == pytest.approx(plain[-1]["train_loss"])) == alike
    _, noised = trained(image_trainable(small, augment=Noise(0.1)), digits)
    assert noised[-1]["train_loss"] != plain[-1]["train_loss"]
    counted = image_trainable(Made(3), metrics={"count": CountedRows(2)})
    assert counted.__name__ == "Made"
    _, results = trained(counted, digits, width=4)
    assert results[-1]["test_count"] == 2 * len(digits.test_labels)
    with pytest.raises(SettingError, match="width must be a whole number from 1 to 64"):
        counted.recipe.settings_type(width=65)


def test_the_loss_of_a_module_that_takes_the_mean_is_refused_with_what_to_do(digits) -> None:
    with pytest.raises(ValueError, match=r"CrossEntropyLoss must return a loss for each image, \[20\], got \[\]"):
        trained(image_trainable(small, loss=nn.CrossEntropyLoss()), digits)


# Models by name.


@pytest.mark.parametrize("channels", [1, 3])
def test_torchvisions_models_are_trained_by_their_names(channels: int) -> None:
    trainable = image_trainable(["squeezenet1_1", "mobilenet_v3_small"])
    recipe = trainable.recipe
    for model in ("squeezenet1_1", "mobilenet_v3_small"):
        recipe.require_images(recipe.settings_type(model=model), channels, 32, 3)
    with pytest.raises(SettingError, match="model must be one of 'squeezenet1_1', 'mobilenet_v3_small', got 'r"):
        recipe.settings_type(model="resnet18")


@pytest.mark.parametrize("model", ["deeplabv3_resnet50", "ssd300_vgg16", "r3d_18", "raft_small", "quantized_resnet18"])
def test_torchvisions_models_of_other_tasks_are_refused(model: str) -> None:
    with pytest.raises(ValueError, match=f"a network that classifies images in float32 required, got .*{model}"):
        image_trainable(model)


def test_timms_models_are_trained_by_their_names_or_refused_with_what_to_install() -> None:
    if importlib.util.find_spec("timm") is None:
        with pytest.raises(ValueError, match=r"timm:resnet10t needs timm, which is not installed: pip install timm"):
            image_trainable("timm:resnet10t")
        return
    recipe = image_trainable("timm:resnet10t").recipe
    recipe.require_images(recipe.settings_type(), 1, 32, 3)


def test_one_class_makes_members_that_vote(digits) -> None:
    training, results = trained(image_trainable(small), digits, members=3, bootstrap=True, vote="soft")
    assert isinstance(training, Bagging)
    assert len(results[-1]["prefix_test_accuracy"]) == 3
    assert results[-1]["oob_accuracy"] is not None


def test_the_gray_images_of_ones_own_folder_are_what_the_function_gets(tmp_path: Path) -> None:
    data = load("folder", write_digits(tmp_path / "d", 60), tmp_path / "cache", size=16)
    training, results = trained(image_trainable(small), data, train_images=30)
    assert training.members[0].network[0].in_channels == 1
    assert math.isfinite(results[-1]["val_loss"])
