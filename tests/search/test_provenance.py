"""What a run's record says of its study."""

from __future__ import annotations

from typing import Any

import pytest
from ray import tune

from search.provenance import domain_name


@pytest.mark.parametrize(
    ("domain", "logarithmic"),
    [
        (tune.loguniform(1e-3, 1.0), True),
        (tune.qloguniform(1e-3, 1.0, 1e-3), True),
        (tune.lograndint(1, 100), True),
        (tune.qlograndint(2, 100, 2), True),
        (tune.uniform(1e-3, 1.0), False),
        (tune.quniform(0.1, 1.0, 0.1), False),
        (tune.qrandint(2, 100, 2), False),
        (tune.choice([1, 2]), False),
    ],
)
def test_a_domain_says_whether_it_is_logarithmic(domain: Any, logarithmic: bool) -> None:
    """The pictures and the Optuna export draw the axis by it."""
    assert domain_name(domain).endswith(" log") is logarithmic
