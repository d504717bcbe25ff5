"""Interface of the ways to train and combine the networks of one trial, as the Ray class and `--plan` use it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from trainables.data.task import Task
from trainables.training.loop import Member
from trainables.training.recipe import Recipe
from trainables.training.settings import Settings


class Training(Protocol):
    """One trial in training."""

    epoch: int  # number of finished epochs

    @property
    def recipe(self) -> Recipe[Any]: ...

    @property
    def members(self) -> Sequence[Member]: ...

    @property
    def total_epochs(self) -> int:
        """Return the epochs of the trial, which exceed `epoch` as long as any are left to run."""

    @property
    def parameters(self) -> int:
        """Return the parameter count of the predictor as it stands."""

    def run_epoch(self) -> dict[str, Any]:
        """Train and measure the next epoch; return metrics under the names of search.columns.

        Lists `prefix_*` hold one value for the first 1..n members, `each_*` one for each member. The
        last epoch also returns `predicted` [images] and `member_predicted` [n, images], int16 arrays.
        Raises Diverged.
        """

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Strategy(Protocol):
    """Maker of a trial's training that also says beforehand what the trial takes.

    A class like Bagging is itself an instance of this protocol.
    """

    def __call__(self, recipe: Recipe[Any], /) -> Training: ...

    def trial_epochs(self, settings: Settings, /) -> int:
        """Return the epochs of a full trial."""

    def work(self, settings: Settings, task: Task, /) -> tuple[int, int]:
        """Return how many images a full trial trains on and how many it evaluates, each counted once a member."""
