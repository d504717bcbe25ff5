import pandas as pd
import pytest

from analysis import figures

NONE = pd.DataFrame(columns=["parameters", "val_accuracy", "test_accuracy"])


@pytest.mark.parametrize("sizes", [[3_048_220], [3_042_412, 3_048_220], [62_006, 44_000_000], [1000], [1, 10**9]])
def test_the_size_axis_is_labelled_on_both_sides_of_the_points(sizes):
    rows = pd.DataFrame({"parameters": sizes, "val_accuracy": 0.5, "test_accuracy": 0.5})
    axis = figures.pareto(rows, rows, NONE).layout.xaxis
    low, high = (10**end for end in axis.range)
    shown = [tick for tick in axis.tickvals if low < tick < high]
    assert min(shown) <= min(sizes) <= max(sizes) <= max(shown)
    assert axis.ticktext[0] == figures._short(axis.tickvals[0])


def test_without_points_there_are_no_labels():
    assert not figures.pareto(NONE, NONE, NONE).layout.xaxis.tickvals
