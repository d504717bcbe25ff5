import itertools
import random

import numpy as np
import pytest
import torch

from trainables.training.seeds import derive, generator, seeded

PURPOSES = ("weights", "dropout", "order", "augmentation", "bootstrap", "cache", "evaluation", "test", "measuring")


def test_a_seed_is_a_function_of_its_arguments_alone():
    torch.manual_seed(1)
    first = derive(7, 2, "order", 3)
    torch.manual_seed(2)
    assert derive(7, 2, "order", 3) == first


def test_seeds_stay_what_they_were_in_earlier_versions():
    # A trial of an older results folder can be repeated only as long as these hold.
    assert [derive(0, 0, "weights"), derive(0, 0, "dropout", 1), derive(2**40, 11, "augmentation", 30)] == [
        6569863346532939966,
        8767458060267986312,
        4180146350264816129,
    ]


def test_no_two_streams_share_a_seed():
    tuples = list(itertools.product((0, 1, 2, 2**32, 2**32 + 1), range(12), PURPOSES, range(31)))
    seeds = {derive(*arguments) for arguments in tuples}
    assert len(seeds) == len(tuples)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_generators_repeat_their_draws_and_differ_from_each_other():
    draws = [torch.rand(100, generator=generator(0, 0, "order", epoch)) for epoch in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_seeded_decides_the_draws_inside_and_leaves_those_outside():
    torch.manual_seed(5)
    outside = torch.rand(4)
    torch.manual_seed(5)
    with seeded(0, 1, "dropout", 2):
        inside = torch.rand(4)
    assert torch.equal(torch.rand(4), outside)
    assert torch.equal(inside, torch.rand(4, generator=generator(0, 1, "dropout", 2)))


def test_seeded_gives_the_state_back_when_training_fails():
    torch.manual_seed(5)
    outside = torch.rand(4)
    torch.manual_seed(5)
    with pytest.raises(RuntimeError, match="size"), seeded(0, 0, "dropout", 1):
        torch.rand(2) + torch.rand(3)
    assert torch.equal(torch.rand(4), outside)


def test_seeded_decides_the_draws_of_numpy_and_python_too_and_gives_their_states_back():
    def draws():
        return random.random(), float(np.random.rand())

    random.seed(3)
    np.random.seed(3)
    before = draws()
    inside = []
    for member in (0, 0, 1):
        random.seed(3)
        np.random.seed(3)
        with seeded(0, member, "dropout", 1):
            inside.append(draws())
        assert draws() == before
    assert inside[0] == inside[1]
    assert all(one != other for one, other in zip(inside[0], inside[2], strict=True))
