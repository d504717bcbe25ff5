"""Every engine trains the same network; what differs is rounding."""

import copy

import pytest
import torch
from torch import nn

from trainables.alexnet import AlexNet, AlexNetRecipe
from trainables.training.engine import emulates_bf16, features
from trainables.training.loop import Member
from trainables.training.resized_conv import ResizedConv2d
from trainables.training.settings import ENGINES
from trainables.training.steps import first_steps, gradient


def first_gradient(bagging, engine, **config):
    training = bagging(engine=engine, **{"dropout": 0.0, "momentum": 0.9} | config)
    first_steps(training, 1)
    return gradient(training)


def distance(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


def test_an_engine_is_its_features():
    assert features("plain") == frozenset()
    assert features("fuse+bf16+compile") == {"fuse", "bf16", "compile"}
    assert len(ENGINES) == len({features(engine) for engine in ENGINES}) == 8


@pytest.mark.parametrize("config", [{}, {"members": 2, "engine": "fuse+bf16"}])
def test_bf16_is_what_the_forward_computes_in_and_nothing_else(make_bagging, config):
    training = make_bagging(**{"engine": "bf16", "optimizer": "adam", "validation": True} | config)
    member = training.members[0]
    seen = {True: set(), False: set()}
    convolution = nn.Conv2d._conv_forward

    def watched(self, *arguments):
        outputs = convolution(self, *arguments)
        seen[self.training].add(outputs.dtype)
        return outputs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Conv2d, "_conv_forward", watched)
        training.run_epoch()
    assert seen == {True: {torch.bfloat16}, False: {torch.float32}}
    held = [*member.network.state_dict().values(), *(v for s in member.optimizer.state.values() for v in s.values())]
    assert {value.dtype for value in held} <= {torch.float32, torch.int64}
    assert torch.float32 in {value.dtype for value in held}


@pytest.mark.parametrize("engine", ["plain", "bf16"])
def test_evaluation_in_bf16_is_asked_for_and_changes_nothing_else(make_bagging, engine):
    plain, asked = (make_bagging(engine=engine, evaluation=precision, dropout=0.0) for precision in ("float32", "bf16"))
    expected, found = plain.run_epoch(), asked.run_epoch()
    assert found["train_loss"] == expected["train_loss"]
    for own, other in zip(asked.members[0].network.parameters(), plain.members[0].network.parameters(), strict=True):
        assert torch.equal(own, other)
    logits = [
        each.members[0].logits(each.recipe.task.data.test_images, each.recipe.task.test) for each in (plain, asked)
    ]
    assert [each.dtype for each in logits] == [torch.float32] * 2
    assert 1e-4 < distance(logits[1], logits[0]) < 0.05


def test_losses_and_logits_of_bf16_are_float32(make_recipe):
    made = make_recipe(engine="bf16")
    network, labels = made.network(), made.task.data.train_labels[:8]
    found = made.update(network, made.optimizer(network), torch.rand(8, 3, 32, 32), labels)
    assert [each.dtype for each in found] == [torch.float32, torch.float32]


@pytest.mark.parametrize("config", [{}, {"members": 2}])
def test_bf16_trains_as_float32_does_but_for_its_rounding(make_bagging, config):
    expected = first_gradient(make_bagging, "plain", **config)
    assert 1e-4 < distance(first_gradient(make_bagging, "bf16", **config), expected) < 0.1


def test_bf16_goes_through_the_fold_forward_and_backward():
    torch.manual_seed(0)
    layer, images = ResizedConv2d(3, 8, 11, 4, 1, size=224), torch.rand(4, 3, 32, 32)
    expected = layer.double()(images.double())
    layer.float()
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(images)
    assert found.dtype == torch.bfloat16
    slope = torch.randn_like(expected)
    torch.testing.assert_close(found.double(), expected, atol=0.02, rtol=0.02)
    products = []
    matmul = torch.bmm
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "bmm", lambda *a: products.append(a[0].dtype) or matmul(*a))
        found.backward(slope.to(torch.bfloat16))
    assert products == [torch.bfloat16]
    plain = copy.deepcopy(layer)
    plain.zero_grad()
    plain.plain(images).backward(slope.float())
    for own, reference in zip(layer.parameters(), plain.parameters(), strict=True):
        assert own.grad.dtype == torch.float32
        assert distance(own.grad, reference.grad) < 0.01


def test_a_checkpoint_of_one_engine_goes_on_under_another(make_bagging):
    config = {"momentum": 0.9, "epochs": 2}
    begun, going_on = make_bagging(engine="bf16", **config), make_bagging(engine="plain", **config)
    begun.run_epoch()
    going_on.load_state_dict(copy.deepcopy(begun.state_dict()))
    assert 0 < going_on.run_epoch()["train_loss"] < 3


@pytest.mark.parametrize("engine", ["bf16", "fuse", "fuse+bf16"])
def test_a_restored_trial_goes_on_to_the_last_bit(make_bagging, engine):
    config = {"engine": engine, "members": 2, "momentum": 0.9, "dropout": 0.5, "augmentation": "real-time", "epochs": 3}
    whole, begun, restored = make_bagging(**config), make_bagging(**config), make_bagging(**config)
    expected = [whole.run_epoch()["train_loss"] for _ in range(3)]
    begun.run_epoch()
    restored.load_state_dict(copy.deepcopy(begun.state_dict()))
    assert [restored.run_epoch()["train_loss"] for _ in range(2)] == expected[1:]


def test_how_an_optimizer_steps_is_the_engine_and_not_the_checkpoints(make_bagging):
    state = make_bagging(momentum=0.9).state_dict()
    for group in state["members"][0]["optimizer"]["param_groups"]:
        group["fused"] = True
    training = make_bagging(momentum=0.9)
    training.load_state_dict(state)
    assert training.members[0].optimizer.param_groups[0]["fused"] is None


@pytest.mark.long
@pytest.mark.parametrize("engine", ["compile", "fuse+compile", "fuse+bf16+compile"])
def test_a_compiled_step_is_the_eager_one(make_bagging, engine):
    config = {"members": 2 if "fuse" in engine else 1}
    expected = first_gradient(make_bagging, "plain", **config)
    low, high = (1e-4, 0.1) if "bf16" in engine else (0, 1e-4)
    assert low <= distance(first_gradient(make_bagging, engine, **config), expected) < high
    # The last batch is short: it goes another way.
    loss = make_bagging(engine=engine, dropout=0.0, **config).run_epoch()["train_loss"]
    assert loss == pytest.approx(make_bagging(dropout=0.0, **config).run_epoch()["train_loss"], rel=0.05)


@pytest.mark.long
def test_the_fold_stays_out_of_the_compiler(make_recipe):
    class Whole(AlexNetRecipe):
        def network(self):
            return AlexNet(self.task.data.classes, ratio=0.6, dropout=0.0)

    losses = []
    for engine in ("plain", "compile"):
        made = make_recipe(engine=engine, batch_size=16)
        member = Member(Whole(made.settings, made.task), 0)
        losses.append(member.train_epoch(1, steps=2).loss)
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_a_processor_without_bfloat16_is_known(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    for there in (True, False):
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda there=there: there, raising=False)
        assert emulates_bf16(torch.device("cpu")) is not there
        assert not emulates_bf16(torch.device("cuda"))
