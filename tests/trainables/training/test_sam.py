import copy

import pytest
import torch
from torch import nn

from trainables.training.sam import SAM, freeze_batch_norm


def quadratic(w):
    """Value w1^2 / 2 + w2^2, gradient (w1, 2 w2)."""
    return w[0] ** 2 / 2 + w[1] ** 2


def closure_of(optimizer, loss):
    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value.detach()

    return closure


def test_a_step_worked_by_hand():
    # At w = (3, 2): g = (3, 4), |g| = 5, e = .5 g / 5 = (.3, .4); at w + e the gradient is (3.3, 4.8).
    # Weight decay .1 pulls from w, not from w + e: w - .1 ((3.3, 4.8) + .1 (3, 2)) = (2.64, 1.5).
    w = nn.Parameter(torch.tensor([3.0, 2.0], dtype=torch.float64))
    sam = SAM(torch.optim.SGD([w], lr=0.1, weight_decay=0.1), rho=0.5)
    value = sam.step(closure_of(sam, lambda: quadratic(w)))
    torch.testing.assert_close(w.detach(), torch.tensor([2.64, 1.5], dtype=torch.float64), rtol=1e-11, atol=0)
    assert value == 8.5  # the loss at w, not the one at w + e


def test_an_adaptive_step_worked_by_hand():
    # |w| g = (9, 8), norm sqrt(145); e = .5 (9 * 3, 4 * 4) / sqrt(145).
    w = nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float64))
    sam = SAM(torch.optim.SGD([w], lr=0.1), rho=0.5, adaptive=True)
    sam.step(closure_of(sam, lambda: quadratic(w)))
    e = 0.5 * torch.tensor([27.0, -16.0], dtype=torch.float64) / 145**0.5
    start = torch.tensor([3.0, -2.0], dtype=torch.float64)
    expected = start - 0.1 * torch.tensor([1.0, 2.0], dtype=torch.float64) * (start + e)
    torch.testing.assert_close(w.detach(), expected, rtol=1e-11, atol=0)


def test_the_radius_is_of_all_weights_together():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    before = [p.detach().clone() for p in network.parameters()]
    x = torch.randn(5, 4, dtype=torch.float64)
    sam = SAM(torch.optim.SGD(network.parameters(), lr=0.1), rho=0.3)
    moves = []

    def loss():
        pairs = zip(network.parameters(), before, strict=True)
        moves.append(sum((p.detach() - b).square().sum() for p, b in pairs).sqrt().item())
        return network(x).square().sum()

    sam.step(closure_of(sam, loss))
    assert moves == [0.0, pytest.approx(0.3, rel=1e-9)]


def small_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))


def train(network, optimizer, steps, seed=1):
    torch.manual_seed(seed)
    for _ in range(steps):
        x, y = torch.randn(32, 6), torch.randint(0, 3, (32,))
        optimizer.step(closure_of(optimizer, lambda x=x, y=y: nn.functional.cross_entropy(network(x), y)))


def equal(a, b):
    other = b.state_dict()
    return all(torch.equal(tensor, other[name]) for name, tensor in a.state_dict().items())


BASES = [
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=5e-4),
    lambda p: torch.optim.Adam(p, lr=0.01),
]


@pytest.mark.parametrize("base", BASES)
def test_without_radius_it_is_the_base_optimizer_bit_for_bit(base):
    plain, sharp = small_network(), small_network()
    train(plain, base(plain.parameters()), 5)
    train(sharp, SAM(base(sharp.parameters()), rho=0), 5)
    assert equal(plain, sharp)
    with_radius = small_network()
    train(with_radius, SAM(base(with_radius.parameters()), rho=0.05), 5)
    assert not equal(plain, with_radius)


@pytest.mark.parametrize("base", BASES)
def test_a_restored_run_goes_on_as_an_uninterrupted_one(base, tmp_path):
    whole = small_network()
    sam = SAM(base(whole.parameters()), rho=0.1)
    train(whole, sam, 4)
    torch.save({"network": whole.state_dict(), "optimizer": sam.state_dict()}, tmp_path / "checkpoint.pt")
    train(whole, sam, 4, seed=2)

    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    restored = small_network()
    restored.load_state_dict(state["network"])
    again = SAM(base(restored.parameters()), rho=0.7, adaptive=True)
    again.load_state_dict(state["optimizer"])
    train(restored, again, 4, seed=2)
    assert equal(whole, restored)


def test_the_rate_can_be_scheduled_through_param_groups():
    w = nn.Parameter(torch.tensor([3.0, 2.0]))
    sam = SAM(torch.optim.SGD([w], lr=0.1), rho=0.1)
    for group in sam.param_groups:
        group["lr"] = 0.0
    sam.step(closure_of(sam, lambda: quadratic(w)))
    assert w.tolist() == [3.0, 2.0]


@pytest.mark.parametrize(("freeze", "updates"), [(False, 2), (True, 1)])
def test_batch_norm_statistics_move_in_both_passes_unless_frozen(freeze, updates):
    network = small_network()
    sam = SAM(torch.optim.SGD(network.parameters(), lr=0.1), rho=0.1, frozen=network if freeze else None)
    train(network, sam, 1)
    assert network[1].num_batches_tracked == updates


def test_frozen_batch_norm_keeps_its_buffers_and_still_normalises_by_the_batch():
    network = small_network()
    network[3].p = 0.0
    x = 5 + 3 * torch.randn(32, 6)
    buffers = copy.deepcopy(dict(network.named_buffers()))
    with freeze_batch_norm(network):
        inside = network(x)
    assert all(torch.equal(value, buffers[name]) for name, value in network.named_buffers())
    assert torch.equal(inside, network(x))
    assert network[1].num_batches_tracked == 1


def test_a_second_pass_that_raises_leaves_the_weights_where_they_were():
    network = small_network()
    before = copy.deepcopy(network)
    sam = SAM(torch.optim.SGD(network.parameters(), lr=0.1), rho=0.5, frozen=network)
    passes = []

    def loss():
        passes.append(None)
        if len(passes) == 2:
            raise RuntimeError("out of memory")
        return network(torch.ones(4, 6)).sum()

    with pytest.raises(RuntimeError, match="out of memory"):
        sam.step(closure_of(sam, loss))
    assert all(torch.equal(p, q) for p, q in zip(network.parameters(), before.parameters(), strict=True))
    assert network[1].track_running_stats


@pytest.mark.parametrize("rho", [-0.1, float("nan"), float("inf")])
def test_rho_must_be_a_radius(rho):
    with pytest.raises(ValueError, match=f"rho must be a finite number of at least 0, got {rho}"):
        SAM(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1), rho=rho)
