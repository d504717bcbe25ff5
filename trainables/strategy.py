"""How the networks of one trial are trained and combined: what the Ray class and the plan know of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from trainables.loop import Member
from trainables.recipe import Recipe
from trainables.settings import Settings
from trainables.task import Task


class Training(Protocol):
    """One trial in training."""

    epoch: int  # finished ones

    @property
    def recipe(self) -> Recipe[Any]: ...

    @property
    def members(self) -> Sequence[Member]: ...

    @property
    def total_epochs(self) -> int:
        """Epochs of the trial; more than `epoch` while there are any to run."""

    @property
    def parameters(self) -> int:
        """Of the predictor as it stands."""

    def run_epoch(self) -> dict[str, Any]:
        """Train and measure the next epoch; returns metrics under the names of search.records.

        Lists `prefix_*` hold one value for the first 1..n members, `each_*` one for each member. The
        last epoch also returns `predicted` [images] and `member_predicted` [n, images], int16 arrays.
        Raises Diverged.
        """

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Strategy(Protocol):
    """Makes the training of a trial, and says beforehand what it takes. Its classes are the instances."""

    def __call__(self, recipe: Recipe[Any], /) -> Training: ...

    def trial_epochs(self, settings: Settings, /) -> int:
        """Epochs of a full trial."""

    def work(self, settings: Settings, task: Task, /) -> tuple[int, int]:
        """Images a full trial trains on and images it evaluates, each counted once a member."""
