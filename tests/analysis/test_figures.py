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


def test_a_network_without_parameters_is_no_point_of_a_logarithmic_axis():
    rows = pd.DataFrame({"parameters": [0, 1000], "val_accuracy": 0.5, "test_accuracy": 0.5})
    assert 1000 in figures.pareto(rows, rows, NONE).layout.xaxis.tickvals


def test_without_points_there_are_no_labels():
    assert not figures.pareto(NONE, NONE, NONE).layout.xaxis.tickvals


def curve(epochs, arm="a", run="B/16", n=3):
    """Ours beside the note's, as `analysis.compare.curves` has them; one seed has no interval."""
    spread = 0.01 if n > 1 else float("nan")
    rows = [
        {"arm": arm, "run": run, "quantity": "test_accuracy", "epoch": e, "ours": e / 100, "n": n, "reported": e / 90}
        for e in range(1, epochs + 1)
    ]
    return pd.DataFrame(rows).assign(low=lambda x: x["ours"] - spread, high=lambda x: x["ours"] + spread)


@pytest.mark.parametrize("epochs", [1, 2, 3, 9, 10, 40])
def test_a_curve_is_seen_however_short(epochs):
    *band, ours, note = figures.curves(curve(epochs)).data
    few = epochs < 10
    # Few epochs have bars and marks; a band of one or two would be a sliver.
    assert [(one.fill, one.mode) for one in band] == ([] if few else [("toself", "lines")])
    assert ours.mode == ("lines+markers" if few else "lines")
    assert note.mode == "markers"
    assert ours.error_y.visible == few
    assert ours.error_y.array[0] == pytest.approx(0.01)


@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_few_epochs_are_counted_one_by_one_and_their_intervals_stand_side_by_side(epochs):
    both = pd.concat([curve(epochs), curve(epochs).assign(quantity="train_accuracy")])
    figure = figures.curves(both)
    assert figure.layout.xaxis.dtick == 1
    low, high = figure.layout.xaxis.range
    assert low < 1 <= epochs < high
    bars = [trace for trace in figure.data if trace.error_y.visible]
    assert not set(bars[0].x) & set(bars[1].x)
    assert [round(x) for x in bars[0].x] == list(range(1, epochs + 1))


def test_one_seed_has_no_interval_to_draw():
    ours, _ = figures.curves(curve(1, n=1)).data
    assert not ours.error_y.visible
    assert ours.mode == "lines+markers"


LINK = '<a href="http://x">click</a><b>'


def words(figure):
    """Every text that Plotly would draw, and read tags in."""
    for trace in figure.data:
        yield trace.name
        for text in (trace.text, trace.y if trace.orientation == "h" else None):
            if text is not None:
                yield from map(str, [text] if isinstance(text, str) else text)
    yield from (figure.layout.title.text, figure.layout.yaxis.title.text)


def test_names_are_drawn_as_they_are_not_as_tags():
    sizes = pd.DataFrame({"ensemble": LINK, "members": [1, 2], "test_accuracy": 0.5, "low": 0.4, "high": 0.6})
    sizes = sizes.assign(over=LINK, independent_test_accuracy=0.5)
    trust = sizes.assign(images="test", quantity="ece", value=0.1)
    losses = curve(3, arm=LINK, run=LINK).assign(unit=LINK)
    shares = pd.DataFrame({"hyperparameter": [LINK], "importance": 0.5, "low": 0.4, "high": 0.6})
    points = pd.DataFrame({"parameters": [1, 2], "val_accuracy": 0.5, "test_accuracy": 0.5, "arm": LINK})
    arms = pd.DataFrame(
        {"dataset": LINK, "by": ["ours", LINK], "parameters": [1, 2], "test_accuracy": 0.5, "arm": LINK}
    )
    drawn = [
        figures.curves(curve(3, arm=LINK, run=LINK)),
        figures.ensemble_sizes(sizes),
        figures.uncertainty(trust),
        figures.loss_curve(losses),
        figures.importance(shares),
        figures.pareto(points, points, points),
        figures.families(arms),
    ]
    for figure in drawn:
        text = [word for word in words(figure) if word]
        assert "&lt;a href=" in " ".join(text)
        assert not [word for word in text if "<" in word.replace("<br>", "")]
