"""A few steps of each family are what they were when the golden runs were written."""

from __future__ import annotations

import pytest

from tests import golden

KEPT, ALIKE = golden.kept()


@pytest.mark.parametrize("name", golden.RUNS)
def test_a_family_trains_as_it_did(name: str) -> None:
    found = {"runs": {name: golden.run(*golden.RUNS[name])}}
    kept = {"runs": {name: KEPT["runs"][name]}}
    assert golden.differences(found, kept, exact=False, alike=ALIKE) == []


def test_another_seed_is_told() -> None:
    found = {"runs": {"lenet": golden.run(*golden.RUNS["lenet"], seed=1)}}
    for alike in (True, False):
        assert golden.differences(found, {"runs": {"lenet": KEPT["runs"]["lenet"]}}, exact=False, alike=alike)
