from search import environment  # noqa: F401  (Ray's settings count only before the first test imports ray)

# isort: split
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

# A shell has what it starts in the background ignore Ctrl-C, and so would every search that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Images of containers often have Python keep no bytecode. Each of the many processes that tests start would compile
# Ray, torch and scipy anew: two thirds of the time that they take to start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.fixture(params=[pytest.param(20, id="few"), pytest.param(1000, id="many", marks=pytest.mark.long)])
def examine(request: pytest.FixtureRequest) -> Callable[..., None]:
    """examine(check, name=strategy, ...) calls check(name=...) with examples, always the same ones.

    A few in the everyday suite, by the thousand in the long one; `share` is for a check that costs more than most.
    """

    def examine(check: Callable[..., None], *, share: float = 1.0, **strategies: Any) -> None:
        examples = max(5, round(request.param * share))
        unhurried = settings(
            max_examples=examples,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],  # a smaller case of the same failure is not worth the minutes
        )
        unhurried(given(**strategies)(check))()

    return examine
