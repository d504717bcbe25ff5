import math
from typing import Any

import numpy as np
import pytest
import torch

from trainables.ensembles.bagging import Bagging
from trainables.epoch_metrics import member_logits
from trainables.training import schedules
from trainables.training.loop import Diverged, Member

TIMES = {"seconds", "train_seconds", "images_per_second"}
EVERYTHING = {"dropout": 0.5, "momentum": 0.9, "weight_decay": 1e-4, "bootstrap": True, "augmentation": "real-time"}


def run(training: Bagging) -> list[dict[str, Any]]:
    """The rest of a trial, epoch by epoch."""
    return [training.run_epoch() for _ in range(training.epoch, training.total_epochs)]


def comparable(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics that do not depend on the machine's speed, as values that compare exactly."""
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in metrics.items()
        if name not in TIMES
    }


def weights(member: Member) -> list[torch.Tensor]:
    return list(member.network.state_dict().values())


def same(one: Member, other: Member) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def vote(ballots: list[int]) -> int:
    return max(set(ballots), key=lambda label: (ballots.count(label), -label))


@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize("augmentation", ["none", "real-time", "cached"])
def test_the_first_members_of_an_ensemble_are_a_smaller_ensemble(make_bagging, augmentation, kind):
    config = EVERYTHING | {"augmentation": augmentation, "vote": kind, "test_every_epoch": True}
    config |= {"train_measure": "after"}
    four = make_bagging(members=4, **config)
    whole = run(four)
    for k in (1, 3):
        few = make_bagging(members=k, **config)
        metrics = run(few)
        assert all(same(a, b) for a, b in zip(four.members[:k], few.members, strict=True))
        for epoch, expected in zip(metrics, whole, strict=True):
            lists = [name for name in epoch if name.startswith(("prefix_", "each_"))]
            assert len(lists) == 19
            for name in lists:
                assert epoch[name] == expected[name][:k]
            assert epoch["test_accuracy"] == expected["prefix_test_accuracy"][k - 1]
        assert metrics[-1]["member_predicted"].tolist() == whole[-1]["member_predicted"][:k].tolist()
    assert not same(four.members[0], four.members[1])


def test_the_same_configuration_and_seed_give_the_same_metrics(make_bagging):
    config = EVERYTHING | {"members": 2, "seed": 5}
    first, second, other = (run(make_bagging(**config | change)) for change in ({}, {}, {"seed": 6}))
    assert [comparable(m) for m in first] == [comparable(m) for m in second]
    assert first[0]["train_loss"] != other[0]["train_loss"]


@pytest.mark.parametrize("augmentation", ["real-time", "cached"])
def test_a_restored_trial_goes_on_as_an_uninterrupted_one(make_bagging, tmp_path, augmentation):
    config = EVERYTHING | {"augmentation": augmentation, "members": 2, "epochs": 5, "decay": "exponential"}
    config |= {"train_measure": "augmented", "train_measure_every": 4}
    whole = make_bagging(**config)
    expected = run(whole)
    stopped = make_bagging(**config)
    for _ in range(2):
        stopped.run_epoch()
    torch.save(stopped.state_dict(), tmp_path / "trial.pt")
    restored = make_bagging(**config)
    restored.load_state_dict(torch.load(tmp_path / "trial.pt", weights_only=True))
    assert [comparable(m) for m in run(restored)] == [comparable(m) for m in expected[2:]]
    assert all(same(a, b) for a, b in zip(whole.members, restored.members, strict=True))


def test_a_state_of_another_number_of_members_is_refused(make_bagging):
    with pytest.raises(ValueError, match="shorter"):
        make_bagging(members=3).load_state_dict(make_bagging(members=2).state_dict())


@pytest.mark.parametrize("gray", [False, True])
def test_cached_augmentation_is_made_once_for_all_members_and_epochs(make_recipe, gray):
    made = make_recipe(augmentation="cached", gray=gray, members=2)
    originals = made.task.data.train_images.clone()
    cached = made.training_images()
    Bagging(made).run_epoch()
    assert made.training_images() is cached
    assert torch.equal(made.task.data.train_images, originals)
    images = made.task.train
    changed = (cached[images] != originals[images]).flatten(1).any(1)
    assert changed.float().mean() > 0.9
    held_out = made.task.validation
    assert torch.equal(cached[held_out], originals[held_out])
    assert torch.equal(make_recipe(augmentation="cached", members=5, lr=0.5).training_images(), cached)
    assert not torch.equal(make_recipe(augmentation="cached", seed=1).training_images(), cached)


def test_cached_images_enter_training_as_they_are(make_recipe):
    made = make_recipe(augmentation="cached")
    batch = made.training_images()[made.task.train]
    assert torch.equal(made.train_inputs(batch, torch.Generator()), made.test_inputs(batch))


def test_the_vote_is_of_the_members_labels(make_bagging):
    training = make_bagging(members=4, lr=0.3)
    metrics = run(training)[-1]
    task = training.recipe.task
    labels = task.data.test_labels[task.test].tolist()
    ballots = [m.probabilities(task.data.test_images, task.test).argmax(1).tolist() for m in training.members]
    votes = [[vote([b[image] for b in ballots[:k]]) for image in range(50)] for k in range(1, 5)]

    def share(predicted: list[int]) -> float:
        return sum(p == label for p, label in zip(predicted, labels, strict=True)) / 50

    assert metrics["predicted"].dtype == metrics["member_predicted"].dtype == np.int16
    assert metrics["predicted"].tolist() == votes[-1]
    assert metrics["member_predicted"].tolist() == ballots
    assert metrics["test_indices"].tolist() == list(range(50))
    assert metrics["prefix_test_accuracy"] == pytest.approx([share(v) for v in votes])
    assert metrics["each_test_accuracy"] == pytest.approx([share(b) for b in ballots])
    assert metrics["test_accuracy"] == metrics["prefix_test_accuracy"][-1]
    assert metrics["member_test_accuracy"] == pytest.approx(sum(map(share, ballots)) / 4)
    assert len(set(metrics["each_test_accuracy"])) > 1


def test_what_early_stopping_ranks_by_is_the_members_mean_and_not_their_vote(make_bagging):
    metrics = run(make_bagging(members=3, lr=0.3))[-1]
    assert metrics["member_val_accuracy"] == pytest.approx(sum(metrics["each_val_accuracy"]) / 3)
    assert metrics["val_accuracy"] == metrics["prefix_val_accuracy"][-1]
    assert metrics["member_val_accuracy"] != metrics["val_accuracy"]


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_loss_and_top_5_are_of_the_mean_probabilities(make_bagging, kind):
    training = make_bagging(members=3, vote=kind)
    metrics = run(training)[-1]
    data, task = training.recipe.task.data, training.recipe.task
    for name, images, labels, indices in (
        ("val", data.train_images, data.train_labels, task.validation),
        ("test", data.test_images, data.test_labels, task.test),
    ):
        mean = sum(m.probabilities(images, indices).double() for m in training.members) / 3
        right = labels[indices]
        assert metrics[f"{name}_loss"] == pytest.approx(-mean[range(len(right)), right].log().mean().item(), rel=1e-5)
        if kind == "soft":
            assert metrics[f"{name}_accuracy"] == pytest.approx((mean.argmax(1) == right).double().mean().item())
    ranks = (mean > mean[range(len(right)), right][:, None]).sum(1)
    assert metrics["test_top5_accuracy"] == pytest.approx((ranks < 5).double().mean().item())
    assert metrics["test_accuracy"] < metrics["test_top5_accuracy"] < 1


def test_top_1_never_exceeds_top_5_under_training(make_bagging):
    for metrics in run(make_bagging(members=1, epochs=4, test_every_epoch=True)):
        assert metrics["test_accuracy"] <= metrics["test_top5_accuracy"]


@pytest.mark.parametrize("train_images", [60, None])
def test_out_of_bag_accuracy_is_what_a_slow_loop_finds(make_bagging, train_images):
    training = make_bagging(members=3, bootstrap=True, train_images=train_images)
    metrics = run(training)
    data = training.recipe.task.data
    right = voted = 0
    for image in training.recipe.task.train.tolist():
        unseen = [m for m in training.members if image not in m.images.tolist()]
        ballots = [int(m.probabilities(data.train_images, torch.tensor([image])).argmax()) for m in unseen]
        if ballots:
            voted += 1
            right += vote(ballots) == data.train_labels[image].item()
    assert 0 < voted < len(training.recipe.task.train)
    assert metrics[-1]["oob_accuracy"] == pytest.approx(right / voted) == metrics[-1]["prefix_oob_accuracy"][-1]
    first = training.members[0]
    unseen = [image for image in training.recipe.task.train.tolist() if image not in first.images.tolist()]
    alone = first.probabilities(data.train_images, torch.tensor(unseen)).argmax(1) == data.train_labels[unseen]
    assert metrics[-1]["prefix_oob_accuracy"][0] == pytest.approx(alone.double().mean().item())
    assert not {"oob_accuracy", "prefix_oob_accuracy"} & make_bagging().run_epoch().keys()


def test_without_an_image_out_of_its_bag_a_member_has_no_such_accuracy(make_bagging):
    """A bag that holds every image."""
    training = make_bagging(members=2, bootstrap=True)
    for member in training.members:
        member.images = training.recipe.task.train
    metrics = training.run_epoch()
    assert metrics["prefix_oob_accuracy"] == [None, None]
    assert metrics["oob_accuracy"] is None


def test_running_training_accuracy_is_the_mean_of_the_members_own(make_bagging):
    metrics = make_bagging(members=3).run_epoch()
    alone = [member.train_epoch(1) for member in make_bagging(members=3).members]
    assert metrics["train_accuracy"] == pytest.approx(sum(o.accuracy for o in alone) / 3)
    assert metrics["running_train_accuracy"] == metrics["train_accuracy"]
    assert metrics["each_running_train_accuracy"] == [o.accuracy for o in alone]
    assert metrics["train_loss"] == pytest.approx(sum(o.loss for o in alone) / 3)
    assert metrics["each_train_loss"] == [o.loss for o in alone]
    assert "prefix_train_accuracy" not in metrics


def test_training_accuracy_after_the_epoch_is_the_vote_on_the_images_as_they_are(make_bagging):
    config = {"members": 3, "augmentation": "cached", "dropout": 0.5}
    training = make_bagging(train_measure="after", **config)
    metrics = run(training)[-1]
    data, train = training.recipe.task.data, training.recipe.task.train
    ballots = [m.probabilities(data.train_images, train).argmax(1).tolist() for m in training.members]
    votes = torch.tensor([[vote([b[image] for b in ballots[:k]]) for image in range(60)] for k in (1, 2, 3)])
    expected = (votes == data.train_labels[train]).double().mean(1).tolist()
    assert metrics["prefix_train_accuracy"] == pytest.approx(expected)
    assert metrics["train_accuracy"] == metrics["prefix_train_accuracy"][-1]
    running = run(make_bagging(**config))[-1]
    assert running["train_accuracy"] != metrics["train_accuracy"]
    assert running["train_accuracy"] == metrics["running_train_accuracy"]
    assert running["train_loss"] == metrics["train_loss"]
    assert running["val_accuracy"] == metrics["val_accuracy"]


@pytest.mark.parametrize("measured", ["after", "augmented"])
@pytest.mark.parametrize(("every", "epochs"), [(1, {1, 2, 3, 4, 5}), (2, {1, 2, 4, 5}), (4, {1, 4, 5}), (9, {1, 5})])
def test_the_votes_training_accuracy_is_measured_every_so_many_epochs(make_bagging, measured, every, epochs):
    config = {"members": 2, "epochs": 5, "augmentation": "real-time"}
    whole = run(make_bagging(**config, train_measure=measured))
    for metrics, expected in zip(
        run(make_bagging(**config, train_measure=measured, train_measure_every=every)), whole, strict=True
    ):
        at = metrics["epoch"]
        assert metrics["train_accuracy"] == (expected["train_accuracy"] if at in epochs else None)
        assert ("prefix_train_accuracy" in metrics) == (at in epochs)
        assert metrics["running_train_accuracy"] == expected["running_train_accuracy"] > 0


# What is recorded of every look at a set of images.
MEASURES = {"loss", "accuracy", "ece", "brier", "disagreement", "q_statistic"}
TESTED = {
    *(f"test_{name}" for name in MEASURES),
    *(f"prefix_test_{name}" for name in MEASURES),
    "test_top5_accuracy",
    "member_test_accuracy",
    "each_test_accuracy",
}


def test_the_whole_ensembles_figures_are_those_of_its_last_prefix(make_bagging):
    metrics = run(make_bagging(members=3))[-1]
    for split in ("val", "test"):
        for name in MEASURES:
            assert metrics[f"{split}_{name}"] == metrics[f"prefix_{split}_{name}"][-1]
        assert metrics[f"prefix_{split}_disagreement"][0] is metrics[f"prefix_{split}_q_statistic"][0] is None
        assert 0 < metrics[f"{split}_disagreement"] < 1
        assert -1 <= metrics[f"{split}_q_statistic"] <= 1


def test_a_single_model_has_nobody_to_disagree_with(make_bagging):
    metrics = run(make_bagging())[-1]
    assert metrics["val_disagreement"] is metrics["val_q_statistic"] is metrics["test_q_statistic"] is None
    assert metrics["val_ece"] > 0


PREDICTED = {"predicted", "member_predicted", "test_indices"}


def about_test_images(metrics: dict[str, Any]) -> set[str]:
    return {name for name in metrics if "test" in name or "predicted" in name}


def test_test_images_are_looked_at_once_after_the_last_epoch(make_bagging):
    metrics = run(make_bagging(epochs=3))
    assert [about_test_images(m) for m in metrics] == [set(), set(), TESTED | PREDICTED]


def test_a_protocol_may_look_at_test_images_every_epoch(make_bagging):
    metrics = run(make_bagging(epochs=3, test_every_epoch=True))
    assert [about_test_images(m) for m in metrics] == [TESTED, TESTED, TESTED | PREDICTED]
    once = run(make_bagging(epochs=3))
    assert comparable(metrics[-1]) == comparable(once[-1])


def test_without_validation_images_nothing_is_said_of_them(make_bagging):
    metrics = run(make_bagging(validation=False, train_images=None))
    assert not [name for name in metrics[-1] if "val" in name]
    assert about_test_images(metrics[-1]) == TESTED | PREDICTED


def test_epochs_are_counted_from_1_at_the_rate_of_their_decay(make_bagging):
    metrics = run(make_bagging(epochs=6, lr=0.04, decay="cosine"))
    assert [m["epoch"] for m in metrics] == [1, 2, 3, 4, 5, 6]
    assert [m["lr"] for m in metrics] == pytest.approx([0.04 * schedules.cosine(epoch, 6) for epoch in range(1, 7)])


def test_parameters_count_every_member(make_bagging):
    one = 6 * 3 * 25 + 6 + 12 + 600 * 10 + 10
    metrics = make_bagging(members=3).run_epoch()
    assert metrics["parameters"] == 3 * one
    assert metrics["prefix_parameters"] == [one, 2 * one, 3 * one]


def test_seconds_hold_the_training_and_the_measuring(make_bagging):
    metrics = make_bagging(members=2).run_epoch()
    assert 0 < metrics["train_seconds"] < metrics["seconds"]
    assert metrics["images_per_second"] == pytest.approx(120 / metrics["train_seconds"])


def test_a_diverged_member_ends_the_epoch_and_leaves_it_uncounted(make_bagging):
    training = make_bagging(members=2, lr=1e30)
    with pytest.raises(Diverged, match=r"^training loss is nan in epoch 1 of member 1$"):
        training.run_epoch()
    assert training.epoch == 0


def test_outputs_that_are_not_finite_are_no_result(make_bagging):
    training = make_bagging(lr=1e30, batch_size=60, epochs=1)
    with pytest.raises(Diverged, match=r"^outputs of member 1 are not finite$"):
        training.run_epoch()
    assert training.epoch == 0


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"members": 3},
        {"test_every_epoch": True},
        {"train_measure": "after"},
        {"train_measure": "augmented", "train_measure_every": 3, "epochs": 7, "members": 2},
        {"validation": False, "test_images": 20},
        {"augmentation": "real-time", "epochs": 3},
    ],
)
def test_work_is_the_number_of_images_that_pass_through_a_network(make_recipe, change):
    made = make_recipe(**{"batch_size": 20} | change)
    passed = {"train": 0, "evaluated": 0}

    def counting(network: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        passed["train" if network.training else "evaluated"] += len(inputs[0])

    training = Bagging(made)
    for member in training.members:
        member.network.register_forward_pre_hook(counting)
    run(training)
    assert Bagging.work(made.settings, made.task) == (passed["train"], passed["evaluated"])


def test_a_loss_in_bits_is_a_larger_rate_and_is_reported_in_nats(make_bagging):
    """Without momentum and weight decay."""
    nats, bits = make_bagging(lr=0.01 / math.log(2), epochs=3), make_bagging(lr=0.01, epochs=3, loss_unit="bits")
    for ours, theirs in zip(run(bits), run(nats), strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-4)
        assert ours["lr"] == pytest.approx(theirs["lr"] * math.log(2))
    assert run(make_bagging(lr=0.01, epochs=3))[-1]["train_loss"] != pytest.approx(ours["train_loss"], rel=1e-3)


def test_augmented_test_images_are_others_each_epoch_and_training_is_what_it_was(make_bagging):
    config = {"augmentation": "real-time", "validation": False, "test_every_epoch": True, "epochs": 3}
    plain, augmented, again = (run(make_bagging(**config, test_augmented=on)) for on in (False, True, True))
    assert [comparable(m) for m in augmented] == [comparable(m) for m in again]
    assert [m["train_loss"] for m in augmented] == [m["train_loss"] for m in plain]
    assert [m["test_loss"] for m in augmented] != [m["test_loss"] for m in plain]
    training = make_bagging(**config, test_augmented=True)
    first, second, repeated = (member_logits(training.members[0], "test", epoch) for epoch in (1, 2, 1))
    assert torch.equal(first, repeated)
    assert not torch.equal(first, second)
    # Images that nothing augments stay as they are.
    unchanged = [run(make_bagging(**config | {"augmentation": "none"}, test_augmented=on)) for on in (False, True)]
    assert unchanged[0][-1]["test_loss"] == unchanged[1][-1]["test_loss"]
