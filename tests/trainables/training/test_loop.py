import copy
import math

import pytest
import torch
import torch.nn.functional as F

from trainables.training.loop import EVALUATION_BATCH, Diverged, Member


def same_weights(one: Member, other: Member) -> bool:
    pairs = zip(one.network.state_dict().values(), other.network.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("weighted", [False, True])
def test_an_epoch_is_stochastic_gradient_descent_written_out(make_recipe, weighted):
    made = make_recipe(momentum=0.9, weight_decay=0.01, dropout=0.0, lr=0.05, decay="exponential", epochs=8)
    member = Member(made, 0)
    data, images = made.task.data, made.task.train
    weights = None
    if weighted:
        weights = torch.rand(60, generator=torch.Generator().manual_seed(0)) + 0.5
        weights /= weights.mean()
    network = copy.deepcopy(member.network)
    velocity = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
    epoch, rate = 5, 0.05 * 0.8

    network.train()
    losses, right = [], []
    for positions in member.order(epoch).split(16):
        batch = images[positions]
        logits = network((data.train_images[batch] / 255 - data.mean) / data.std)
        loss = F.cross_entropy(logits, data.train_labels[batch], reduction="none")
        losses += loss.tolist()
        right += (logits.argmax(1) == data.train_labels[batch]).tolist()
        mean = loss.mean() if weights is None else (weights[positions] * loss).sum() / len(batch)
        gradients = torch.autograd.grad(mean, list(network.parameters()))
        with torch.no_grad():
            for (name, p), gradient in zip(network.named_parameters(), gradients, strict=True):
                velocity[name] = 0.9 * velocity[name] + gradient + 0.01 * p
                p -= rate * velocity[name]

    outcome = member.train_epoch(epoch, weights)
    for trained, expected in zip(member.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(trained, expected, atol=1e-5, rtol=1e-4)
    # The running loss is unweighted, so that weighted and plain training compare.
    assert outcome.loss == pytest.approx(sum(losses) / 60, rel=1e-4)
    assert outcome.accuracy == pytest.approx(sum(right) / 60)
    assert (outcome.images, outcome.lr) == (60, pytest.approx(rate))


def test_a_last_batch_of_one_image_is_left_out(make_recipe):
    member = Member(make_recipe(train_images=60, batch_size=59), 0)
    assert member.train_epoch(1).images == 59
    assert Member(make_recipe(train_images=60, batch_size=58), 0).train_epoch(1).images == 60


def test_batches_of_one_image_are_trained_on(make_recipe):
    assert Member(make_recipe(train_images=20, batch_size=1), 0).train_epoch(1).images == 20


def test_the_first_steps_of_an_epoch_alone(make_recipe):
    outcome = Member(make_recipe(), 0).train_epoch(1, steps=2)
    assert outcome.images == 32


def test_shuffled_images_come_in_another_order_each_epoch_and_member(make_recipe):
    made = make_recipe()
    first, second = Member(made, 0), Member(made, 1)
    orders = [first.order(1), first.order(2), second.order(1)]
    assert all(sorted(order.tolist()) == list(range(60)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 3
    assert torch.equal(Member(made, 0).order(2), orders[1])


def test_unshuffled_images_come_as_they_stand(make_recipe):
    member = Member(make_recipe(shuffle=False), 3)
    assert all(member.order(epoch).tolist() == list(range(60)) for epoch in (1, 2))


def test_members_start_from_weights_of_their_own(make_recipe):
    made = make_recipe()
    assert same_weights(Member(made, 1), Member(make_recipe(), 1))
    assert not same_weights(Member(made, 0), Member(made, 1))
    assert not same_weights(Member(made, 0), Member(make_recipe(seed=1), 0))


def test_all_members_see_all_images_without_bootstrap(make_recipe):
    made = make_recipe()
    assert all(torch.equal(Member(made, index).images, made.task.train) for index in range(3))


def test_bootstrap_draws_as_many_images_with_replacement(make_recipe):
    made = make_recipe(bootstrap=True, train_images=None)
    train = set(made.task.train.tolist())
    samples = [Member(made, index).images.tolist() for index in range(40)]
    assert all(len(sample) == 270 and set(sample) <= train for sample in samples)
    assert len({tuple(sample) for sample in samples}) == 40
    left_out = [1 - len(set(sample)) / 270 for sample in samples]
    # (1 - 1/n)^n, nearly 1/e; the mean of 40 has a standard deviation of about .003.
    assert sum(left_out) / 40 == pytest.approx(0.368, abs=0.012)


def test_random_streams_outside_stay_untouched(make_recipe):
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    Member(make_recipe(dropout=0.5, augmentation="real-time"), 0).train_epoch(1)
    assert torch.equal(torch.rand(3), expected)


def test_dropout_differs_from_epoch_to_epoch_and_repeats_with_the_seed(make_recipe):
    def loss(dropout: float, epoch: int) -> float:
        # The rate is the same in both epochs and too small to matter.
        return Member(make_recipe(dropout=dropout, lr=1e-12, shuffle=False), 0).train_epoch(epoch).loss

    assert loss(0.5, 1) == loss(0.5, 1)
    assert loss(0.5, 1) != loss(0.5, 2)
    assert loss(0.0, 1) == loss(0.0, 2)


def test_augmentation_differs_by_member_and_epoch_and_repeats_with_the_seed(make_recipe):
    def inputs(index: int, epoch: int) -> bytes:
        member = Member(make_recipe(augmentation="real-time", shuffle=False), index)
        seen = []
        member.network.register_forward_pre_hook(lambda _, images: seen.append(images[0].numpy().tobytes()))
        member.train_epoch(epoch)
        return b"".join(seen)

    assert inputs(0, 1) == inputs(0, 1)
    assert len({inputs(0, 1), inputs(0, 2), inputs(1, 1)}) == 3


def test_a_loss_that_is_not_finite_names_epoch_and_member(make_recipe):
    member = Member(make_recipe(lr=1e30), 1)
    with pytest.raises(Diverged, match=r"^training loss is nan in epoch 2 of member 2$"):
        member.train_epoch(2)


def test_outputs_that_are_not_finite_are_no_predictions(make_recipe):
    # One batch: its loss was finite before the update that breaks the weights.
    member = Member(make_recipe(lr=1e30, batch_size=60), 1)
    assert math.isfinite(member.train_epoch(1).loss)
    with pytest.raises(Diverged, match=r"^outputs of member 2 are not finite$"):
        member.probabilities(member.recipe.task.data.test_images, member.recipe.task.test)


def test_probabilities_belong_to_an_image_not_to_its_batch(make_recipe):
    made = make_recipe(dropout=0.5)
    member = Member(made, 0)
    member.train_epoch(1)
    images = made.task.data.train_images
    indices = torch.arange(EVALUATION_BATCH + 10).flip(0)
    together = member.probabilities(images, indices)
    assert together.shape == (EVALUATION_BATCH + 10, 10)
    assert torch.equal(member.probabilities(images, indices), together)
    torch.testing.assert_close(together.sum(1), torch.ones(len(indices)))
    for position in (0, EVALUATION_BATCH - 1, EVALUATION_BATCH, EVALUATION_BATCH + 9):
        alone = member.probabilities(images, indices[position : position + 1])
        torch.testing.assert_close(together[position : position + 1], alone, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(member.logits(images, indices[position : position + 1]).softmax(1), alone)


def test_training_learns(make_recipe):
    member = Member(make_recipe(train_images=None, decay="constant", dropout=0.0), 0)
    outcomes = [member.train_epoch(epoch) for epoch in range(1, 5)]
    assert outcomes[0].loss < 2 * math.log(10)
    assert outcomes[-1].loss < 0.3 * outcomes[0].loss
    assert outcomes[-1].accuracy > 0.9
