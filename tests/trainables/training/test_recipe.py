"""What every family's recipe does the same way: optimizer, loss, rate, one step."""

import pytest
import torch
from torch import nn


def weight(network):
    return network[-1].weight


def steps(recipe, network, n=3):
    """`n` steps on one batch; the gradients of the last linear before each, and its weights in the end."""
    optimizer, gradients = recipe.optimizer(network), []
    images = recipe.test_inputs(recipe.task.data.train_images[:12])
    for _ in range(n):
        recipe.update(network.eval(), optimizer, images, recipe.task.data.train_labels[:12])
        gradients.append(weight(network).grad.clone())
    return gradients, weight(network).detach().clone()


def test_sgd_steps_with_momentum_and_weight_decay(make_recipe):
    made = make_recipe(lr=0.1, momentum=0.5, weight_decay=0.01)
    network = made.network()
    w, velocity = weight(network).detach().clone(), 0.0
    gradients, found = steps(made, network)
    for gradient in gradients:
        velocity = 0.5 * velocity + gradient + 0.01 * w
        w = w - 0.1 * velocity
    assert torch.allclose(found, w, atol=1e-6)


def test_adam_steps_as_published(make_recipe):
    """Kingma and Ba, 2015, algorithm 1, with the weight decay added to the gradient."""
    made = make_recipe(lr=0.01, optimizer="adam", weight_decay=0.01, momentum=0.9)
    network = made.network()
    w, m, v = weight(network).detach().clone(), 0.0, 0.0
    gradients, found = steps(made, network)
    for t, gradient in enumerate(gradients, 1):
        g = gradient + 0.01 * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - 0.01 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    assert torch.allclose(found, w, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_a_smoothed_target_leaves_eps_to_the_wrong_classes_alone(make_recipe, smoothing):
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 10, dtype=torch.float64), torch.arange(6)
    target = torch.full((6, 10), smoothing / 9, dtype=torch.float64)
    target[torch.arange(6), labels] = 1 - smoothing
    expected = -(target * logits.log_softmax(1)).sum(1)
    assert torch.allclose(make_recipe(label_smoothing=smoothing).losses(logits, labels), expected)


@pytest.mark.parametrize(
    ("config", "rates"),
    [
        ({"decay": "constant"}, [1, 1, 1, 1, 1, 1]),
        ({"decay": "constant", "warmup_epochs": 2}, [1 / 3, 2 / 3, 1, 1, 1, 1]),
        ({"decay": "cosine", "warmup_epochs": 2}, [1 / 3, 2 / 3, 1, 0.853553, 0.5, 0.146447]),
        ({"decay": "exponential", "warmup_epochs": 1, "step_epochs": 2}, [0.5, 1, 1, 0.8, 0.8, 0.64]),
        ({"decay": "cosine", "warmup_epochs": 6}, [1 / 7, 2 / 7, 3 / 7, 4 / 7, 5 / 7, 6 / 7]),
    ],
)
def test_the_rate_warms_up_then_decays(make_recipe, config, rates):
    made = make_recipe(lr=0.2, epochs=6, **config)
    assert [made.lr(epoch) / 0.2 for epoch in range(1, 7)] == pytest.approx(rates, abs=1e-6)


def test_weights_of_images_multiply_their_losses(make_recipe):
    made = make_recipe()
    network, labels = made.network().eval(), made.task.data.train_labels[:4]
    images = made.test_inputs(made.task.data.train_images[:4])
    made.backward(network, made.optimizer(network), images, labels, torch.tensor([4.0, 0, 0, 0]))
    weighted = weight(network).grad.clone()
    nn.functional.cross_entropy(network(images[:1]), labels[:1]).backward()
    assert torch.allclose(weighted, weight(network).grad - weighted, atol=1e-6)


def test_a_loss_in_bits_has_larger_gradients_and_the_same_figures(make_recipe):
    """1 / ln 2 times: under plain SGD what a rate as many times larger does, with and without weights of images."""
    images = make_recipe().test_inputs(make_recipe().task.data.train_images[:4])
    labels, found = make_recipe().task.data.train_labels[:4], {}
    network = make_recipe().network().eval()
    for unit in ("nats", "bits"):
        made = make_recipe(loss_unit=unit)
        for weights in (None, torch.tensor([1.0, 3.0, 0.0, 0.0])):
            losses, _ = made.backward(network, made.optimizer(network), images, labels, weights)
            found[unit, weights is None] = losses, weight(network).grad.clone()
    for plain in (True, False):
        (losses, gradient), (same, larger) = found["nats", plain], found["bits", plain]
        assert torch.equal(losses, same)
        assert torch.allclose(larger, gradient / torch.tensor(2.0).log(), rtol=1e-5)
