import pytest
import torch
from torchvision.transforms import AugMix, AutoAugment, AutoAugmentPolicy

from trainables.data.policies import AugmentationSettings, apply_policy, augmented

POLICIES = ["autoaugment", "autoaugment-imagenet", "augmix"]


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(n):
    return torch.randint(0, 256, (n, 3, 32, 32), generator=draws(1), dtype=torch.uint8)


def test_off_by_default():
    images = noise(4)
    assert torch.equal(augmented(images, AugmentationSettings(), draws()), images)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_is_a_function_of_the_generator_alone(policy):
    images, settings = noise(24), AugmentationSettings(policy=policy)
    before = images.clone()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = augmented(images, settings, draws(3))
    assert torch.equal(torch.get_rng_state(), state)  # dropout draws from it
    torch.manual_seed(6)
    assert torch.equal(augmented(images, settings, draws(3)), first)
    assert not torch.equal(augmented(images, settings, draws(4)), first)
    assert torch.equal(images, before)
    assert (first.dtype, first.shape) == (images.dtype, images.shape)


def test_a_policy_leaves_the_generators_of_gpus_alone(monkeypatch):
    """Dropout draws from them. No GPU is needed to see it: PyTorch seeds them at their first use."""
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    augmented(noise(4), AugmentationSettings(policy="augmix"), draws())
    assert not seeded


@pytest.mark.parametrize("policy", POLICIES)
def test_each_image_has_its_own_draw(policy):
    out = augmented(noise(1).repeat(24, 1, 1, 1), AugmentationSettings(policy=policy, policy_probability=1.0), draws())
    assert len({image.numpy().tobytes() for image in out}) > 5  # two pairs of operations may do the same to noise


def test_the_policies_are_torchvisions_own():
    images = noise(20)
    for name, policy in (
        ("autoaugment", AutoAugment(AutoAugmentPolicy.CIFAR10)),
        ("autoaugment-imagenet", AutoAugment()),  # as the note's code calls it
        ("augmix", AugMix()),
    ):
        generator = draws(2)
        torch.rand(20, generator=generator)
        seed = int(torch.randint(2**62, (), generator=generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            expected = torch.stack([policy(image) for image in images])
        out = augmented(images, AugmentationSettings(policy=name, policy_probability=1.0), draws(2))
        assert torch.equal(out, expected)


def test_a_policy_changes_images_with_its_probability():
    images = noise(600)
    changed = (apply_policy(images, lambda image: 255 - image, 0.6, draws()) != images).flatten(1).any(1)
    assert changed.double().mean().item() == pytest.approx(0.6, abs=0.06)  # three standard deviations


def test_crop_fills_with_black_before_the_policy_sees_it():
    white = torch.full((64, 3, 32, 32), 255, dtype=torch.uint8)
    out = augmented(white, AugmentationSettings(crop_padding=2), draws())
    assert set(out.unique().tolist()) == {0, 255}
    assert (out[:, :, 2:-2, 2:-2] == 255).all()
    rows = (out[:, 0] == 0).all(2).sum(1)  # black rows of each image
    assert set(rows.tolist()) == {0, 1, 2}


def test_flip_mirrors_half_of_the_images():
    images = noise(200)
    out = augmented(images, AugmentationSettings(flip=True), draws())
    mirrored = (out == images.flip(-1)).flatten(1).all(1)
    assert torch.equal(out[~mirrored], images[~mirrored])
    assert 70 <= int(mirrored.sum()) <= 130
