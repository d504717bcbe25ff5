"""The simulation of the rules for verdicts: it runs them as `analysis.claims` does, and they hold."""

import dataclasses

import numpy as np
import pytest

from analysis.claims import claims as claims_of
from analysis.intervals import ALPHA, CONTRADICTED, LOOK_ALPHA, POWER, REPRODUCED, RULES, UNDECIDED
from analysis.load import load
from tests.benchmarks import verdicts

WORD = {1: REPRODUCED, -1: CONTRADICTED, 0: UNDECIDED}
POINT = 0.01  # accuracy for a spread of 1


@pytest.fixture(scope="module")
def told():
    return verdicts.simulate(150, 0.3, np.random.default_rng(0))


@pytest.mark.parametrize("seeds", [3, 8])
def test_it_judges_as_the_command_does(make_results, tmp_path, seeds):
    random = np.random.default_rng(seeds)
    folders, expected = [], {}
    for family in (family for family in verdicts.families() if not family.images):
        runs = verdicts.draw(family, 1, 0.3, random)[:, :, :seeds]
        claims = [as_accuracy(planted.claim) for planted in family.planted]
        # A trainable of its own keeps its spread to itself.
        study = make_results(study=family.name, run=family.name, trainable=family.name, claims=claims)
        for arm, row in zip(family.arms, runs[0], strict=True):
            for seed, value in enumerate(row):
                study.trial(arm=arm, seed=seed, protocol="replay", test=0.5 + POINT * value, config={"arm": arm})
        folders.append(study.write(tmp_path / family.name))
        for planted in family.planted:
            compared = verdicts.compare(family, runs, planted.claim)
            verdict = WORD[int(verdicts.verdicts(planted.claim, compared, np.array([LOOK_ALPHA]))[0])]
            expected[planted.claim.name] = (verdict, float(verdicts.p_values(planted.claim, compared)[0]))
    frame = claims_of(load(folders)).set_index("claim")
    assert set(frame["spread"].str[:6]) <= {"pooled", "own pa"}
    assert frame["verdict"].to_dict() == {name: verdict for name, (verdict, _) in expected.items()}
    assert frame["p"].to_dict() == pytest.approx({name: p for name, (_, p) in expected.items()}, rel=1e-3, abs=1e-6)
    assert seeds == 3 or len(set(frame["verdict"])) == 3


def as_accuracy(claim):
    margin, low = claim.margin and claim.margin * POINT, None if claim.low is None else 0.5 + POINT * claim.low
    return dataclasses.replace(claim, margin=margin, low=low)


def test_a_table_has_37_claims():
    assert sum(len(family.planted) for family in verdicts.families()) == 37


def test_true_nothings_are_seldom_judged_and_planted_claims_never_wrongly(told):
    wrong = np.concatenate([one.first != 0 for one in told if one.planted.truth == verdicts.NOTHING])
    assert wrong.mean() <= ALPHA
    turned = {verdicts.TRUE: -1, verdicts.FALSE: 1}
    turned_over = np.concatenate(
        [one.first == turned[one.planted.truth] for one in told if one.planted.truth != verdicts.NOTHING]
    )
    assert turned_over.mean() < 0.002


def test_planted_falsehoods_are_contradicted(told):
    false = [
        one for one in told if one.planted.truth == verdicts.FALSE and one.planted.distance >= 2 and not one.images
    ]
    assert len(false) == 3
    assert all((one.first == -1).mean() > 0.8 for one in false)


def test_promised_seeds_decide(told):
    some = [one for one in told if one.planted.truth != verdicts.NOTHING]
    promised, kept = (np.concatenate([getattr(one, name) for one in some]) for name in ("promised", "kept"))
    assert (promised > 0).sum() > 50
    assert kept[promised > 0].mean() >= POWER
    nothing = np.concatenate([one.promised > 0 for one in told if one.planted.truth == verdicts.NOTHING])
    assert nothing.mean() < ALPHA


def test_a_true_size_seldom_differs(told):
    differs = np.array([one.differs for one in told if one.differs is not None])
    assert differs.mean() < 0.06


def test_the_page_is_of_these_rules():
    page = (verdicts.Path(verdicts.__file__).parent / "verdicts.md").read_text(encoding="utf-8")
    assert f"under rules {RULES} " in page
