import math

import numpy as np
import pytest
from scipy import stats

from analysis.further_seeds import Outlook
from analysis.intervals import LOOK_ALPHA


def test_the_chance_of_a_look_is_what_a_simulation_says():
    effect, deviation, have, seeds, region = 0.8, 1.0, 5, 12, (0.0, math.inf)
    rng = np.random.default_rng(1)
    truth = rng.normal(effect, deviation / np.sqrt(have), 20_000)
    mean = (have * effect + rng.normal(truth[:, None], deviation, (20_000, seeds - have)).sum(axis=1)) / seeds
    half = stats.t.ppf(1 - LOOK_ALPHA / 2, 40) * deviation / np.sqrt(seeds)
    outlook = Outlook(effect, deviation, 40, have, 0.0, region, LOOK_ALPHA)
    assert outlook.chance(seeds) == pytest.approx(np.mean((mean - half > 0) | (mean + half < 0)), abs=0.01)
    assert outlook.chance(have) == 0.0
    # No number of seeds is enough if the test images are the limit.
    assert Outlook(effect, deviation, 40, have, 5.0, region, LOOK_ALPHA).chance(20) < 1e-3
