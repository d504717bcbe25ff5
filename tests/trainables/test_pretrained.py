import os
import pickle
import urllib.request

import pytest
import torch
import torchvision
from torch import nn
from torchvision import transforms
from torchvision.models import get_model_weights

from trainables import pretrained
from trainables.data.task import DeviceData, Task
from trainables.pretrained import (
    InputTransform,
    PretrainedRecipe,
    PretrainedSettings,
    WeightsError,
    build,
    input_transform,
    set_trainable,
)
from trainables.training.loop import Member
from trainables.training.settings import SettingError

FILE = "resnet18-f37072fd.pth"


@pytest.fixture(scope="module")
def stock():
    """A ResNet-18 of torchvision with seeded weights, in place of the published ones."""
    torch.manual_seed(0)
    return torchvision.models.resnet18()


@pytest.fixture
def folder(tmp_path, stock):
    torch.save(stock.state_dict(), tmp_path / FILE)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vgg19", 139_979_940),
        ("resnet101", 42_705_060),
        ("vit_b_32", 87_532_132),
        ("swin_b", 86_845_724),
        ("resnet18", 11_227_812),
    ],
)
def test_parameters_are_those_the_note_prints(name, expected):
    with torch.device("meta"):
        network = build(name, 100, "random")
        logits = network(torch.zeros(2, 3, 224, 224))
    assert sum(p.numel() for p in network.parameters()) == expected
    assert logits.shape == (2, 100)
    # Weights are assigned to a network without memory: what no file holds would stay without.
    assert {name for name, _ in network.named_buffers()} <= set(network.state_dict())


def test_random_weights_follow_the_seed():
    torch.manual_seed(3)
    first = build("resnet18", 10, "random")
    torch.manual_seed(3)
    second = build("resnet18", 10, "random")
    images = torch.randn(2, 3, 32, 32)
    assert first(images).shape == (2, 10)
    assert torch.equal(first(images), second(images))


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_weights_from_a_folder_are_the_files(folder, stock, kind):
    network = build("resnet18", 10, kind(folder))
    assert network.fc.out_features == 10
    for name, tensor in network.state_dict().items():
        assert tensor.device.type == "cpu"
        if not name.startswith("fc."):
            assert torch.equal(tensor, stock.state_dict()[name])
    images = torch.randn(4, 3, 32, 32)
    network(images).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_weights_of_torchvisions_cache_need_no_network(tmp_path, stock, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.save(stock.state_dict(), tmp_path / "checkpoints" / FILE)
    network = build("resnet18", 10)
    assert torch.equal(network.layer4[1].conv2.weight, stock.layer4[1].conv2.weight)


def one_line(caught):
    text = str(caught.value)
    assert "\n" not in text
    assert FILE in text
    return text


def test_offline_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setattr(urllib.request, "_opener", None)  # keeps the proxies of its first request
    with pytest.raises(WeightsError) as caught:
        build("resnet18", 10)
    text = one_line(caught)
    assert str(tmp_path) in text
    assert "https://" in text


def test_missing_file_says_where_it_looked(tmp_path):
    with pytest.raises(WeightsError) as caught:
        build("resnet18", 10, tmp_path)
    assert one_line(caught) == f"{FILE} not found in {tmp_path}"


@pytest.mark.parametrize("zipped", [True, False])  # old files of torchvision are not zipped
@pytest.mark.parametrize("keep", [0, 1, 1000, -10])
def test_truncated_file(tmp_path, stock, zipped, keep):
    path = tmp_path / FILE
    torch.save(stock.state_dict(), path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="cut short") as caught:
        build("resnet18", 10, tmp_path)
    one_line(caught)


def test_file_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / FILE).write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(WeightsError) as caught:
        build("resnet18", 10, tmp_path)
    one_line(caught)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda: torchvision.models.resnet18(num_classes=10).state_dict(), "fc.weight"),
        (lambda: torchvision.models.resnet34().state_dict(), "layer1.2.conv1.weight"),
        (lambda: {"model": torch.zeros(3)}, "conv1.weight"),
        (lambda: torch.zeros(3), "must hold a state dict, got Tensor"),
    ],
)
def test_weights_of_something_else(tmp_path, content, reason):
    torch.save(content(), tmp_path / FILE)
    with pytest.raises(WeightsError, match=reason) as caught:
        build("resnet18", 10, tmp_path)
    assert len(one_line(caught)) < 300


def test_unknown_network():
    for function in (build, input_transform):
        with pytest.raises(ValueError, match=r"network must be one of vgg19, .*, got 'resnet34'"):
            function("resnet34")


def test_input_transform_is_that_of_the_weights():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    assert input_transform("vgg19") == InputTransform(256, 224, mean, std, "bilinear")
    assert input_transform("swin_b") == InputTransform(238, 224, mean, std, "bicubic")


def trainable_modules(network: nn.Module) -> set[str]:
    return {name.rsplit(".", 1)[0] for name, p in network.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("name", "head", "stages"),
    [
        ("vgg19", "classifier.6", 6),
        ("resnet101", "fc", 5),
        ("vit_b_32", "heads.head", 13),
        ("swin_b", "head", 4),
    ],
)
def test_each_stage_unfreezes_some_more_until_all_train(name, head, stages):
    with torch.device("meta"):
        network = build(name, 100, "random")
    set_trainable(network, "head")
    assert trainable_modules(network) == {head}
    counts = []
    for stage in range(stages + 1):
        set_trainable(network, stage)
        counts.append(sum(p.numel() for p in network.parameters() if p.requires_grad))
    assert counts == sorted(set(counts))
    assert counts[-1] == sum(p.numel() for p in network.parameters())
    set_trainable(network, "head")
    set_trainable(network, "all")
    assert all(p.requires_grad for p in network.parameters())
    with pytest.raises(ValueError, match=f"stages must be 'all', 'head' or 0 to {stages}, got {stages + 1}"):
        set_trainable(network, stages + 1)


def test_stages_are_freed_from_the_head_down():
    with torch.device("meta"):
        network = build("resnet18", 10, "random")
    set_trainable(network, 1)
    assert {name.split(".")[0] for name in trainable_modules(network)} == {"layer4", "fc"}
    assert all(p.requires_grad for p in network.layer4.parameters())


def test_only_a_network_of_build_has_stages():
    with pytest.raises(ValueError, match=r"set_trainable takes a network of pretrained.build, got Linear"):
        set_trainable(nn.Linear(2, 2), "head")


def test_every_name_has_a_head_and_stages():
    assert set(pretrained._HEADS) == set(pretrained._STAGES)


RANDOM = {"model": "resnet18", "weights": "random", "image_size": 32, "train_images": 10, "batch_size": 10}


def recipe(digits, **config):
    settings = PretrainedSettings.from_config(config)
    return PretrainedRecipe(settings, Task.of(DeviceData(digits), settings))


@pytest.mark.parametrize("name", pretrained.NAMES)
def test_inputs_are_what_the_weights_own_transform_makes_of_them(digits, name):
    images = torch.from_numpy(digits.test_images[:3])
    inputs = recipe(digits, model=name, center_crop=True).test_inputs(images)
    expected = get_model_weights(name).DEFAULT.transforms()(images)
    assert inputs.shape == expected.shape
    assert (inputs - expected).abs().max() < 1e-5


@pytest.mark.parametrize("name", pretrained.NAMES)
def test_note_d_resizes_the_whole_picture(digits, name):
    """Resize((224, 224)), ToTensor(), Normalize(): nothing is cut off, whichever network."""
    images = torch.from_numpy(digits.test_images[:3])
    preset = get_model_weights(name).DEFAULT.transforms()
    expected = transforms.Compose(
        [transforms.Resize((224, 224), antialias=True), transforms.Normalize(preset.mean, preset.std)]
    )(images / 255)
    inputs = recipe(digits, model=name).test_inputs(images)
    assert inputs.shape == (3, 3, 224, 224)
    # Resized as bytes here, as floats there: half a gray level, in units of the smallest deviation.
    assert (inputs - expected).abs().max() < 1 / 255 / min(preset.std)
    cropped = recipe(digits, model=name, center_crop=True).test_inputs(images)
    assert (inputs - cropped).abs().max() > 0.1


def test_what_is_cut_off_scales_with_the_size(digits):
    made = recipe(digits, model="resnet18", image_size=112, center_crop=True)
    assert (made.transform.resize, made.transform.crop) == (128, 112)
    assert recipe(digits, model="resnet18", image_size=112).transform.resize == 112


def test_note_b_takes_images_as_they_are(digits):
    images = torch.from_numpy(digits.test_images[:3])
    inputs = recipe(digits, model="resnet18", image_size=32, normalization="half").test_inputs(images)
    assert torch.allclose(inputs, images / 127.5 - 1, atol=1e-6)


def changed_by_an_epoch(member, epoch):
    before = {name: p.detach().clone() for name, p in member.network.named_parameters()}
    member.train_epoch(epoch)
    changed = {name for name, p in member.network.named_parameters() if not torch.equal(p, before[name])}
    return {name.split(".")[0] for name in changed}


@pytest.mark.parametrize(
    ("tuned", "expected"),
    [
        ("all", [{"conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"}] * 3),
        ("head", [{"fc"}] * 3),
        ("staged", [{"fc"}, {"layer4", "fc"}, {"layer3", "layer4", "fc"}]),
    ],
)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_what_is_frozen_stays(digits, tuned, expected, optimizer):
    member = Member(recipe(digits, **RANDOM, tuned=tuned, optimizer=optimizer, weight_decay=0.1), 0)
    assert [changed_by_an_epoch(member, epoch) for epoch in (1, 2, 3)] == expected


def test_after_its_last_stage_a_network_trains_whole(digits):
    member = Member(recipe(digits, **RANDOM, tuned="staged"), 0)
    assert "conv1" not in changed_by_an_epoch(member, 5)
    assert "conv1" in changed_by_an_epoch(member, 6)
    assert "conv1" in changed_by_an_epoch(member, 9)


def test_training_starts_from_the_files_weights(digits, folder, stock):
    config = {"model": "resnet18", "weights": str(folder), "image_size": 32, "train_images": 10, "tuned": "head"}
    member = Member(recipe(digits, **config), 0)
    member.train_epoch(1)
    assert torch.equal(member.network.layer4[1].conv2.weight, stock.layer4[1].conv2.weight)
    assert member.network.fc.out_features == 10


def test_weights_are_required_before_anything_starts(digits, folder, tmp_path):
    PretrainedRecipe.require(PretrainedSettings(model="resnet18", weights=str(folder)))
    PretrainedRecipe.require(PretrainedSettings(model="vgg19", weights="random"))
    with pytest.raises(WeightsError, match=f"vgg19-dcbb9e9d.pth not found in {folder}"):
        PretrainedRecipe.require(PretrainedSettings(model="vgg19", weights=str(folder)))


def test_a_vit_takes_other_images_only_with_random_weights(digits):
    network = recipe(digits, model="vit_b_32", weights="random", image_size=64).network()
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 10)
    for config in ({"image_size": 64}, {"image_size": 40, "weights": "random"}):
        with pytest.raises(SettingError, match=r"image_size must be None for vit_b_32, or a multiple of 32 if"):
            PretrainedSettings(model="vit_b_32", **config)
