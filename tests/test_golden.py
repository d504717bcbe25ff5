"""A few steps of each family are what they were when the golden runs were written."""

from __future__ import annotations

import pytest

from tests import golden

KEPT = golden.kept()["runs"]


@pytest.mark.parametrize("name", golden.RUNS)
def test_a_family_trains_as_it_did(name: str) -> None:
    found = {"runs": {name: golden.run(*golden.RUNS[name])}}
    assert golden.differences(found, {"runs": {name: KEPT[name]}}, exact=False) == []


def test_another_seed_is_told() -> None:
    found = {"runs": {"lenet": golden.run(*golden.RUNS["lenet"], seed=1)}}
    assert golden.differences(found, {"runs": {"lenet": KEPT["lenet"]}}, exact=False)
