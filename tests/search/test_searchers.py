"""Suggestions come from Optuna, know how each trial ended, and are the same after a restart."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from ray import tune
from ray.tune.search import Searcher

from search.journal import Journal, TrialLog
from search.searchers import Listed, OptunaProposals, StudySearcher, make_proposals, trial_seed
from search.study import Study, StudyError

Make = Callable[..., Study]
EPOCHS = 3


@pytest.fixture
def make_study(toy: Study) -> Make:
    space = {
        "quality": tune.uniform(0.1, 0.9),
        "lr": tune.loguniform(1e-3, 1e-1),
        "members": tune.randint(1, 9),
        "switch": tune.choice([None, False, True]),
        "momentum": 0.9,
    }

    def make(**changes: Any) -> Study:
        return dataclasses.replace(toy, **{"param_space": space, **changes})

    return make


@pytest.fixture
def two_goals(make_study: Make) -> Study:
    return make_study(objectives={"parameters": "min"})


def ending_of(number: int) -> str | None:
    return ("completed", "stopped", "completed", "diverged", "stopped", "completed", "failed")[number % 7]


def report_all(proposals: OptunaProposals, journal: Journal, number: int, status: str | None) -> None:
    """What the driver does with a trial from its first result to its end; None leaves it running after 2 epochs."""
    config = journal.trials[number].config
    last = {"completed": EPOCHS, "failed": 1}.get(status or "", 2)
    for epoch in range(1, last + 1):
        accuracy = config["quality"] * epoch / (1 + epoch) + (0.1 if config["switch"] else 0.0)
        result: dict[str, Any] = {"epoch": epoch, "total_epochs": EPOCHS, "val_accuracy": accuracy}
        result["parameters"] = 1000 * config["members"]
        if status == "diverged" and epoch == last:
            result |= {"val_accuracy": float("nan"), "diverged": "loss is nan", "done": True}
        proposals.report(number, result)
        journal.append("result", number, result=result)
    if status is not None:
        journal.append("end", number, status=status, error=None)
        proposals.end(number, status, journal.trials[number].last)


def suggest(proposals: OptunaProposals, journal: Journal, number: int) -> dict[str, Any]:
    config, arm, state = proposals.propose(number)
    journal.append("suggest", number, name=f"{number:04d}", config=config, arm=arm, state=state)
    return config


def search(study: Study, searcher: str, journal: Journal, trials: int, samples: int = 40) -> OptunaProposals:
    """A search of `trials` trials with endings of every kind, two side by side."""
    proposals = make_proposals(study, searcher, samples, seed=3)
    assert isinstance(proposals, OptunaProposals)
    suggest(proposals, journal, 0)
    for number in range(trials):
        if number + 1 < trials:
            suggest(proposals, journal, number + 1)
        report_all(proposals, journal, number, ending_of(number))
    return proposals


# What Optuna is told


STATES = {
    "completed": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "diverged": TrialState.FAIL,
    "failed": TrialState.FAIL,
}


def test_optuna_is_told_how_each_trial_ended(make_study: Make, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    trials = search(make_study(), "tpe", journal, 14).study.trials
    assert [trial.state for trial in trials] == [STATES[ending_of(number) or ""] for number in range(14)]
    for trial in trials:
        values = [result["val_accuracy"] for result in journal.trials[trial.number].results.values()]
        measured = {epoch: value for epoch, value in enumerate(values, 1) if value is not None}
        assert trial.intermediate_values == measured
        if trial.state == TrialState.COMPLETE:
            assert trial.values == [values[-1]]
    # A stopped trial stands for what it reached, not for what it would have.
    assert trials[1].intermediate_values.keys() == {1, 2}


def test_with_two_objectives_a_stopped_trial_is_in_no_front(two_goals: Study, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    study = search(two_goals, "tpe", journal, 21).study
    assert [trial.state for trial in study.trials] == [STATES[ending_of(number) or ""] for number in range(21)]
    assert {trial.number for trial in study.best_trials} <= {n for n in range(21) if ending_of(n) == "completed"}
    for trial in study.trials:
        if trial.state == TrialState.COMPLETE:
            last = journal.trials[trial.number].last
            assert trial.values == [last["val_accuracy"], last["parameters"]]


def test_optuna_says_nothing_while_it_works(
    two_goals: Study, tmp_path: Path, recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]
) -> None:
    search(two_goals, "tpe", Journal(tmp_path), 14)
    # A journal that an earlier test left open is collected here.
    assert [str(warning.message) for warning in recwarn if warning.category is not ResourceWarning] == []
    assert capfd.readouterr() == ("", "")


# The same suggestions after a restart


SEARCHES = [("tpe", False), ("tpe", True), ("gp", False), ("random", False), ("random", True), ("nsga2", True)]


@pytest.mark.parametrize("pending", [False, True])
@pytest.mark.parametrize(("searcher", "two"), SEARCHES)
def test_a_search_goes_on_as_if_it_had_not_been_interrupted(
    make_study: Make, two_goals: Study, tmp_path: Path, searcher: str, two: bool, pending: bool
) -> None:
    study = two_goals if two else make_study()
    journal = Journal(tmp_path)
    uninterrupted = search(study, searcher, journal, 25)
    if pending:
        suggest(uninterrupted, journal, 25)
        report_all(uninterrupted, journal, 25, None)
    journal.close()

    again = Journal(tmp_path)
    restarted = OptunaProposals(study, searcher, 40, seed=3)
    for _, log in sorted(again.trials.items()):
        restarted.recall(log)
    assert [vital(trial) for trial in restarted.study.trials] == [vital(trial) for trial in uninterrupted.study.trials]
    elsewhere = Journal(folder(tmp_path / "elsewhere"))
    elsewhere.trials = {number: dataclasses.replace(log) for number, log in again.trials.items()}
    for number in range(len(again.trials), len(again.trials) + 6):
        assert suggest(restarted, again, number) == suggest(uninterrupted, elsewhere, number)
        if number % 2:
            report_all(restarted, again, number, ending_of(number))
            report_all(uninterrupted, elsewhere, number, ending_of(number))
    if pending:  # the trial itself goes on too
        for proposals, log in ((restarted, again), (uninterrupted, elsewhere)):
            report_rest(proposals, log)
        assert suggest(restarted, again, 32) == suggest(uninterrupted, elsewhere, 32)


def report_rest(proposals: OptunaProposals, journal: Journal) -> None:
    result = {**journal.trials[25].last, "epoch": EPOCHS}
    proposals.report(25, result)
    journal.append("result", 25, result=result)
    journal.append("end", 25, status="completed", error=None)
    proposals.end(25, "completed", result)
    assert proposals.study.trials[25].state == TrialState.COMPLETE


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def vital(trial: optuna.trial.FrozenTrial) -> Any:
    """What a sampler reads of a trial; Optuna also gives a pruned one its last intermediate value."""
    values = trial.values if trial.state == TrialState.COMPLETE else None
    return trial.number, trial.state, values, trial.params, trial.intermediate_values, trial.system_attrs


@pytest.mark.parametrize(("searcher", "two"), SEARCHES)
def test_the_same_seed_gives_the_same_search_and_another_seed_another(
    make_study: Make, two_goals: Study, tmp_path: Path, searcher: str, two: bool
) -> None:
    study = two_goals if two else make_study()
    first = search(study, searcher, Journal(folder(tmp_path / "1")), 15)
    second = search(study, searcher, Journal(folder(tmp_path / "2")), 15)
    assert [trial.params for trial in first.study.trials] == [trial.params for trial in second.study.trials]
    assert make_proposals(study, searcher, 40, seed=4).propose(0)[0] != first.study.trials[0].params


def test_tpe_learns_from_what_it_saw(make_study: Make, tmp_path: Path) -> None:
    trials = search(make_study(), "tpe", Journal(tmp_path), 40).study.trials
    early = [trial.params["quality"] for trial in trials[:10]]
    late = [trial.params["quality"] for trial in trials[-15:]]
    assert sum(late) / len(late) > sum(early) / len(early) + 0.1


# What is suggested


def test_a_suggestion_holds_fixed_and_searched_values_as_they_are(make_study: Make, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    search(make_study(), "random", journal, 30)
    journal.close()
    configs = [log.config for log in Journal(tmp_path).trials.values()]
    assert {config["switch"] for config in configs} == {None, False, True}
    assert all(type(config["switch"]) in (type(None), bool) for config in configs)
    assert {config["momentum"] for config in configs} == {0.9}
    assert {config["members"] for config in configs} == set(range(1, 9))
    assert all(type(config["members"]) is int and type(config["lr"]) is float for config in configs)


def test_trials_have_seeds_of_their_own() -> None:
    seeds = {trial_seed(seed, number) for seed, number in itertools.product(range(10), range(100))}
    assert len(seeds) == 1000
    assert trial_seed(3, 7) == trial_seed(3, 7)
    assert 0 <= min(seeds) <= max(seeds) < 2**31


def test_a_grid_is_every_combination_once(make_study: Make) -> None:
    space = {"quality": tune.choice([0.1, 0.2]), "switch": tune.choice([None, False, True]), "members": 3}
    proposals = make_proposals(make_study(param_space=space), "grid", 99, 0)
    configs = [proposals.propose(number)[0] for number in range(proposals.total)]
    expected = [
        {"quality": quality, "switch": switch, "members": 3}
        for quality, switch in itertools.product([0.1, 0.2], [None, False, True])
    ]
    assert configs == expected


@pytest.mark.parametrize("domain", [tune.uniform(0.1, 0.9), tune.quniform(0.1, 0.9, 0.1)])
def test_a_grid_over_a_range_is_refused_by_name(make_study: Make, domain: Any) -> None:
    study = make_study(param_space={"members": tune.choice([1, 2]), "quality": domain})
    with pytest.raises(StudyError, match=r"--searcher grid needs a choice .* range for quality; .*--set quality="):
        make_proposals(study, "grid", 4, 0)


@pytest.mark.parametrize("searcher", ["tpe", "random"])
def test_nothing_to_search_is_refused(make_study: Make, searcher: str) -> None:
    with pytest.raises(StudyError, match="toy: every hyperparameter is fixed, so there is nothing to search"):
        make_proposals(make_study(param_space={"quality": 0.5}), searcher, 4, 0)


def test_nsga2_needs_a_second_objective(make_study: Make) -> None:
    with pytest.raises(StudyError, match=r"--searcher nsga2 needs .* several objectives, got one: val_accuracy"):
        make_proposals(make_study(), "nsga2", 4, 0)


# Ray Tune's view


def searcher_over(journal: Journal, proposals: Any, slots: int = 2) -> StudySearcher:
    return StudySearcher(
        proposals,
        journal,
        epochs=EPOCHS,
        seed=3,
        slots=lambda: slots,
        name=lambda number, config, arm: f"{number:04d}-{arm}",
        checkpoint=lambda log: log.checkpoints[-1][1] if log.checkpoints else None,
    )


def test_no_more_trials_are_suggested_than_run_at_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    searcher = searcher_over(journal, Listed([({"quality": 0.1 * n}, f"arm{n}") for n in range(1, 4)]))
    first, second = searcher.suggest("a"), searcher.suggest("b")
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert (first["trial"], first["restore"], first["epochs"], first["seed"]) == (0, None, EPOCHS, trial_seed(3, 0))
    assert second["trial"] == 1
    assert searcher.suggest("c") is None
    journal.append("result", 0, result={"epoch": EPOCHS, "total_epochs": EPOCHS, "val_accuracy": 0.5})
    searcher.on_trial_complete("a")
    assert journal.trials[0].status == "completed"
    assert searcher.remaining == 1
    third = searcher.suggest("c")
    assert isinstance(third, dict)
    assert third["trial"] == 2
    assert [log.name for log in journal.trials.values()] == ["0000-arm1", "0001-arm2", "0002-arm3"]
    assert journal.trials[2].arm == "arm3"
    assert searcher.remaining == 0
    assert searcher.suggest("d") is None  # the two that run may have to be tried again
    for number, trial in ((1, "b"), (2, "c")):
        searcher.on_trial_complete(trial, error=True)
        searcher.fail(number, "broken", again=False)
    assert searcher.suggest("d") == Searcher.FINISHED


def test_a_lost_worker_costs_no_trial_but_one_that_gets_no_further_fails(make_study: Make, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    proposals = OptunaProposals(make_study(), "random", 2, seed=3)
    searcher = searcher_over(journal, proposals, slots=1)

    def lose() -> None:
        searcher.on_trial_complete("a", error=True)
        searcher.fail(0, "its worker was lost")

    first = searcher.suggest("a")
    for _ in range(5):  # nodes that die are no fault of the trial
        searcher.on_trial_complete("a", error=True)
        searcher.fail(0, "its node was lost", counts=False)
        searcher.suggest("a")
    lose()
    for epoch in (1, 2):
        again = searcher.suggest("a")
        assert isinstance(again, dict)
        assert isinstance(first, dict)
        assert {**again, "restore": None} == first
        assert (journal.trials[0].status, proposals.study.trials[0].state) == (None, TrialState.RUNNING)
        journal.append("result", 0, result={"epoch": epoch, "total_epochs": EPOCHS, "val_accuracy": 0.5})
        journal.append("checkpoint", 0, epoch=epoch, path=f"trials/0000/checkpoint_{epoch}")
        lose()
    assert again["restore"] == "trials/0000/checkpoint_1"
    searcher.suggest("a")
    lose()
    assert (journal.trials[0].status, journal.trials[0].error) == ("failed", "its worker was lost")
    assert proposals.study.trials[0].state == TrialState.FAIL
    last = searcher.suggest("a")
    assert isinstance(last, dict)
    assert last["trial"] == 1


@pytest.mark.parametrize(("epoch", "saved", "status"), [(1, False, "stopped"), (EPOCHS, True, "completed")])
def test_a_worker_lost_after_all_was_told_changes_nothing(
    make_study: Make, tmp_path: Path, epoch: int, saved: bool, status: str
) -> None:
    journal = Journal(tmp_path)
    proposals = OptunaProposals(make_study(), "random", 2, seed=3)
    searcher = searcher_over(journal, proposals)
    searcher.suggest("a")
    journal.append("result", 0, result={"epoch": epoch, "total_epochs": EPOCHS, "val_accuracy": 0.5, "done": True})
    if saved:
        journal.append("checkpoint", 0, epoch=epoch, path="trials/0000/checkpoint_0")
    searcher.on_trial_complete("a", error=True)
    searcher.fail(0, "its worker was lost")
    assert (journal.trials[0].status, journal.trials[0].error) == (status, None)
    assert proposals.study.trials[0].intermediate_values == {epoch: 0.5}


@pytest.mark.parametrize("restart", [False, True])
def test_a_trial_that_lost_its_last_weights_trains_the_last_epoch_again(
    make_study: Make, tmp_path: Path, restart: bool
) -> None:
    journal = Journal(tmp_path)
    searcher = searcher_over(journal, OptunaProposals(make_study(), "random", 2, seed=3))
    searcher.suggest("a")
    for epoch in range(1, EPOCHS + 1):
        journal.append("result", 0, result={"epoch": epoch, "total_epochs": EPOCHS, "val_accuracy": 0.5})
        if epoch < EPOCHS:
            journal.append("checkpoint", 0, epoch=epoch, path=f"trials/0000/checkpoint_{epoch}")
    if restart:
        journal.close()
        searcher = searcher_over(Journal(tmp_path), OptunaProposals(make_study(), "random", 2, seed=3))
    else:
        searcher.on_trial_complete("a", error=True)
        searcher.fail(0, "its worker was lost")
    again = searcher.suggest("a")
    assert isinstance(again, dict)
    assert (again["trial"], again["restore"]) == (0, f"trials/0000/checkpoint_{EPOCHS - 1}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a second report
        searcher.on_trial_complete("a")
    assert searcher.journal.trials[0].status == "completed"


def test_a_trial_stopped_on_its_way_back_has_not_ended(make_study: Make, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    searcher = searcher_over(journal, OptunaProposals(make_study(), "random", 2, seed=3))
    searcher.suggest("a")
    for epoch in range(1, EPOCHS + 1):
        journal.append("result", 0, result={"epoch": epoch, "total_epochs": EPOCHS, "val_accuracy": 0.5})
    searcher.on_trial_complete("a", error=True)
    searcher.fail(0, "its worker was lost")
    searcher.suggest("b")
    searcher.on_trial_complete("b", {"epoch": 1, "total_epochs": EPOCHS})
    assert journal.trials[0].status is None


def test_an_arm_may_have_its_own_epochs_and_seed(tmp_path: Path) -> None:
    searcher = searcher_over(Journal(tmp_path), Listed([({"epochs": 9, "seed": 17}, "nine")]))
    config = searcher.suggest("a")
    assert isinstance(config, dict)
    assert (config["epochs"], config["seed"]) == (9, 17)


def test_a_restart_goes_on_with_the_trials_that_were_begun(make_study: Make, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    proposals = search(make_study(), "random", journal, 4, samples=7)
    for number in (4, 5):
        suggest(proposals, journal, number)
    report_all(proposals, journal, 4, None)
    journal.append("checkpoint", 4, path="trials/0000/checkpoint_4", epoch=EPOCHS - 1)
    # Trial 5 was stopped, but the process died before it could say so.
    result = {"epoch": 1, "total_epochs": EPOCHS, "val_accuracy": 0.1, "done": True}
    journal.append("result", 5, result=result)
    journal.close()

    again = Journal(tmp_path)
    recalled = OptunaProposals(make_study(), "random", 7, seed=3)
    searcher = searcher_over(again, recalled)
    assert again.trials[5].status == "stopped"
    assert recalled.study.trials[5].state == TrialState.PRUNED
    assert searcher.remaining == 2
    first = searcher.suggest("a")
    assert isinstance(first, dict)
    assert (first["trial"], first["restore"]) == (4, "trials/0000/checkpoint_4")
    assert first["quality"] == again.trials[4].config["quality"]
    second = searcher.suggest("b")
    assert isinstance(second, dict)
    assert (second["trial"], second["restore"]) == (6, None)
    # From its checkpoint the trial passes epoch 2 once more; Optuna has it already.
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a second report
        searcher.on_trial_result("a", {"epoch": 2, "total_epochs": EPOCHS, "val_accuracy": 0.0})
    assert recalled.study.trials[4].intermediate_values[2] == again.trials[4].results[2]["val_accuracy"]
    assert searcher.suggest("c") is None


@pytest.mark.parametrize(
    ("result", "error", "status"),
    [
        ({"epoch": 1, "done": True, "val_accuracy": 0.25}, False, "stopped"),
        ({"epoch": EPOCHS, "val_accuracy": 0.25}, False, "completed"),
        ({"epoch": 1, "diverged": "loss is nan", "val_accuracy": None}, False, "diverged"),
        ({"epoch": 1, "val_accuracy": 0.25}, True, "failed"),
        ({"epoch": 1, "val_accuracy": 0.25}, False, None),
    ],
)
def test_the_journal_and_optuna_learn_how_a_trial_ended(
    make_study: Make, tmp_path: Path, result: dict[str, Any], error: bool, status: str | None
) -> None:
    journal = Journal(tmp_path)
    proposals = OptunaProposals(make_study(), "random", 4, seed=3)
    searcher = searcher_over(journal, proposals)
    searcher.suggest("a")
    journal.append("result", 0, result={"total_epochs": EPOCHS, **result})
    searcher.on_trial_complete("a", error=error)
    if error:
        searcher.fail(0, "broken", again=False)
    assert journal.trials[0].status == status
    assert journal.trials[0].error == {"diverged": "loss is nan", "failed": "broken"}.get(status or "")
    (trial,) = proposals.study.trials
    assert trial.state == (TrialState.RUNNING if status is None else STATES[status])
    if status in ("completed", "stopped"):
        # Ray tells a searcher of a trial's last result only with its end.
        assert list(trial.intermediate_values.values()) == [0.25]


def test_a_recalled_trial_needs_no_optuna_notes(make_study: Make) -> None:
    proposals = OptunaProposals(make_study(), "tpe", 4, seed=3)
    config = {"quality": 0.5, "lr": 0.01, "members": 2, "switch": None, "momentum": 0.9}
    result = {"epoch": EPOCHS, "total_epochs": EPOCHS, "val_accuracy": 0.4}
    proposals.recall(TrialLog(0, "0000", config, results={EPOCHS: result}, status="completed"))
    assert proposals.study.trials[0].params == {"quality": 0.5, "lr": 0.01, "members": 2, "switch": None}
    assert proposals.study.best_value == 0.4
