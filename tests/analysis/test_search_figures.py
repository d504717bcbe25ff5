"""What the pictures of a search show."""

import itertools

import pytest

from analysis import search_figures
from analysis.load import load

FIFTHS = ("worst", "2nd", "middle", "4th", "best")


def lines_by_colour(figure):
    """Return the lines of a parallel picture by their legend: each line's places on the rows, the metric's last."""
    found, lines = {}, []
    for drawn in figure.data:
        if drawn.showlegend:
            found[drawn.name.removesuffix(" fifth")] = lines
            continue
        lines = [[]]
        for place in drawn.x:
            lines.append([]) if place is None else lines[-1].append(place)
        lines = [line for line in lines if line]
    return found


@pytest.mark.parametrize(("trials", "mode"), [(5, "max"), (10, "max"), (10, "min"), (35, "max")])
def test_each_colour_of_the_parallel_picture_is_a_fifth_of_the_finished_trials(make_results, tmp_path, trials, mode):
    study = make_results(mode=mode, space={"lr": "(0.0001, 0.1) log"})
    for number in range(trials):
        study.trial(val=[0.1 + 0.8 * number / trials], test=0.3, config={"lr": 0.001 * (number + 1)})
    study.trial(val=[0.95], status="stopped", config={"lr": 0.05})
    searched = search_figures.Searched.of(load([study.write(tmp_path / "run")])[0])
    lines = lines_by_colour(search_figures.parallel(searched))
    assert {name: len(some) for name, some in lines.items()} == {"not finished": 1} | dict.fromkeys(FIFTHS, trials // 5)
    reached = [sorted(line[-1] for line in lines[name]) for name in FIFTHS]
    in_order = [*itertools.chain(*(reached if mode == "max" else reversed(reached)))]
    assert in_order == sorted(in_order)


@pytest.mark.parametrize("trials", [1, 2, 3, 10])
def test_trials_that_are_equally_good_are_in_the_middle(make_results, tmp_path, trials):
    study = make_results(space={"lr": "(0.0001, 0.1) log"})
    for number in range(trials):
        study.trial(val=[0.4], test=0.3, config={"lr": 0.001 * (number + 1)})
    study.trial(val=[0.9], status="stopped", config={"lr": 0.05})
    searched = search_figures.Searched.of(load([study.write(tmp_path / "run")])[0])
    lines = lines_by_colour(search_figures.parallel(searched))
    assert {name: len(some) for name, some in lines.items()} == {"not finished": 1, "middle": trials}
