"""Declare and check hyperparameters: every one has a type, a default and a range.

A family declares its hyperparameters as a frozen dataclass. Types are plain (`int`, `float`, `bool`, `str`,
a `Literal` of choices, or any of these `| None`); ranges are given with `number`. A configuration, a
`--set name=value` and a search space are all checked against this class, before anything starts.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from search.records import plain, writable_text

PLAIN = "plain"
Engine = Literal["plain", "bf16", "compile", "bf16+compile", "fuse", "fuse+bf16", "fuse+compile", "fuse+bf16+compile"]
ENGINES: tuple[str, ...] = typing.get_args(Engine)


class SettingError(ValueError):
    """A hyperparameter that is unknown, ill-typed or out of range; the message is one line."""


def number(default: float | None, *, low: float = -math.inf, high: float = math.inf, above: float = -math.inf) -> Any:
    """Return a dataclass field with low <= value <= high and value > above."""
    return dataclasses.field(default=default, metadata={"low": low, "high": high, "above": above})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Hyperparameters that every family has.

    `momentum` is SGD's: Adam uses PyTorch's own betas. `label_smoothing` is the share of the target that goes,
    in equal parts, to the wrong classes. The rate rises linearly in the first `warmup_epochs`, then decays.
    `engine` says how a step is executed, see trainables.training.engine. `evaluation` is the precision of measurements
    after an epoch: "bf16" is faster, but its figures are not those of float32 weights; it also decides how AdaBoost
    weighs images.

    The six fields from `train_images` on say how a run is measured (its protocol): a search holds out a validation set
    and looks at the test set once, at the last epoch; a replay measures as the reported run did. `train_measure` says
    which training accuracy is reported: the epoch's own ("running": dropout on, augmented, weights in motion), or the
    vote's after the epoch, on the training images as they are ("after") or as the network was given them ("augmented").
    The vote's is measured after the first epoch, the last, and every `train_measure_every`; the running one is recorded
    in any case. `test_augmented` augments the test images like the training images, drawn anew each epoch from a
    generator of their own; it is refused if there is a validation set, since a search tests on plain images.
    """

    seed: int = number(0, low=0)
    epochs: int = number(20, low=1)
    batch_size: int = number(32, low=1)
    lr: float = number(0.03, above=0)
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: float = number(0.0, low=0, high=1)
    weight_decay: float = number(0.0, low=0)
    label_smoothing: float = number(0.0, low=0, high=0.5)
    members: int = number(1, low=1)
    decay: Literal["constant", "exponential", "cosine"] = "constant"
    warmup_epochs: int = number(0, low=0)
    shuffle: bool = True
    vote: Literal["hard", "soft"] = "hard"
    bootstrap: bool = False
    engine: Engine = "plain"
    evaluation: Literal["float32", "bf16"] = "float32"
    train_images: int | None = number(None, low=1)
    test_images: int | None = number(None, low=1)
    validation: bool = True
    test_every_epoch: bool = False
    train_measure: Literal["running", "after", "augmented"] = "running"
    train_measure_every: int = number(1, low=1)
    test_augmented: bool = False

    hints: ClassVar[dict[str, Any]]
    pretrained: ClassVar[bool] = False  # whether a hyperparameter `weights` names the folder of pretrained weights

    def __init_subclass__(cls) -> None:
        # Resolved now, while the module that holds the annotations is at hand: a worker has no space file's module.
        cls.hints = typing.get_type_hints(cls)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field, type(self), getattr(self, field.name))
        if self.test_augmented and self.validation:
            raise SettingError(
                "test_augmented must be false if validation is true, got True: a search tests on plain images; "
                "set validation=false, as a replay does"
            )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return the settings of a configuration. Raises SettingError for an unknown name, a wrong type or range."""
        names = {field.name for field in dataclasses.fields(cls)}
        for name in config:
            if name not in names:
                raise SettingError(unknown(name, names))
        return cls(**{name: _widened(cls, name, value) for name, value in config.items()})

    def without_weights(self) -> Self:
        """Return the settings of the same network without the pretrained weights that its training began with."""
        return self

    @classmethod
    def column_types(cls) -> dict[str, str]:
        """Return the type of every hyperparameter's column in trials.parquet, as Arrow names it."""
        return {field.name: _column_type(cls.hints[field.name]) for field in dataclasses.fields(cls)}

    @classmethod
    def checked(cls, name: str, value: Any) -> Any:
        """Return one hyperparameter's value as its writer meant it.

        Raises SettingError for an unknown name, a wrong type or range. Values of other hyperparameters, also defaults,
        play no part.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        if name not in fields:
            raise SettingError(unknown(name, fields))
        value = _widened(cls, name, value)
        _check(fields[name], cls, value)
        return value

    @classmethod
    def parse(cls, name: str, text: str) -> Any:
        """Return the value that `name=text` on a command line means. Raises SettingError."""
        return cls.checked(name, _literal(text))


def unknown(name: str, known: typing.Iterable[str]) -> str:
    return f"unknown hyperparameter {name!r}; this trainable takes {', '.join(sorted(known))}"


def _literal(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words and text.lower() != "none":
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _alternatives(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return typing.get_args(hint)
    return (hint,)


def _column_type(hint: Any) -> str:
    kinds: set[type] = set()
    for alternative in _alternatives(hint):
        if typing.get_origin(alternative) is Literal:
            kinds |= {type(choice) for choice in typing.get_args(alternative)}
        elif alternative is not type(None):
            kinds.add(alternative)
    if kinds == {bool}:
        return "bool"
    if kinds == {int}:
        return "int64"
    return "float64" if kinds <= {int, float} else "string"


def _widened(cls: type[Settings], name: str, value: Any) -> Any:
    """Return the value that its writer meant: an int for a float, NumPy's numbers, "none" for None."""
    value = plain(value)
    alternatives = _alternatives(cls.hints[name])
    if type(value) is int and float in alternatives and int not in alternatives:
        return float(value)
    if isinstance(value, str) and value.lower() == "none" and type(None) in alternatives:
        return None
    return value


def _wanted(hint: Any, metadata: Mapping[str, float]) -> str:
    words = []
    for alternative in _alternatives(hint):
        if typing.get_origin(alternative) is Literal:
            words.append("one of " + ", ".join(map(repr, typing.get_args(alternative))))
        elif alternative is type(None):
            words.append("None")
        else:
            words.append({int: "a whole number", float: "a number", bool: "true or false", str: "text"}[alternative])
    text = " or ".join(words)
    low, high, above = (metadata.get(key, default) for key, default in _LIMITS)
    if above != -math.inf:
        text += f" above {above:g}"
    if low != -math.inf and high != math.inf:
        text += f" from {low:g} to {high:g}"
    elif low != -math.inf:
        text += f" of at least {low:g}"
    return text


_LIMITS = (("low", -math.inf), ("high", math.inf), ("above", -math.inf))


def _fits(hint: Any, value: Any) -> bool:
    for alternative in _alternatives(hint):
        if typing.get_origin(alternative) is Literal:
            # 1 == True, so that equality alone would accept a bool as a choice among numbers.
            if any(value == choice and type(value) is type(choice) for choice in typing.get_args(alternative)):
                return True
        elif type(value) is alternative:
            return True
    return False


def _check(field: dataclasses.Field[Any], cls: type[Settings], value: Any) -> None:
    hint = cls.hints[field.name]
    low, high, above = (field.metadata.get(key, default) for key, default in _LIMITS)
    fits = _fits(hint, value)
    if fits and isinstance(value, (int, float)) and not isinstance(value, bool):
        fits = low <= value <= high and value > above and math.isfinite(value)
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise SettingError(f"{field.name} must be a whole number of at most 64 bits, got {value!r:.80}")
    if isinstance(value, str) and not writable_text(value):
        raise SettingError(f"{field.name} must be text without control characters and surrogates, got {value!r}")
    if not fits:
        raise SettingError(f"{field.name} must be {_wanted(hint, field.metadata)}, got {value!r}")


Settings.hints = typing.get_type_hints(Settings)
