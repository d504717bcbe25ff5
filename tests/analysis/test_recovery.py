import numpy as np
import pytest

from analysis import evidence_tables, recovery
from analysis.load import ResultsError, load
from search import columns

PRINTED = {"sgd": (0.2, 0.4, 0.5), "adam": (0.5, 0.6, 0.65)}
# What the seeds of a replay are off by, in points.
SEEDS = {"sgd": (1.0, -1.0, 0.6), "adam": (0.5, -0.5, 0.3)}


@pytest.fixture
def load_recovery(make_results, make_reported, tmp_path):
    """load_recovery(replayed=...) -> a recovery of rate and momentum beside the replay of both curves, three seeds."""

    def build(replayed=("sgd", "adam")):
        own = [
            columns.metric(f"{name}_test_accuracy", "Of the network.", measured_on="test", better="max")
            for name in PRINTED
        ]
        search = make_results(
            study="recover",
            run="recover",
            protocol="recovery",
            metric="curve_distance",
            mode="min",
            source="note B, question 2",
            space={"lr": "(0.0001, 0.1) log", "momentum": "[0.0, 0.9]"},
            metrics=columns.as_json(own),
        )
        # The same ratio, another one, and one that only Adam's curve does not mind.
        for lr, momentum, sgd, adam in ((0.01, 0.0, 0.01, 0.1), (0.05, 0.0, 0.2, 0.3), (0.002, 0.9, 0.1, 0.004)):
            search.trial(
                protocol="recovery",
                curve_distance=(sgd + adam) / 2,
                sgd_test_accuracy=[x + sgd for x in PRINTED["sgd"]],
                adam_test_accuracy=[x - adam for x in PRINTED["adam"]],
                config={"lr": lr, "momentum": momentum},
            )
        folders = [search.write(tmp_path / "recover")]
        runs = [
            make_reported(
                run=f"B/{name}",
                arm=name,
                epochs=3,
                config={"optimizer": name},
                curve=tuple({"epoch": k + 1, "test_accuracy": x} for k, x in enumerate(PRINTED[name])),
            )
            for name in replayed
        ]
        replay = make_results(study="replay", run="replay", reported=runs, source="note B, question 2")
        for name in replayed:
            for seed, off in enumerate(SEEDS[name]):
                test = [x + off / 100 for x in PRINTED[name]]
                replay.trial(arm=name, seed=seed, protocol="replay", test=test, config={"lr": 0.001, "momentum": 0.9})
        return load([*folders, replay.write(tmp_path / "replay")])

    return build


def test_a_seed_is_held_against_a_seed(load_recovery):
    frame = recovery.distances(load_recovery()).set_index("which")
    assert frame.loc["replay, seed 0", ["sgd_distance", "adam_distance", "distance"]].tolist() == pytest.approx(
        [0.01, 0.005, 0.0075]
    )
    assert frame.loc["replay, seed 2", "lr / (1 - momentum)"] == pytest.approx(0.01)
    assert frame.loc["trial 0", ["sgd_distance", "adam_distance"]].tolist() == pytest.approx([0.01, 0.1])
    assert list(frame.index[:3]) == ["replay, seed 2", "replay, seed 0", "replay, seed 1"]


def test_a_curve_tells_what_the_settings_within_reach_share(load_recovery):
    told = recovery.told_apart(load_recovery()).set_index("curve")
    seeds = {k: np.array(PRINTED["sgd"]) + off / 100 for k, off in enumerate(SEEDS["sgd"])}
    assert told.loc["sgd", "limit"] == pytest.approx(recovery.limit(seeds, 3))
    assert told.loc["sgd", "apart"] < told.loc["sgd", "limit"] < 0.1
    assert "trial 0" in told.loc["sgd", "within"]
    assert "trial 1" not in told.loc["sgd", "within"]
    # SGD's curve knows the ratio only: rate and momentum each range over a factor of ten.
    sgd = told.loc["sgd"]
    assert (sgd["lr, least"], sgd["lr, most"], sgd["momentum, least"], sgd["momentum, most"]) == (0.001, 0.01, 0, 0.9)
    assert sgd[f"{recovery.STEP}, least"] == pytest.approx(sgd[f"{recovery.STEP}, most"])
    adam = told.loc["adam"]
    assert (adam["lr, least"], adam["lr, most"]) == (0.001, 0.002)
    assert np.isnan(adam["momentum, least"])  # Adam has none


def test_the_tables_of_the_readme(load_recovery):
    found = load_recovery()
    shown = evidence_tables.recovery_table(found)
    assert shown["which"].tolist().count("trial 0") == 1
    assert len(shown) == 6
    text = recovery.readable(recovery.told_apart(found)).set_index("curve").loc["sgd", "settings within that"]
    assert text == "lr 0.001 to 0.01; momentum 0 to 0.9; lr / (1 - momentum) 0.01 to 0.01"


def test_two_pairs_of_seeds_say_nothing():
    assert np.isnan(recovery.limit({0: np.array([0.1, 0.2])}, 2))


def test_without_a_replay_of_both_curves_a_recovery_cannot_be_read(load_recovery):
    with pytest.raises(ResultsError, match=r"beside a replay of note B's run with optimizer adam .*, got 0 such runs"):
        recovery.distances(load_recovery(replayed=("sgd",)))


def test_the_command(load_recovery, tmp_path, capsys):
    load_recovery()
    folders = [str(tmp_path / "recover"), str(tmp_path / "replay")]
    assert recovery.main(folders) == 0
    assert "what its curves determine" in capsys.readouterr().out
    assert recovery.main([*folders, "--trials"]) == 0
    assert "| replay, seed 0 |" in capsys.readouterr().out
    assert recovery.main(folders[1:]) == 2
    assert "needs the results of a recovery" in capsys.readouterr().err
