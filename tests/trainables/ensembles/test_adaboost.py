import copy
import csv
import dataclasses
import math
from pathlib import Path

import pytest
import torch

from trainables.alexnet import AlexNetEnsemble, AlexNetEnsembleSettings, BaggingOrAdaBoost, BoostedAlexNetSettings
from trainables.data.task import DeviceData, Task
from trainables.ensembles.adaboost import AdaBoost, alpha, reweighted, shares
from trainables.ensembles.bagging import Bagging
from trainables.ensembles.votes import scores, weighted_scores
from trainables.training.loop import Member
from trainables.training.settings import SettingError

REPORTED = Path(__file__).parents[3] / "spaces" / "reported"


def test_all_24_printed_alphas_follow_from_the_counts_of_correct_images():
    with (REPORTED / "alphas.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    for row in rows:
        error = 1 - int(row["correct_images"]) / 50_000
        assert alpha("note", error, 100) == pytest.approx(float(row["alpha"]), abs=1e-7), row


def test_samme_alpha_is_the_published_one():
    for error, classes in ((0.2, 2), (0.5, 3), (0.7, 10), (0.98, 100)):
        expected = math.log((1 - error) / error) + math.log(classes - 1)
        assert alpha("samme", error, classes) == pytest.approx(expected)


def test_the_variants_differ_by_the_logarithm_and_the_divider_alone():
    assert alpha("note", 0.6, 100) == pytest.approx(alpha("samme", 0.6, 100) / math.log(2) / 100)


@pytest.mark.parametrize("variant", ["note", "samme"])
def test_a_member_at_chance_or_below_has_no_vote(variant):
    for classes in (2, 10, 100):
        assert [alpha(variant, error, classes) for error in (1 - 1 / classes, 0.999, 1.0)] == [0.0] * 3
        assert alpha(variant, 1 - 1 / classes - 1e-6, classes) > 0


@pytest.mark.parametrize("variant", ["note", "samme"])
def test_a_member_without_an_error_decides_alone(variant):
    perfect = alpha(variant, 0.0, 10)
    assert shares([0.7, 0.9, perfect]) == [0.0, 0.0, 1.0]


def test_shares_are_the_alphas_over_their_sum():
    assert shares([1.0, 3.0]) == [0.25, 0.75]
    assert shares([1.0, 0.0, 3.0]) == [0.25, 0.0, 0.75]
    assert shares([0.0]) == [1.0]


def test_note_weights_move_both_ways_and_samme_weights_where_wrong():
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    wrong = torch.tensor([True, False, True, False])
    up, down = math.exp(0.5), math.exp(-0.5)
    expected = torch.tensor([0.1 * up, 0.2 * down, 0.3 * up, 0.4 * down], dtype=torch.float64)
    torch.testing.assert_close(reweighted("note", weights, wrong, 0.5), expected / expected.sum())
    expected = torch.tensor([0.1 * up, 0.2, 0.3 * up, 0.4], dtype=torch.float64)
    torch.testing.assert_close(reweighted("samme", weights, wrong, 0.5), expected / expected.sum())


def test_after_a_samme_round_its_member_is_at_chance():
    """What SAMME's weights are for: on them the member that made them says nothing more."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(1000, generator=generator, dtype=torch.float64)
    weights /= weights.sum()
    wrong = torch.rand(1000, generator=generator) < 0.6
    error = weights[wrong].sum().item()
    again = reweighted("samme", weights, wrong, alpha("samme", error, 10))
    assert again[wrong].sum().item() == pytest.approx(0.9)


def test_the_ratios_of_printed_weights_are_those_of_whole_rounds():
    """4.4 prints weights of images right in every round, and wrong in five and three of six."""
    with (REPORTED / "alphas.csv").open(newline="") as file:
        alphas = [float(row["alpha"]) for row in csv.DictReader(file) if row["run"] == "a-4.4-adaboost-unshuffled"]
    histories = {1.3475: "000000", 2.6814: "111101", 2.6743: "101111", 2.0390: "101010"}
    weights = torch.full((4,), 0.25, dtype=torch.float64)
    for round_, weight in enumerate(alphas):
        wrong = torch.tensor([history[round_] == "1" for history in histories.values()])
        weights = reweighted("note", weights, wrong, weight)
    for printed, ratio in zip(histories, (weights / weights[0]).tolist(), strict=True):
        assert ratio == pytest.approx(printed / 1.3475, rel=1e-4)


TINY = {"members": 3, "epochs": 2, "train_images": 60, "batch_size": 16, "lr": 0.05, "dropout": 0.2}
TIMES = {"seconds", "train_seconds", "images_per_second"}


@pytest.fixture(scope="module")
def make_boosting(digits, make_recipe):
    """A boosted trial of a tiny network; `make_recipe` makes its class known."""
    data = DeviceData(digits)

    class BoostedRecipe(type(make_recipe())):
        settings_type = BoostedAlexNetSettings

    def build(**config):
        settings = BoostedAlexNetSettings.from_config(TINY | config)
        return AdaBoost(BoostedRecipe(settings, Task.of(data, settings)))

    return build


def run(training):
    results = []
    while training.epoch < training.total_epochs:
        results.append(training.run_epoch())
    return results


def same(one, other):
    assert one.keys() == other.keys()
    for name in one.keys() - TIMES:
        if hasattr(one[name], "shape"):
            assert (one[name] == other[name]).all(), name
        else:
            assert one[name] == other[name], name


def predictions(training, member):
    task = training.recipe.task
    return training.members[member].logits(task.data.train_images, task.train).argmax(1)


def labels(training):
    task = training.recipe.task
    return task.data.train_labels[task.train]


# Rounds.


def test_the_first_round_is_a_single_model(make_boosting, make_bagging):
    boosted = make_boosting(epochs=3)
    single = make_bagging(**TINY | {"epochs": 3, "members": 1})
    for _ in range(3):
        ours, plain = boosted.run_epoch(), single.run_epoch()
        for name in ("lr", "train_loss", "train_accuracy", "val_accuracy"):
            assert ours[name] == plain[name]


def test_a_trial_runs_members_times_epochs_and_counts_rounds(make_boosting):
    results = run(make_boosting())
    assert [result["epoch"] for result in results] == [1, 2, 3, 4, 5, 6]
    assert [result["round"] for result in results] == [1, 1, 2, 2, 3, 3]
    assert {result["total_epochs"] for result in results} == {6}
    assert results[0]["lr"] == results[2]["lr"]
    sizes = [len(result["prefix_val_accuracy"]) for result in results]
    assert sizes == [1, 1, 2, 2, 3, 3]
    one = results[0]["parameters"]
    assert [result["parameters"] for result in results] == [one, one, 2 * one, 2 * one, 3 * one, 3 * one]
    assert results[-1]["prefix_parameters"] == [one, 2 * one, 3 * one]


@pytest.mark.parametrize("weighting", ["loss", "sampling"])
def test_the_first_rounds_are_a_smaller_ensemble(make_boosting, weighting):
    whole = run(make_boosting(members=3, weighting=weighting))[-1]
    for size in (1, 2):
        small = run(make_boosting(members=size, weighting=weighting))[-1]
        for split in ("val", "test"):
            for name in ("accuracy", "loss", "ece", "brier", "disagreement", "q_statistic"):
                assert whole[f"prefix_{split}_{name}"][:size] == small[f"prefix_{split}_{name}"]
                assert small[f"{split}_{name}"] == whole[f"prefix_{split}_{name}"][size - 1]
        for name in ("each_train_loss", "each_running_train_accuracy"):
            assert whole[name][:size] == small[name]
        assert whole["each_alpha"][:size] == small["each_alpha"]
        assert (whole["member_predicted"][:size] == small["member_predicted"]).all()


def test_the_note_weighs_a_member_by_its_running_accuracy_and_images_by_its_predictions(make_boosting):
    training = make_boosting(boosting="note")
    results = run(training)
    weights = torch.full((60,), 1 / 60, dtype=torch.float64)
    for member in range(3):
        last = results[2 * member + 1]
        expected = alpha("note", 1 - last["running_train_accuracy"], 10)
        assert 0 < last["each_alpha"][member] == expected
        weights = reweighted("note", weights, predictions(training, member) != labels(training), expected)
    torch.testing.assert_close(training.weights, weights)


def test_the_notes_error_counts_every_image_alike_although_some_are_drawn_more_often(make_boosting):
    training = make_boosting(boosting="note", weighting="sampling", epochs=3)
    results = run(training)
    errors = [(predictions(training, k) != labels(training)).double().mean().item() for k in range(3)]
    assert results[-1]["each_alpha"] == [alpha("note", error, 10) for error in errors]
    assert errors != pytest.approx([1 - running for running in results[-1]["each_running_train_accuracy"]])


def test_samme_weighs_a_member_by_its_weighted_error(make_boosting):
    training = make_boosting(boosting="samme")
    results = run(training)
    weights = torch.full((60,), 1 / 60, dtype=torch.float64)
    for member in range(3):
        wrong = predictions(training, member) != labels(training)
        expected = alpha("samme", weights[wrong].sum().item(), 10)
        assert results[2 * member + 1]["each_alpha"][member] == pytest.approx(expected)
        assert math.isfinite(expected)
        weights = reweighted("samme", weights, wrong, expected)
    torch.testing.assert_close(training.weights, weights)


@pytest.mark.parametrize("weighting", ["loss", "sampling"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_weights_decide_what_is_learnt(make_boosting, weighting, shuffle):
    training = make_boosting(weighting=weighting, shuffle=shuffle, epochs=4, dropout=0.0)
    chosen = 7
    training.weights = torch.full((60,), 1e-9, dtype=torch.float64)
    training.weights[chosen] = 1 - 59e-9
    for _ in range(3):
        training.run_epoch()
    assert (predictions(training, 0) == labels(training)[chosen]).double().mean() > 0.9


# The vote.


@pytest.mark.parametrize("vote", ["hard", "logits", "probabilities"])
def test_the_vote_is_the_mean_weighted_by_alpha(make_boosting, vote):
    training = make_boosting(vote=vote)
    last = run(training)[-1]
    task = training.recipe.task
    logits = torch.stack([m.logits(task.data.test_images, task.test) for m in training.members])
    outputs = {
        "logits": logits,
        "probabilities": logits.softmax(-1),
        "hard": torch.nn.functional.one_hot(logits.argmax(-1), 10).float(),
    }[vote]
    weights = torch.tensor(last["each_alpha"])
    voted = (outputs * weights[:, None, None]).sum(0).argmax(-1)
    assert voted.tolist() == last["predicted"].tolist()
    right = (voted == task.data.test_labels[task.test]).double().mean().item()
    assert last["test_accuracy"] == right == last["prefix_test_accuracy"][-1]
    assert logits.argmax(-1).tolist() == last["member_predicted"].tolist()
    assert last["member_val_accuracy"] == pytest.approx(sum(last["each_val_accuracy"]) / 3)


def test_votes_of_equal_weight_are_baggings():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 300, 10, generator=generator)
    truth = torch.randint(10, (300,), generator=generator)
    equal = [shares([1.0] * size) for size in (1, 2, 3, 4)]
    for ours, theirs in (("hard", "hard"), ("probabilities", "soft")):
        weighted, plain = weighted_scores(logits, truth, ours, equal), scores(logits.softmax(-1), truth, theirs)
        assert weighted["prefix_accuracies"] == plain["prefix_accuracies"]
        assert weighted["predicted"].tolist() == plain["predicted"].tolist()
        assert weighted["loss"] == pytest.approx(plain["loss"], rel=1e-5)
        assert weighted["top5_accuracy"] == plain["top5_accuracy"]


def test_a_heavy_vote_outweighs_two_light_ones_and_ties_go_to_the_smallest_label():
    logits = torch.eye(10)[torch.tensor([[3, 8], [5, 2], [5, 2]])] * 9
    truth = torch.tensor([3, 2])
    heavy = weighted_scores(logits, truth, "hard", [shares([5.0, 2.0, 2.0])])
    assert heavy["predicted"].tolist() == [3, 8]
    tied = weighted_scores(logits, truth, "hard", [shares([4.0, 2.0, 2.0])])
    assert tied["predicted"].tolist() == [3, 2]


def test_amid_a_round_the_member_votes_with_the_alpha_of_its_running_accuracy(make_boosting):
    results = run(make_boosting(epochs=3))
    amid = results[3]
    assert amid["each_alpha"][0] == results[2]["each_alpha"][0]
    assert amid["each_alpha"][1] == alpha("note", 1 - amid["running_train_accuracy"], 10)
    assert amid["prefix_val_accuracy"][0] == results[2]["val_accuracy"]


def test_a_member_still_at_chance_does_not_change_the_vote(make_boosting):
    _, results = first(make_boosting, 3, lambda results: results[2]["running_train_accuracy"] <= 0.1)
    before, amid = results[1], results[2]
    assert amid["each_alpha"][1] == 0
    assert amid["val_accuracy"] == before["val_accuracy"]
    assert amid["val_loss"] == pytest.approx(before["val_loss"], rel=1e-5)


# Rounds that end a trial.


def first(make, known, condition, **config):
    """A trial that meets the condition; `known` is a seed that does on one machine, others may round otherwise."""
    for seed in (known, *range(100)):
        training = make(seed=seed, **config)
        results = run(training)
        if condition(results):
            return training, results
    raise AssertionError("no seed meets the condition")


@pytest.mark.parametrize("variant", ["note", "samme"])
def test_a_first_member_without_an_error_is_the_whole_ensemble(make_boosting, variant):
    training = make_boosting(boosting=variant, train_images=10, batch_size=5, epochs=30, dropout=0.0, lr=0.1)
    results = run(training)
    assert len(results) == 30
    assert training.total_epochs == 30 == results[-1]["total_epochs"]
    assert results[-1]["each_alpha"] == [1.0]
    assert results[-1]["predicted"].tolist() == results[-1]["member_predicted"][0].tolist()


def test_a_later_member_without_an_error_decides_alone(make_boosting):
    config = {"epochs": 6, "batch_size": 8, "dropout": 0.0, "boosting": "note"}
    training, results = first(make_boosting, 31, lambda results: len(results) == 12, **config)
    last = results[-1]
    assert last["running_train_accuracy"] == 1
    assert last["each_alpha"][1] == 1.0
    assert last["predicted"].tolist() == last["member_predicted"][1].tolist()
    assert last["val_accuracy"] == last["each_val_accuracy"][1]
    assert last["prefix_val_accuracy"] == last["each_val_accuracy"]
    one = results[0]["parameters"]
    assert last["prefix_parameters"] == [one, one]
    assert last["parameters"] == training.parameters == one


@pytest.mark.parametrize("variant", ["note", "samme"])
def test_a_member_no_better_than_chance_is_left_out_and_ends_the_trial(make_boosting, variant):
    known = {"note": 0, "samme": 7}[variant]
    training, results = first(make_boosting, known, lambda results: len(results) == 4, lr=1e-12, boosting=variant)
    last = results[-1]
    assert last["total_epochs"] == 4
    assert len(training.members) == len(last["each_alpha"]) == len(last["prefix_val_accuracy"]) == 1
    assert last["each_alpha"] == results[1]["each_alpha"] != [0.0]
    assert last["val_accuracy"] == results[1]["val_accuracy"]
    assert last["parameters"] == results[1]["parameters"]
    assert last["predicted"].shape == (50,)
    assert len(last["each_train_loss"]) == len(last["each_running_train_accuracy"]) == 1
    assert last["each_train_loss"] != [last["train_loss"]]


def test_a_first_member_no_better_than_chance_stays_and_ends_the_trial(make_boosting):
    training, results = first(make_boosting, 1, lambda results: len(results) == 2, lr=1e-12)
    assert results[-1]["each_alpha"] == [0.0]
    assert results[-1]["predicted"].tolist() == results[-1]["member_predicted"][0].tolist()
    assert training.epoch == training.total_epochs


# What a trial promises.


@pytest.mark.parametrize("weighting", ["loss", "sampling"])
@pytest.mark.parametrize("done", [1, 2, 3, 4, 5])
def test_a_restored_trial_is_an_uninterrupted_one_bit_for_bit(make_boosting, tmp_path, done, weighting):
    config = {
        "weighting": weighting,
        "momentum": 0.9,
        "lr": 0.02,
        "augmentation": "real-time",
        "random_crop": False,
        "test_every_epoch": True,
        "train_measure": "augmented",
        "train_measure_every": 4,
    }
    whole = make_boosting(**config)
    expected = run(whole)
    assert len(expected) == 6
    begun = make_boosting(**config)
    for _ in range(done):
        begun.run_epoch()
    torch.save(begun.state_dict(), tmp_path / "trial.pt")
    ended = [copy.deepcopy(member.network.state_dict()) for member in whole.members]
    for restored in (make_boosting(**config), whole):  # a fresh one, and one that goes back
        restored.load_state_dict(torch.load(tmp_path / "trial.pt", weights_only=True))
        for result, wanted in zip(run(restored), expected[done:], strict=True):
            same(result, wanted)
        for member, weights in zip(restored.members, ended, strict=True):
            assert all(torch.equal(value, weights[name]) for name, value in member.network.state_dict().items())


def test_a_trial_that_ended_early_is_restored_as_ended(make_boosting):
    training, _ = first(make_boosting, 1, lambda results: len(results) == 2, lr=1e-12)
    again = make_boosting(lr=1e-12)
    again.load_state_dict(training.state_dict())
    assert again.epoch == again.total_epochs == 2


def test_a_network_keeps_the_validation_accuracies_of_its_own_round(make_boosting):
    training = make_boosting()
    results = run(training)
    for member, rounds in enumerate((results[:2], results[2:4], results[4:])):
        assert training.members[member].val_accuracies == [r["each_val_accuracy"][member] for r in rounds]


def test_a_checkpoint_holds_no_optimizer_state_of_finished_members(make_boosting):
    training = make_boosting(momentum=0.9)
    for _ in range(3):
        training.run_epoch()
    first_member, second = training.state_dict()["members"]
    assert not first_member["optimizer"]["state"]
    assert second["optimizer"]["state"]


@pytest.mark.parametrize("every_epoch", [False, True])
@pytest.mark.parametrize("measured", ["running", "after", "augmented"])
@pytest.mark.parametrize(
    "epochs", [{}, {"train_measure_every": 2}, {"epochs": 3, "train_measure_every": 2}, {"test_augmented": True}]
)
def test_the_work_foretold_is_the_work_done(make_boosting, monkeypatch, measured, every_epoch, epochs):
    validation = "test_augmented" not in epochs
    training = make_boosting(test_every_epoch=every_epoch, train_measure=measured, validation=validation, **epochs)
    done = {"trained": 0, "evaluated": 0}
    train, evaluate = Member.train_epoch, Member.logits

    def counted_train(member, *arguments, **options):
        outcome = train(member, *arguments, **options)
        done["trained"] += outcome.images
        return outcome

    def counted_evaluate(member, images, indices, *arguments):
        done["evaluated"] += len(indices)
        return evaluate(member, images, indices, *arguments)

    monkeypatch.setattr(Member, "train_epoch", counted_train)
    monkeypatch.setattr(Member, "logits", counted_evaluate)
    run(training)
    foretold = AdaBoost.work(training.settings, training.recipe.task)
    assert (done["trained"], done["evaluated"]) == foretold


@pytest.mark.parametrize("measured", ["after", "augmented"])
def test_the_votes_training_accuracy_is_measured_every_so_many_epochs(make_boosting, measured):
    config = {"augmentation": "real-time", "epochs": 3}
    running = run(make_boosting(**config))
    whole = run(make_boosting(**config, train_measure=measured))
    some = run(make_boosting(**config, train_measure=measured, train_measure_every=4))
    for alone, every, ours in zip(running, whole, some, strict=True):
        at = ours["epoch"] in (1, 4, 8, 9)
        assert ours["train_accuracy"] == (every["train_accuracy"] if at else None)
        assert ("prefix_train_accuracy" in ours) == at
        assert every["running_train_accuracy"] == ours["running_train_accuracy"] == alone["train_accuracy"]
    assert len(whole[-1]["prefix_train_accuracy"]) == 3
    assert whole[-1]["train_accuracy"] == whole[-1]["prefix_train_accuracy"][-1]


def test_the_ways_to_measure_training_accuracy_differ(make_boosting):
    config = {"augmentation": "real-time"}
    last = [run(make_boosting(**config, train_measure=measured))[-1] for measured in ("running", "after", "augmented")]
    assert len({result["train_accuracy"] for result in last}) == 3
    assert len({result["running_train_accuracy"] for result in last}) == 1


def test_training_accuracy_after_the_epoch_is_the_weighted_vote_on_the_training_images(make_boosting):
    training = make_boosting(train_measure="after", vote="hard")
    last = run(training)[-1]
    ballots = torch.stack([torch.nn.functional.one_hot(predictions(training, m), 10).double() for m in range(3)])
    for size in (1, 2, 3):
        weights = torch.tensor(last["each_alpha"][:size], dtype=torch.float64)
        voted = (ballots[:size] * weights[:, None, None]).sum(0).argmax(-1)
        right = (voted == labels(training)).double().mean().item()
        assert last["prefix_train_accuracy"][size - 1] == pytest.approx(right)


def test_every_member_keeps_the_training_figures_of_its_last_epoch(make_boosting):
    results = run(make_boosting(epochs=2))
    ends = [results[1], results[3], results[5]]
    assert results[-1]["each_train_loss"] == [end["train_loss"] for end in ends]
    assert results[-1]["each_running_train_accuracy"] == [end["running_train_accuracy"] for end in ends]
    assert results[2]["each_train_loss"] == [results[1]["train_loss"], results[2]["train_loss"]]


def test_a_checkpoint_that_does_not_hold_them_leaves_them_unknown(make_boosting):
    training = make_boosting()
    for _ in range(3):
        training.run_epoch()
    state = training.state_dict()
    del state["running"]
    restored = make_boosting()
    restored.load_state_dict(state)
    result = restored.run_epoch()
    assert result["each_train_loss"] == [None, result["train_loss"]]


def test_augmented_and_plain_training_accuracy_agree_without_augmentation(make_boosting, make_bagging):
    for build in (make_boosting, lambda **config: make_bagging(**TINY | config)):
        after, augmented = (run(build(train_measure=measured))[-1] for measured in ("after", "augmented"))
        assert after["train_accuracy"] == augmented["train_accuracy"]


def test_bagging_measures_training_accuracy_on_augmented_images(make_bagging):
    config = TINY | {"augmentation": "real-time"}
    after, augmented, again = (
        [r["train_accuracy"] for r in run(make_bagging(**config, train_measure=measured))]
        for measured in ("after", "augmented", "augmented")
    )
    assert augmented == again != after


def test_augmented_test_images_are_drawn_anew_for_finished_members_too(make_boosting):
    config = {"augmentation": "real-time", "validation": False, "test_every_epoch": True}
    augmented, plain = (make_boosting(**config, test_augmented=on) for on in (True, False))
    own = []
    for training in (augmented, plain):
        results = run(training)
        own.append([r["each_test_accuracy"][0] for r in results if r["round"] > 1])
        assert results[-1]["train_loss"] == pytest.approx(run(make_boosting(**config))[-1]["train_loss"])
    assert len(set(own[0])) > 1
    assert len(set(own[1])) == 1  # a finished member on plain images


def test_without_validation_images_there_is_no_validation_accuracy(make_boosting):
    last = run(make_boosting(validation=False))[-1]
    assert "val_accuracy" not in last
    assert "test_accuracy" in last


# Settings.


def test_bootstrap_is_refused_where_images_are_weighted():
    with pytest.raises(SettingError, match="bootstrap must be false"):
        BoostedAlexNetSettings(bootstrap=True)
    assert AlexNetEnsembleSettings(strategy="bagging", bootstrap=True).bootstrap


@pytest.mark.parametrize(("strategy", "vote"), [("bagging", "logits"), ("adaboost", "soft")])
def test_a_vote_that_the_strategy_lacks_is_refused(strategy, vote):
    with pytest.raises(SettingError, match=rf"^vote must be one of .* if strategy is '{strategy}', got '{vote}'$"):
        AlexNetEnsembleSettings(strategy=strategy, vote=vote)


@pytest.mark.parametrize(("strategy", "expected"), [("bagging", Bagging), ("adaboost", AdaBoost)])
def test_the_strategy_is_a_hyperparameter(digits, make_recipe, strategy, expected):
    data = DeviceData(digits)
    settings = AlexNetEnsembleSettings(strategy=strategy, members=3, epochs=2, train_images=60)
    task = Task.of(data, settings)
    chosen = AlexNetEnsemble.strategy
    assert isinstance(chosen, BaggingOrAdaBoost)
    assert chosen.trial_epochs(settings) == {"bagging": 2, "adaboost": 6}[strategy]
    assert chosen.work(settings, task) == expected.work(settings, task)
    # At equal cost: as many images are trained on.
    assert chosen.work(settings, task)[0] == 3 * 2 * 60
    made = type(make_recipe())(dataclasses.replace(settings), task)
    assert isinstance(chosen(made), expected)
