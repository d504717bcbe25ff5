"""Two objectives through the real searchers and the real stopping rule; only the training is made up."""

import dataclasses
import functools
import math
from pathlib import Path

import pytest
import torch

from search.journal import Journal
from search.records import COMPLETED, STOPPED
from search.searchers import StudySearcher, make_proposals
from search.study import load
from search.tuner import make_early_stopping, trial_name
from trainables.alexnet import AlexNet

STUDY = load(Path(__file__).parents[2] / "spaces" / "alexnet_ratio.py")
SLOTS = 4


@functools.cache
def count(ratio):
    with torch.device("meta"):
        return sum(p.numel() for p in AlexNet(100, ratio=ratio).parameters())


def parameters(config):
    return count(config["ratio"])


def quality(config):
    """Larger networks are better, and every network at a rate of .03: what an end-to-end search meets."""
    return 0.08 * math.log10(parameters(config)) - 0.3 * abs(math.log10(config["lr"] / 0.03))


def search(folder, searcher_name, study=STUDY, samples=40):
    """A whole search, SLOTS trials side by side; returns its journal's trials and the source of suggestions."""
    proposals = make_proposals(study, searcher_name, samples, 0)
    journal = Journal(folder)
    stopping = make_early_stopping(study, study.scheduler)
    searcher = StudySearcher(
        proposals,
        journal,
        epochs=STUDY.epochs,
        seed=0,
        slots=lambda: SLOTS,
        name=trial_name(STUDY),
        checkpoint=lambda log: None,
    )
    running, begun = {}, 0
    while True:
        while isinstance(config := searcher.suggest(str(begun)), dict):
            running[str(begun)] = config, 0
            begun += 1
        if not running:
            break
        for trial, (config, epochs) in list(running.items()):
            epoch = epochs + 1
            accuracy = quality(config) * epoch / (epoch + 2)
            result = {
                "epoch": epoch,
                "total_epochs": STUDY.trial_epochs,
                "val_accuracy": accuracy,
                "member_val_accuracy": accuracy,
                "parameters": parameters(config),
            }
            ended = epoch == STUDY.trial_epochs or stopping.decide(config["trial"], result)
            journal.append("result", config["trial"], result=result | ({"done": True} if ended else {}))
            if ended:
                del running[trial]
                searcher.on_trial_complete(trial, result)
            else:
                searcher.on_trial_result(trial, result)
                running[trial] = config, epoch
    journal.close()
    return journal.trials, proposals


def front(trials):
    """The trials that no trial as small, had it been trained to its end, exceeds."""
    points = {number: (parameters(log.config), quality(log.config)) for number, log in trials.items()}
    return {
        number
        for number, (size, good) in points.items()
        if not any((s <= size and q >= good and (s, q) != (size, good)) for s, q in points.values())
    }


@pytest.mark.parametrize("searcher_name", ["nsga2", "tpe"])
def test_early_stopping_leaves_the_whole_front_and_nothing_truncated_joins_it(tmp_path, searcher_name):
    trials, proposals = search(tmp_path, searcher_name)
    status = {number: log.status for number, log in trials.items()}
    assert len(status) == 40
    assert set(status.values()) == {COMPLETED, STOPPED}
    best = front(trials)
    assert {status[number] for number in best} == {COMPLETED}
    sizes = {number: parameters(log.config) for number, log in trials.items()}
    assert min(sizes.values()) in {sizes[number] for number in best}
    # What Optuna goes on from is the same front: a stopped trial, small or large, is none of its points.
    assert {trial.number for trial in proposals.study.best_trials} == best


def test_stopped_by_accuracy_alone_the_cheap_end_would_go(tmp_path):
    trials, _ = search(tmp_path, "tpe", dataclasses.replace(STUDY, objectives={}, searcher="tpe"))
    smallest = min(trials, key=lambda number: parameters(trials[number].config))
    assert smallest in front(trials)
    assert trials[smallest].status == STOPPED
