"""What Ray keeps of a finished trial: nothing that grows with its results, and no analysis of them at the end."""

from __future__ import annotations

from typing import Any

import pytest
from ray.tune.experiment import Trial
from ray.tune.registry import register_trainable

from search import environment  # noqa: F401
from search.release import Release
from tests.search.toy_space import Toy


@pytest.fixture
def trial() -> Trial:
    register_trainable("toy", Toy)
    trial = Trial("toy", config={"trial": 3}, evaluated_params={"quality": 0.5}, stub=True)
    for epoch in (1, 2):
        trial.update_last_result(result(epoch))
    return trial


def result(epoch: int) -> dict[str, Any]:
    return {"training_iteration": epoch, "epoch": epoch, "val_accuracy": 0.1 * epoch, "config": {"trial": 3}}


@pytest.mark.parametrize("ending", ["on_trial_complete", "on_trial_error"])
def test_a_trial_that_has_ended_is_emptied_once_all_have_seen_it(trial: Trial, ending: str) -> None:
    release = Release()
    trial.get_json_state()
    release.on_step_end(1, [trial])
    assert trial.last_result["epoch"] == 2  # it still runs
    getattr(release, ending)(2, [trial], trial)
    assert trial.last_result["epoch"] == 2  # Ray's loggers come after
    release.on_step_end(2, [trial])
    assert "epoch" not in trial.last_result
    assert trial.metric_analysis == {}
    assert trial.metric_n_steps == {}
    assert trial.checkpoint is None
    assert trial.evaluated_params == {}
    assert trial.config == {"trial": 3}  # callbacks know a trial by it
    assert not release.ended
    assert trial._state_json is None  # Ray's snapshot of it, 6 KB


def test_ended_trials_leave_the_list_but_for_one() -> None:
    register_trainable("toy", Toy)
    ended, running = [Trial("toy", stub=True) for _ in range(5)], Trial("toy", stub=True)
    trials, release = [running, *ended], Release()
    for each in ended:
        release.on_trial_complete(1, trials, each)
        release.on_step_end(1, trials)
        assert running in trials
        assert [trial for trial in trials if trial not in ended[ended.index(each) :]] == [running]
    assert trials == [running, ended[-1]]


def test_ray_is_left_one_trial_to_analyse(trial: Trial) -> None:
    trials = [trial, *(Trial("toy", stub=True) for _ in range(3))]
    Release().on_experiment_end(trials)
    assert trials == [trial]


def test_ended_trials_share_all_but_who_they_are() -> None:
    register_trainable("toy", Toy)
    ended = [Trial("toy", config={"trial": number, "lr": 0.1}, stub=True) for number in range(3)]
    names = [trial.trial_id for trial in ended]
    release, trials = Release(), list(ended)
    for each in ended:
        release.on_trial_complete(1, trials, each)
        release.on_step_end(1, trials)
    assert [trial.trial_id for trial in ended] == names
    assert [trial.config["trial"] for trial in ended] == [0, 1, 2]
    assert ended[1].config == {"trial": 1}
    assert ended[1].run_metadata is ended[0].run_metadata
    assert trials == [ended[-1]]
    assert ended[-1].config == {"trial": 2, "lr": 0.1}  # Ray analyses it in the end
