"""A schedule that PyTorch cannot compute is refused before a trial starts, and no other."""

from __future__ import annotations

import pytest

from trainables.training.settings import SettingError
from trainables.training.torch_names import TorchSettings, multiple


def one_cycle(epochs: int, share: float, warmup: int = 0) -> TorchSettings:
    return TorchSettings(lr_scheduler="OneCycleLR", epochs=epochs, pct_start=share, warmup_epochs=warmup)


@pytest.mark.parametrize(
    ("epochs", "share", "warmup"),
    [(10, 0.1, 0), (5, 0.2, 0), (4, 0.25, 0), (20, 0.05, 0), (2, 0.5, 0), (1, 0.5, 0), (8, 0.2, 3), (3, 1 / 3, 0)],
)
def test_a_cycle_that_rises_for_exactly_one_epoch_is_refused(epochs: int, share: float, warmup: int) -> None:
    with pytest.raises(SettingError, match="pct_start of OneCycleLR must not") as caught:
        one_cycle(epochs, share, warmup)
    assert "\n" not in str(caught.value)


def test_every_other_cycle_has_a_rate_in_each_epoch() -> None:
    for epochs in range(1, 25):
        for share in (0.0, *(part / 40 for part in range(1, 40)), 1.0):
            if share * max(2, epochs) != 1:
                settings = one_cycle(epochs, share)
                assert all(multiple(settings, epoch, epochs) > 0 for epoch in range(1, epochs + 1))
    one_cycle(3, 0.5, warmup=3)  # the schedule never begins
