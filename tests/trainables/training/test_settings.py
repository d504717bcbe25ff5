import dataclasses
from typing import Literal

import numpy as np
import pytest
import torch

from trainables.alexnet import AlexNetSettings
from trainables.pretrained import PretrainedSettings
from trainables.training.settings import SettingError, Settings


def test_a_configuration_becomes_settings_and_the_rest_keeps_its_default():
    settings = AlexNetSettings.from_config({"lr": 0.06, "members": 9, "augmentation": "cached", "shuffle": False})
    expected = dataclasses.replace(AlexNetSettings(), lr=0.06, members=9, augmentation="cached", shuffle=False)
    assert settings == expected
    assert settings.dropout == 0.5


def test_a_family_has_the_shared_hyperparameters_and_may_change_their_default():
    assert {field.name for field in dataclasses.fields(Settings)} < {
        field.name for field in dataclasses.fields(AlexNetSettings)
    }
    assert (Settings().decay, AlexNetSettings().decay) == ("constant", "exponential")


def test_an_unknown_name_is_told_with_the_known_ones():
    known = ", ".join(sorted(field.name for field in dataclasses.fields(AlexNetSettings)))
    message = f"unknown hyperparameter 'learning_rate'; this trainable takes {known}"
    with pytest.raises(SettingError) as error:
        AlexNetSettings.from_config({"lr": 0.1, "learning_rate": 0.1})
    assert str(error.value) == message
    with pytest.raises(SettingError) as error:
        AlexNetSettings.parse("learning_rate", "0.1")
    assert str(error.value) == message


REFUSED = [
    ("lr", 0, "lr must be a number above 0, got 0.0"),
    ("lr", float("nan"), "lr must be a number above 0, got nan"),
    ("lr", float("inf"), "lr must be a number above 0, got inf"),
    ("lr", "fast", "lr must be a number above 0, got 'fast'"),
    ("lr", None, "lr must be a number above 0, got None"),
    ("lr", True, "lr must be a number above 0, got True"),
    ("momentum", 1.5, "momentum must be a number from 0 to 1, got 1.5"),
    ("dropout", 1.0, "dropout must be a number from 0 to 0.99, got 1.0"),
    ("dropout", -0.1, "dropout must be a number from 0 to 0.99, got -0.1"),
    ("weight_decay", -1e-4, "weight_decay must be a number of at least 0, got -0.0001"),
    ("members", 0, "members must be a whole number of at least 1, got 0"),
    ("members", 2.0, "members must be a whole number of at least 1, got 2.0"),
    ("members", True, "members must be a whole number of at least 1, got True"),
    ("seed", -1, "seed must be a whole number of at least 0, got -1"),
    ("batch_size", [16, 32], "batch_size must be a whole number of at least 1, got [16, 32]"),
    ("train_images", 0, "train_images must be a whole number or None of at least 1, got 0"),
    ("shuffle", 1, "shuffle must be true or false, got 1"),
    ("shuffle", None, "shuffle must be true or false, got None"),
    ("vote", "loud", "vote must be one of 'hard', 'soft', got 'loud'"),
    ("decay", None, "decay must be one of 'constant', 'exponential', 'cosine', got None"),
    ("augmentation", False, "augmentation must be one of 'none', 'real-time', 'cached', got False"),
]


@pytest.mark.parametrize(("name", "value", "message"), REFUSED)
def test_an_ill_typed_or_out_of_range_value_is_told_in_one_line(name, value, message):
    with pytest.raises(SettingError) as error:
        AlexNetSettings.from_config({name: value})
    assert str(error.value) == message


@dataclasses.dataclass(frozen=True, kw_only=True)
class SettingsOfChoices(Settings):
    width: Literal[1, 2] = 1


def test_a_choice_of_numbers_is_not_one_of_truths():
    assert SettingsOfChoices.parse("width", "2") == 2
    for value in (True, 1.0, 3):
        with pytest.raises(SettingError, match=rf"^width must be one of 1, 2, got {value}$"):
            SettingsOfChoices.from_config({"width": value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", np.float64(0.001)),
        ("lr", np.float32(0.5)),
        ("lr", np.int64(1)),
        ("members", np.int64(3)),
        ("shuffle", np.bool_(False)),
        ("decay", np.str_("cosine")),
        ("dropout", torch.tensor(0.25)),
        ("train_images", np.array(100)),
    ],
)
def test_numbers_of_numpy_and_torch_are_plain_ones(name, value):
    plain = getattr(AlexNetSettings.from_config({name: value}), name)
    assert plain == value
    assert type(plain) in (int, float, bool, str)


@pytest.mark.parametrize("value", ["a\0b", "\udc80", "\x1b[31m", "a\nb"])
def test_text_that_no_table_can_hold_is_refused(value):
    with pytest.raises(SettingError, match="weights must be text without control characters and surrogates"):
        PretrainedSettings.from_config({"weights": value})


def test_limits_belong_to_the_range():
    settings = AlexNetSettings.from_config({"dropout": 0.99, "momentum": 1, "members": 1, "seed": 0, "jitter": 0})
    assert (settings.dropout, settings.momentum, settings.jitter) == (0.99, 1.0, 0.0)


@pytest.mark.parametrize("value", [None, "none", "None"])
def test_none_means_all_images(value):
    assert AlexNetSettings.from_config({"train_images": value}).train_images is None


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("lr", "0.03", 0.03),
        ("lr", "1", 1.0),
        ("lr", "3e-2", 0.03),
        ("members", "12", 12),
        ("bootstrap", "true", True),
        ("bootstrap", "False", False),
        ("train_images", "30000", 30_000),
        ("train_images", "none", None),
        ("train_images", "None", None),
        ("augmentation", "none", "none"),
        ("augmentation", "real-time", "real-time"),
        ("decay", "cosine", "cosine"),
    ],
)
def test_text_of_a_command_line_is_read_as_its_type(name, text, value):
    found = AlexNetSettings.parse(name, text)
    assert found == value
    assert type(found) is type(value)
    assert getattr(AlexNetSettings.from_config({name: found}), name) == value


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("lr", "none", "lr must be a number above 0, got 'none'"),
        ("lr", "nan", "lr must be a number above 0, got nan"),
        ("dropout", "2", "dropout must be a number from 0 to 0.99, got 2.0"),
        ("members", "2.5", "members must be a whole number of at least 1, got 2.5"),
        ("bootstrap", "1", "bootstrap must be true or false, got 1"),
        ("bootstrap", "yes", "bootstrap must be true or false, got 'yes'"),
        ("decay", "linear", "decay must be one of 'constant', 'exponential', 'cosine', got 'linear'"),
    ],
)
def test_text_that_means_no_such_value_is_told_in_one_line(name, text, message):
    with pytest.raises(SettingError) as error:
        AlexNetSettings.parse(name, text)
    assert str(error.value) == message


def test_a_search_tests_on_plain_images():
    assert AlexNetSettings.from_config({"test_augmented": True, "validation": False}).test_augmented
    message = "test_augmented must be false if validation is true, got True: a search tests on plain images; "
    with pytest.raises(SettingError, match=message + "set validation=false"):
        AlexNetSettings.from_config({"test_augmented": True})
