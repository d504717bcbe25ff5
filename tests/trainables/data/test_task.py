import dataclasses
import warnings

import numpy as np
import pytest
import torch

from trainables.data.task import DeviceData, Task
from trainables.training.settings import SettingError, Settings


@pytest.fixture(scope="module")
def data(digits):
    return DeviceData(digits)


def counts(labels: torch.Tensor) -> np.ndarray:
    return np.bincount(labels.numpy(), minlength=10)


def test_training_and_validation_images_are_disjoint_stratified_and_all(data):
    task = Task.of(data, Settings())
    assert (len(task.train), len(task.validation), len(task.test)) == (270, 30, 50)
    assert sorted([*task.train.tolist(), *task.validation.tolist()]) == list(range(300))
    share = counts(data.train_labels) / 10
    assert np.abs(counts(data.train_labels[task.validation]) - share).max() < 1
    assert task.test.tolist() == list(range(50))


def test_the_split_is_the_projects_and_not_the_trials(data):
    one, other = Task.of(data, Settings(seed=0)), Task.of(data, Settings(seed=1, members=3, bootstrap=True))
    assert torch.equal(one.train, other.train)
    assert torch.equal(one.validation, other.validation)


def test_a_protocol_without_validation_trains_on_everything(data):
    task = Task.of(data, Settings(validation=False))
    assert task.train.tolist() == list(range(300))
    assert task.validation.shape == (0,)
    assert task.validation.dtype == torch.int64


@pytest.mark.parametrize("validation", [True, False])
def test_fewer_images_are_a_stratified_part_of_the_training_split(data, validation):
    whole = Task.of(data, Settings(validation=validation))
    few = Task.of(data, Settings(validation=validation, train_images=100, test_images=20))
    assert (len(few.train), len(few.test)) == (100, 20)
    assert set(few.train.tolist()) < set(whole.train.tolist())
    assert len(set(few.train.tolist())) == 100
    assert torch.equal(few.validation, whole.validation)
    share = counts(data.train_labels[whole.train]) * 100 / len(whole.train)
    assert np.abs(counts(data.train_labels[few.train]) - share).max() <= 1
    assert counts(data.test_labels[few.test]).min() >= 1


@pytest.mark.parametrize("name", ["train_images", "test_images"])
@pytest.mark.parametrize("images", [9, 1000])
def test_too_few_or_too_many_images_are_told_in_one_line(data, name, images):
    available = 270 if name == "train_images" else 50
    message = f"{name}: 10 (one a class) to {available} (all) images required of a subset, got {images}"
    with pytest.raises(SettingError) as error:
        Task.of(data, Settings(**{name: images}))
    assert str(error.value) == message


def test_a_data_set_on_the_cpu_is_a_view_without_a_copy(digits):
    shared = np.asarray(digits.train_images)
    shared.setflags(write=False)  # as Ray's object store hands arrays out
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = DeviceData(digits)
    assert data.train_images.data_ptr() == digits.train_images.ctypes.data
    assert (data.name, data.classes) == ("digits", 10)


def test_statistics_are_those_of_the_training_images(digits, data):
    images = digits.train_images / 255
    assert data.mean.shape == data.std.shape == (3, 1, 1)
    np.testing.assert_allclose(data.mean.flatten().numpy(), images.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(data.std.flatten().numpy(), images.std((0, 2, 3)), rtol=1e-6)


def test_a_channel_of_one_value_everywhere_becomes_zero(digits):
    images = digits.train_images.repeat(3, axis=1) if digits.channels == 1 else digits.train_images.copy()
    images[:, 2] = 7
    data = DeviceData(dataclasses.replace(digits, train_images=images, test_images=images[:9]))
    floats = (data.train_images.float() / 255 - data.mean) / data.std
    assert floats.isfinite().all()
    assert floats[:, 2].abs().max() < 0.1
