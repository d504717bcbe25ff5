"""Make a trainable of any network: a function, a module class, or a name of torchvision's or timm's models.

    def small(classes, channels, size, width: int = 32, dropout: Annotated[float, Bounds(0, 0.9)] = 0.0):
        return nn.Sequential(...)

    study = Study(trainable=image_trainable(small), param_space={"width": tune.choice([16, 64]), ...}, ...)

The function's keyword arguments are hyperparameters, beside those of the training (`TorchSettings`,
`AugmentationSettings`, `PatienceSettings`). Ensembles, engines, plans, early stopping, resuming and analysis work as
for the families beside this file.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import functools
import importlib
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from search import columns
from trainables.base import RESTORE, TRIAL, ImageTrainable
from trainables.data.policies import AugmentationSettings, augmented
from trainables.data.task import Task
from trainables.ensembles.patience import PatienceSettings, PatientBagging
from trainables.epoch_metrics import Split, labels_of
from trainables.own_functions import (
    Augment,
    changes,
    code_of,
    fresh,
    load_states,
    name_of,
    require_augmented,
    require_readable,
    states,
    try_augment,
    try_metric,
    unbound,
)
from trainables.training.recipe import Recipe, channels_last
from trainables.training.seeds import seeded
from trainables.training.settings import SettingError, Settings
from trainables.training.torch_names import (
    NOT_ELEMENTWISE,
    TorchSettings,
    make_optimizer,
    multiple,
    plateau_multiple,
)

OF_THE_DATA = ("classes", "channels", "size")  # arguments that the data set gives
TIMM = "timm:"  # prefix of timm's model names; names without it are torchvision's
_CHECKED = 2  # images of the forward pass that checks a network

MakeNetwork = Callable[..., nn.Module]
Loss = Callable[..., torch.Tensor]


class Bounds(NamedTuple):
    """Limits of a number, for an annotation: `width: Annotated[int, Bounds(1, 512)] = 32`."""

    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf


class Metric(NamedTuple):
    """A measure of probabilities [n, classes] against labels int64 [n], and how it is read.

    `better` is the direction of a better value, `low` and `high` the values that it can have.
    """

    function: Callable[[torch.Tensor, torch.Tensor], Any]
    better: Literal["max", "min"] = "max"
    meaning: str = ""
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(TorchSettings, AugmentationSettings, PatienceSettings):
    """Hyperparameters of the training of any network; its own are added by `image_trainable`."""


class NetworkRecipe(Recipe[NetworkSettings]):
    """Train the network that `make` returns on images in [0, 1], normalised by the training set's statistics."""

    settings_type: ClassVar[type[Settings]] = NetworkSettings
    make: ClassVar[MakeNetwork]
    takes: ClassVar[tuple[str, ...]]  # which of OF_THE_DATA the function takes
    own: ClassVar[tuple[str, ...]]  # the function's hyperparameters
    loss: ClassVar[Loss | None] = None
    reduces: ClassVar[bool] = False  # whether the loss takes `reduction`
    augment: ClassVar[Augment | None] = None
    measures: ClassVar[tuple[Callable[..., Any], ...]] = ()  # metrics of one's own
    normalize: ClassVar[bool] = True

    def __init__(self, settings: NetworkSettings, task: Task) -> None:
        super().__init__(settings, task)
        self.elementwise = settings.optimizer not in NOT_ELEMENTWISE
        self.own_loss = fresh(type(self).loss, self.device)
        self.own_augment = fresh(type(self).augment, self.device)

    @property
    def fusable(self) -> bool:
        return self.elementwise and not (changes(self.own_loss) or changes(self.own_augment))

    def for_member(self) -> Self:
        if not (changes(self.own_loss) or changes(self.own_augment)):
            return self
        member = copy.copy(self)
        member.own_loss = fresh(type(self).loss, self.device)
        member.own_augment = fresh(type(self).augment, self.device)
        return member

    def state_dict(self) -> dict[str, Any]:
        return states({"loss": self.own_loss, "augment": self.own_augment})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        load_states({"loss": self.own_loss, "augment": self.own_augment}, state, self.device)

    @classmethod
    def require(cls, settings: NetworkSettings) -> None:
        if cls.loss is not None and settings.label_smoothing:
            raise ValueError(f"label_smoothing must be 0 with a loss of one's own, got {settings.label_smoothing}")

    @classmethod
    def require_images(cls, settings: NetworkSettings, channels: int, size: int, classes: int) -> None:
        """Raise ValueError unless the network, made for such images, turns two of them into logits [2, classes].

        An augmentation of one's own must return two such images as images, a metric one number, and what a checkpoint
        holds of any of them must be readable.
        """
        own = tuple((name, getattr(settings, name)) for name in cls.own)
        _try(typing.cast(Any, cls), own, (classes, channels, size))
        states({"loss": cls.loss})
        if cls.augment is not None:
            _try_augment(typing.cast(Any, cls), channels, size)
        _try_metrics(typing.cast(Any, cls), classes)

    def network(self) -> nn.Module:
        data = self.task.data
        of_data = dict(zip(OF_THE_DATA, (data.classes, data.channels, data.size), strict=True))
        return made(type(self), of_data, {name: getattr(self.settings, name) for name in self.own})

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        fused = bool(self.features) and self.device.type == "cuda"
        return make_optimizer(self.settings, network.parameters(), fused=fused)

    def decay(self, epoch: int, epochs: int) -> float:
        if self.settings.lr_scheduler != "none":
            return multiple(self.settings, epoch, epochs)
        return super().decay(epoch, epochs)

    def slowdown(self, val_accuracies: Sequence[float]) -> float:
        return plateau_multiple(self.settings, val_accuracies)

    def losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        own = self.own_loss
        if own is None:
            return super().losses(logits, labels)
        values = own(logits, labels, reduction="none") if self.reduces else own(logits, labels)
        if values.shape != labels.shape:
            raise ValueError(
                f"{name_of(own)} must return a loss for each image, [{len(labels)}], got {list(values.shape)}: do not "
                "take the mean"
            )
        return values

    def train_inputs(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        images = augmented(images, self.settings, generator)
        own = self.own_augment
        if own is None:
            return self.test_inputs(images)
        made = own(images, generator)
        require_augmented(own, images, made)
        return self.test_inputs(made)

    def test_inputs(self, images: torch.Tensor) -> torch.Tensor:
        floats = images.float() / 255 if images.dtype == torch.uint8 else images
        if self.normalize:
            floats = (floats - self.task.data.mean) / self.task.data.std
        return channels_last(floats) if self.memory_format == torch.channels_last else floats.contiguous()


def made(recipe: type[NetworkRecipe], of_data: Mapping[str, int], own: Mapping[str, Any]) -> nn.Module:
    """Return the recipe's network, made for a data set, with its lazy layers in shape. Raises TypeError."""
    network = recipe.make(**{name: of_data[name] for name in recipe.takes}, **own)
    if not isinstance(network, nn.Module):
        raise TypeError(f"it must return a torch.nn.Module, got {type(network).__name__}")
    if any(map(is_lazy, (*network.parameters(), *network.buffers()))):
        with torch.no_grad():
            network.eval()(torch.zeros(_CHECKED, of_data["channels"], of_data["size"], of_data["size"]))
        network.train()
    return network


@functools.lru_cache(maxsize=256)
def _try(recipe: Any, own: tuple[tuple[str, Any], ...], of_data: tuple[int, int, int]) -> None:
    classes, channels, size = of_data
    given = dict(zip(OF_THE_DATA, of_data, strict=True))
    call = ", ".join(
        f"{name}={value!r}" for name, value in {**{n: given[n] for n in recipe.takes}, **dict(own)}.items()
    )
    told = f"{name_of(recipe.make)}({call})"
    images = torch.zeros(_CHECKED, channels, size, size).contiguous(memory_format=recipe.memory_format)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            network = made(recipe, given, dict(own)).to(memory_format=recipe.memory_format)
            logits = network(images)
    except Exception as error:  # noqa: BLE001 - a user's function may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SettingError(
            f"{told} cannot take images of {channels} x {size} x {size}: {type(error).__name__}: {reason:.300}"
        ) from None
    if not (isinstance(logits, torch.Tensor) and logits.shape == (_CHECKED, classes)):
        got = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise SettingError(
            f"{told} must turn {_CHECKED} images into logits [{_CHECKED}, {classes}], one for each class, got {got}"
        )
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise SettingError(f"{told} must have parameters to train, got none")
    require_readable(told, network.state_dict())


@functools.lru_cache(maxsize=16)
def _try_augment(recipe: Any, channels: int, size: int) -> None:
    try_augment(recipe.augment, channels, size)


@functools.lru_cache(maxsize=16)
def _try_metrics(recipe: Any, classes: int) -> None:
    for function in recipe.measures:
        try_metric(function, classes)


class MeasuredBagging(PatientBagging):
    """Bagging that also measures the whole predictor by functions of one's own, on validation and test images."""

    def __init__(self, recipe: Recipe[Any], functions: Mapping[str, Metric]) -> None:
        super().__init__(recipe)
        self.functions = {name: fresh(metric.function, recipe.device) for name, metric in functions.items()}
        self.measured: dict[str, torch.Tensor] = {}  # split -> probabilities [n, classes] of the epoch

    def _scores(self, epoch: int, split: Split) -> dict[str, Any]:
        result = super()._scores(epoch, split)
        self.measured[split] = result["probabilities"]
        return result

    def run_epoch(self) -> dict[str, Any]:
        self.measured = {}
        metrics = super().run_epoch()
        for split, short in _SHORT.items():
            if split not in self.measured:
                continue
            labels = labels_of(self.recipe.task, split)
            for name, function in self.functions.items():
                with seeded(self.settings.seed, 0, "measuring", self.epoch, self.recipe.device):  # a bootstrap draws
                    metrics[f"{short}_{name}"] = float(function(self.measured[split], labels))
        return metrics

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"metrics": states(self.functions)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        load_states(self.functions, state.get("metrics", {}), self.recipe.device)


_SHORT: dict[Literal["validation", "test"], str] = {"validation": "val", "test": "test"}


class Measured:
    """Strategy of `MeasuredBagging`."""

    def __init__(self, functions: Mapping[str, Metric]) -> None:
        self.functions = functions

    def __call__(self, recipe: Recipe[Any]) -> MeasuredBagging:
        return MeasuredBagging(recipe, self.functions)

    def trial_epochs(self, settings: Settings) -> int:
        return PatientBagging.trial_epochs(settings)

    def work(self, settings: Settings, task: Task) -> tuple[int, int]:
        return PatientBagging.work(settings, task)


def image_trainable(
    make_network: MakeNetwork | str | Sequence[str],
    *,
    loss: Loss | None = None,
    metrics: Mapping[str, Metric | Callable[[torch.Tensor, torch.Tensor], Any]] | None = None,
    augment: Augment | None = None,
    normalize: bool = True,
    channels_last: bool = False,
) -> type[ImageTrainable]:
    """Return a trainable, for `Study(trainable=...)`, that trains the network of a function.

    make_network   function or nn.Module class that takes `classes`, and `channels` (1 or 3) and `size` (pixels a side)
                   if it wants them, and whose other arguments are hyperparameters with a default and, by annotation, a
                   type (int, float, bool, str, Literal, any of these | None) and `Bounds`. Or the name of a model of
                   torchvision ("resnet18") or timm ("timm:resnet18"), or several: then `model` is a hyperparameter
    loss           loss(logits [n, classes], labels [n]) -> [n], e.g. a function of torch.nn.functional or
                   nn.CrossEntropyLoss(reduction="none"); default: cross-entropy. `val_loss` and `test_loss` are the
                   negative log-likelihood whatever the loss
    metrics        name -> function(probabilities [n, classes], labels [n]) -> number, or a `Metric` that says which
                   direction is better; reported as val_NAME after each epoch and test_NAME after the last
    augment        augment(images uint8 [n, c, h, w], generator) -> images, uint8 or float32 from 0 to 1 (noise may go
                   beyond), in training only
    normalize      subtract the training set's channel means and divide by its standard deviations (validation images
                   included)
    channels_last  lay images and weights out channels last, which is faster, but `Tensor.view` may then fail

    A loss, metric or augmentation that is an object is copied for each trial; a loss or augmentation, for each member.
    What calls change in it goes on after a restore if it has a `state_dict`, as modules have.

    Raises ValueError if an argument cannot be used.
    """
    make = _stock(make_network) if isinstance(make_network, str | Sequence) else make_network
    if not callable(make):
        raise ValueError(f"make_network must be a function, an nn.Module class or a model's name, got {make!r:.80}")
    functions = {"make_network": make, "loss": loss, "augment": augment}
    measured = {name: _metric(name, given) for name, given in (metrics or {}).items()}
    given = (*functions.values(), *(metric.function for metric in measured.values()))
    used = [each for each in given if each is not None]
    for function in used:
        if not callable(function):
            raise ValueError(f"loss, metrics and augment must be functions, got {function!r:.80}")
        if name_of(function) == "<lambda>":
            raise ValueError("a function must be written with def, so that a run knows when it changes, got a lambda")
    inner = unbound(loss)
    if isinstance(inner, nn.Module) and (names := [name for name, p in inner.named_parameters() if p.requires_grad]):
        raise ValueError(
            f"a loss must have no parameters to train, since only the network's are trained, got {name_of(loss)} with "
            f"{', '.join(names)}: make them buffers, or parts of the network"
        )
    takes, fields = _arguments(make)
    title = name_of(make)
    settings_type = dataclasses.make_dataclass(
        f"{title}_settings", fields, bases=(NetworkSettings,), frozen=True, kw_only=True
    )
    recipe = type(
        f"{title}_recipe",
        (NetworkRecipe,),
        {
            "settings_type": settings_type,
            "make": staticmethod(make),
            "takes": takes,
            "own": tuple(name for name, _, _ in fields),
            "loss": None if loss is None else staticmethod(loss),
            "reduces": loss is not None and _reduces(loss),
            "augment": None if augment is None else staticmethod(augment),
            "measures": tuple(metric.function for metric in measured.values()),
            "normalize": normalize,
            "memory_format": torch.channels_last if channels_last else torch.contiguous_format,
        },
    )
    try:
        settings_type()
    except SettingError as error:
        raise ValueError(f"{title}: a default is wrong: {error}") from None
    own_columns = tuple(
        columns.metric(
            f"{short}_{name}",
            metric.meaning or f"{name_of(metric.function)} of the whole predictor on {images} images.",
            measured_on=images,
            better=metric.better,
            unit=columns.FRACTION if name.endswith("accuracy") else "",  # readers see such a one in percent
            low=metric.low,
            high=metric.high,
            needs=("validation",) if short == "val" else (),
        )
        for name, metric in measured.items()
        for images, short in _SHORT.items()
    )
    strategy = Measured(measured) if measured else PatientBagging
    body = {
        "__doc__": f"Train the network that {title} returns.",
        "recipe": recipe,
        "strategy": strategy,
        "metrics": own_columns,
        "made_of": tuple(map(code_of, used)),
        # Not in the source of these functions; the models' names decide the trainable's name or are a hyperparameter.
        "bound": {
            **({} if make is not make_network else {"make_network": make}),
            **{name: given for name, given in (("loss", loss), ("augment", augment)) if given is not None},
            **{f"metrics {name}": metric.function for name, metric in measured.items()},
            **({} if normalize else {"normalize": False}),
            **({"channels_last": True} if channels_last else {}),
        },
    }
    return type(title, (ImageTrainable,), body)


def _metric(name: str, given: Any) -> Metric:
    return given if isinstance(given, Metric) else Metric(given)


def _reduces(loss: Loss) -> bool:
    try:
        return "reduction" in inspect.signature(loss).parameters
    except ValueError:  # written in C
        return False


def _arguments(make: MakeNetwork) -> tuple[tuple[str, ...], list[tuple[str, Any, Any]]]:
    """Return which of OF_THE_DATA the function takes, and a dataclass field for each hyperparameter."""
    title, bare = name_of(make), unbound(make)
    parameters = inspect.signature(make).parameters
    annotated: Any = bare if hasattr(bare, "__qualname__") else type(bare).__call__
    if isinstance(bare, type):
        # As inherited: a class without one of its own has the annotations of its base's.
        annotated = next((vars(each)["__init__"] for each in bare.__mro__[:-1] if "__init__" in vars(each)), None)
    hints = typing.get_type_hints(annotated, include_extras=True) if annotated else {}
    if "classes" not in parameters:
        raise ValueError(
            f"{title} must take `classes`, the number of classes, got the arguments {', '.join(parameters)}"
        )
    fields = []
    for name, parameter in parameters.items():
        if name in OF_THE_DATA:
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise ValueError(
                f"{title} must name each hyperparameter with its default, e.g. width: int = 32, got {parameter}"
            )
        if name in NetworkSettings.hints:
            raise ValueError(f"{title}: {name} is a hyperparameter of the training, give the network's another name")
        if name in (TRIAL, RESTORE):
            raise ValueError(f"{title}: {name} belongs to the search, give the hyperparameter another name")
        if parameter.default is parameter.empty:
            raise ValueError(f"{title}: {name} must have a default, e.g. {name}: int = 32, got none")
        fields.append((name, *_field(f"{title}: {name}", hints.get(name, type(parameter.default)), parameter.default)))
    return tuple(name for name in OF_THE_DATA if name in parameters), fields


def _field(told: str, hint: Any, default: Any) -> tuple[Any, Any]:
    """Return a hyperparameter's type and dataclass field, from its annotation and default."""
    metadata: dict[str, float] = {}
    if typing.get_origin(hint) is typing.Annotated:
        hint, *more = typing.get_args(hint)
        for each in more:
            if isinstance(each, Bounds):
                metadata = each._asdict()
    many = typing.get_origin(hint) in (typing.Union, types.UnionType)
    alternatives = typing.get_args(hint) if many else (hint,)
    plain = (int, float, bool, str, types.NoneType)
    if hint is types.NoneType or not all(each in plain or typing.get_origin(each) is Literal for each in alternatives):
        raise ValueError(
            f"{told} must be annotated int, float, bool, str, Literal[...] or any of these | None, got {hint!r:.80}"
        )
    if type(default) is int and float in alternatives and int not in alternatives:
        default = float(default)
    return hint, dataclasses.field(default=default, metadata=metadata)


# torchvision's and timm's models.


def _stock(names: str | Sequence[str]) -> MakeNetwork:
    """Return a function that makes the models of these names, with `model` as a hyperparameter. Raises ValueError."""
    wanted = (names,) if isinstance(names, str) else tuple(names)
    if not wanted or not all(isinstance(name, str) for name in wanted):
        raise ValueError(f"models must be named by text, got {names!r:.80}")
    for name in wanted:
        _require_model(name)

    def stock(classes: int, channels: int, size: int, model: str = wanted[0]) -> nn.Module:
        return stock_network(model, classes, channels, size)

    stock.__annotations__ = {**stock.__annotations__, "model": Literal[wanted]}
    stock.__name__ = stock.__qualname__ = wanted[0].replace(":", "_") if len(wanted) == 1 else "stock_models"
    return stock


def _require_model(name: str) -> None:
    if name.startswith(TIMM):
        try:
            timm = importlib.import_module("timm")
        except ModuleNotFoundError:
            raise ValueError(f"{name} needs timm, which is not installed: pip install timm") from None
        known = timm.list_models()
        plain = name.removeprefix(TIMM).partition(".")[0]
    else:
        models = importlib.import_module("torchvision.models")
        known, plain = models.list_models(module=models), name  # a submodule's models are of another task
        if plain not in known and plain in models.list_models():
            raise ValueError(f"a network that classifies images in float32 required, got torchvision's {name}")
    if plain not in known:
        close = difflib.get_close_matches(plain, known, n=3)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        where = "timm" if name.startswith(TIMM) else "torchvision"
        raise ValueError(f"a model of {where} required, got {name!r}: {hint}its list_models() names all")


def stock_network(name: str, classes: int, channels: int, size: int) -> nn.Module:
    """Return a model of torchvision or timm, with random weights, for these images."""
    if name.startswith(TIMM):
        timm = importlib.import_module("timm")
        sized = {"img_size": size} if "vit" in name or "swin" in name or "mixer" in name else {}
        network: nn.Module = timm.create_model(
            name.removeprefix(TIMM), pretrained=False, num_classes=classes, in_chans=channels, **sized
        )
        return network
    models = importlib.import_module("torchvision.models")
    more: dict[str, Any] = {"image_size": size} if name.startswith("vit_") else {}
    if name in ("inception_v3", "googlenet"):
        more |= {"aux_logits": False, "init_weights": True}
    network = models.get_model(name, weights=None, num_classes=classes, **more)
    if channels != 3:
        place, first = next((at, each) for at, each in network.named_modules() if isinstance(each, nn.Conv2d))
        network.set_submodule(
            place,
            nn.Conv2d(
                channels,
                first.out_channels,
                first.kernel_size,  # type: ignore[arg-type]
                first.stride,  # type: ignore[arg-type]
                first.padding,  # type: ignore[arg-type]
                first.dilation,  # type: ignore[arg-type]
                bias=first.bias is not None,
            ),
        )
    return network
