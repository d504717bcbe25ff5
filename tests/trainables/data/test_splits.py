import hashlib

import numpy as np
import pytest

from trainables.data.splits import SPLIT_SEED, VALIDATION_IMAGES, split, stratified_subset, validation_size


def test_split_of_cifar_is_exactly_stratified() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(100), 500))
    train, validation = split(labels)
    assert (len(train), len(validation)) == (45_000, VALIDATION_IMAGES)
    assert (np.bincount(labels[validation]) == 50).all()
    assert (np.bincount(labels[train]) == 450).all()
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), np.arange(50_000))
    for indices in (train, validation):
        assert indices.dtype == np.int64
        assert (np.diff(indices) > 0).all()
    np.testing.assert_array_equal(split(labels, seed=SPLIT_SEED)[1], validation)
    assert not np.array_equal(split(labels, seed=1)[1], validation)


def test_the_projects_split_never_changes() -> None:
    _, validation = split(np.arange(1000) % 10, 100)
    digest = hashlib.sha256(validation.tobytes()).hexdigest()
    assert digest == "6c77791c67e4fdb520ee23c338cbc999ce41394ca117a62fcb7bd9d2cb8da0df"


def test_split_of_uneven_classes_rounds_by_largest_remainder() -> None:
    labels = np.repeat([0, 1, 2], [53, 24, 23])
    _, validation = split(labels, 10)  # shares 5.3, 2.4 and 2.3
    assert np.bincount(labels[validation]).tolist() == [5, 3, 2]


def test_a_class_never_gives_its_last_image() -> None:
    labels = np.repeat([0, 1, 2, 3], [1, 1, 1, 7])
    for images in range(7):
        train, validation = split(labels, images)
        assert len(validation) == images
        assert np.unique(labels[train]).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"0 to 6 .* so that each class keeps one, required of 10"):
        split(labels, 7)


@pytest.mark.parametrize("images", [-1, 100, 5000])
def test_impossible_split(images: int) -> None:
    with pytest.raises(ValueError, match=rf"0 to 99 .* of 100 images, got {images}"):
        split(np.zeros(100, np.int64), images)


def test_split_without_validation_keeps_every_image() -> None:
    train, validation = split(np.arange(100) % 10, 0)
    assert (len(train), len(validation)) == (100, 0)


def test_validation_size_is_a_tenth() -> None:
    assert validation_size(50_000) == VALIDATION_IMAGES
    assert validation_size(1_437) == 143
    with pytest.raises(ValueError, match="got 9"):
        validation_size(9)


def test_subsets_are_nested_and_stratified() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(100), 500))
    train, _ = split(labels)
    larger = train
    for images in (45_000, 4_000, 2_050, 2_000, 100):
        subset = stratified_subset(labels, train, images)
        assert len(subset) == images
        assert subset.dtype == np.int64
        assert (np.diff(subset) > 0).all()
        assert np.isin(subset, larger).all()
        counts = np.bincount(labels[subset], minlength=100)
        assert counts.min() == images // 100
        assert counts.max() == -(-images // 100)
        larger = subset
    np.testing.assert_array_equal(stratified_subset(labels, train[::-1], 100), larger)


def test_subsets_of_uneven_classes_are_nested_one_by_one() -> None:
    labels = np.repeat([0, 1, 2, 3], [60, 30, 9, 1])
    previous = np.array([], np.int64)
    for images in range(4, 101):
        subset = stratified_subset(labels, np.arange(100), images)
        assert np.isin(previous, subset).all()
        counts = np.bincount(labels[subset], minlength=4)
        assert counts.min() >= 1
        assert np.abs(counts - images * np.array([60, 30, 9, 1]) / 100).max() < 2
        previous = subset


@pytest.mark.parametrize("images", [9, 51])
def test_impossible_subset(images: int) -> None:
    labels = np.arange(100) % 10
    with pytest.raises(ValueError, match=rf"10 \(one a class\) to 50 \(all\) .* got {images}"):
        stratified_subset(labels, np.arange(50), images)
