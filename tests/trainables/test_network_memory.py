import contextlib
import math

import pytest
import torch
from torch import nn

from trainables.convnet import ConvNet
from trainables.lenet import LeNet
from trainables.network_memory import _run_on_meta, one_image_memory
from trainables.pretrained import build, set_trainable

MIB = 2**20


def torchsummary_size(network: nn.Module, input_shape: tuple[int, ...], batch: int) -> float:
    """MiB that torchsummary 1.5.1 prints as the total size: input, twice every output, parameters.

    `input_shape` is [channels, height, width]. Outputs are those of every module but nn.Sequential and the
    network itself, in float32. Note D's column (section 4) has this at batch 64 for its own networks and at
    batch 1 for VGG19 and ResNet101; its two transformers were measured by another tool and count otherwise.
    Raises ValueError for a network with modules that return no single tensor.
    """
    outputs = 0

    def count(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal outputs
        if not isinstance(output, torch.Tensor):
            raise ValueError(f"torchsummary needs modules that return one tensor, {type(module).__name__} does not")
        outputs += output.numel()

    counted = [m for m in network.modules() if m is not network and not isinstance(m, nn.Sequential)]
    with contextlib.ExitStack() as stack:
        for module in counted:
            handle = module.register_forward_hook(count)
            stack.callback(handle.remove)
        _run_on_meta(network, (2, *input_shape))
    parameters = sum(p.numel() for p in network.parameters())
    # The outputs of two images are twice those of one: as the sum wants them.
    return 4 * (batch * (math.prod(input_shape) + outputs) + parameters) / MIB


@pytest.mark.parametrize(("depth", "printed"), [(2, 40.63), (3, 46.94), (5, 55.43)])
def test_note_ds_sizes_of_its_own_networks_are_at_batch_64(depth, printed):
    assert torchsummary_size(ConvNet(depth), (3, 32, 32), 64) == pytest.approx(printed, abs=0.005)


@pytest.mark.parametrize(("name", "printed"), [("vgg19", 773.24), ("resnet101", 593.20)])
def test_note_ds_sizes_of_torchvisions_networks_are_at_batch_1(name, printed):
    with torch.device("meta"):
        network = build(name, 100, "random")
    assert torchsummary_size(network, (3, 224, 224), 1) == pytest.approx(printed, abs=0.005)


def test_torchsummary_has_no_size_for_attention():
    with torch.device("meta"):
        network = build("vit_b_32", 100, "random")
    with pytest.raises(ValueError, match="one tensor, MultiheadAttention does not"):
        torchsummary_size(network, (3, 224, 224), 1)
    network(torch.zeros(1, 3, 224, 224, device="meta"))  # its hooks are gone


def test_memory_worked_by_hand():
    # Parameters 4 * (12 + 4), gradients the same; kept for the backward pass: the 3 inputs of the linear,
    # and the 4 outputs of ReLU, written over those of the linear.
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True))
    assert one_image_memory(network, (3,)) == 4 * (16 + 16 + 3 + 4)


def test_frozen_parameters_need_neither_gradients_nor_activations():
    network = build("resnet18", 10, "random")
    everything = one_image_memory(network, (3, 64, 64))
    set_trainable(network, "head")
    parameters = 4 * sum(p.numel() for p in network.parameters())
    assert one_image_memory(network, (3, 64, 64)) == parameters + 4 * (512 * 10 + 10) + 4 * 512
    assert everything > 2 * parameters


@pytest.mark.parametrize(("make", "side"), [(lambda: ConvNet(3), 32), (lambda: build("resnet18", 10, "random"), 64)])
def test_memory_is_what_autograd_keeps_on_a_real_device(make, side):
    network = make()
    storages = {}

    def keep(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(torch.zeros(1, 3, side, side))
    for tensor in (*network.parameters(), *network.buffers()):
        storages.pop(tensor.untyped_storage().data_ptr(), None)
    kept = sum(storage.nbytes() for storage in storages.values())
    parameters = 4 * sum(p.numel() for p in network.parameters())
    assert one_image_memory(network, (3, side, side)) == 2 * parameters + kept


def test_measuring_changes_nothing_and_takes_batch_norm_on_one_value_per_image():
    network = LeNet(batch_norm=True, dropout=0.1).eval()
    network[3].train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random = torch.get_rng_state()
    assert one_image_memory(network, (3, 32, 32)) > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert [i for i, layer in enumerate(network) if layer.training] == [3]
    assert all(p.grad is None for p in network.parameters())


def test_tensors_that_a_forward_pass_keeps_stay_where_they_are():
    class Centred(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.steps, self.centre = nn.Linear(12, 2), torch.tensor(0), torch.zeros(12)

        def forward(self, x):
            x = x.flatten(1)
            self.steps += 1
            self.centre = x.detach().mean(0) if self.steps == 1 else self.centre.lerp(x.detach().mean(0), 0.5)
            return self.layer(x - self.centre)

    network = Centred()
    network(torch.ones(2, 3, 2, 2))
    parameters = 4 * (24 + 2)
    assert one_image_memory(network, (3, 2, 2)) == 2 * parameters + 4 * 12  # kept: the input of the linear
    assert network.steps.item() == 1
    torch.testing.assert_close(network.centre, torch.ones(12))
