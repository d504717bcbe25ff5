import pytest

from analysis import evidence_tables, figures
from analysis.load import ResultsError, load

PLACE = "<!-- evidence:claims -->\n<!-- /evidence:claims -->\n"


@pytest.fixture
def load_run(make_results, make_claim, make_reported, tmp_path):
    """load_run(**record) -> the loaded run: a replay of two arms with three seeds, and a searched trial."""

    def build(**record):
        study = make_results(
            claims=[make_claim(arms=("small", "large"), statement="Small beats large.")],
            reported=[make_reported(arm="small", test_accuracy=0.52)],
            **record,
        )
        for seed, spread in enumerate((0.0, 0.004, -0.003)):
            study.trial(arm="small", seed=seed, protocol="replay", test=0.5 + spread)
            study.trial(arm="large", seed=seed, protocol="replay", test=0.4 - spread)
        study.trial(val=[0.2, 0.45], test=0.44, config={"lr": 0.01, "batch_size": 16})
        return load([study.write(tmp_path / "results" / study.record.run)])

    return build


def test_the_pages_say_what_the_evidence_gives():
    assert evidence_tables.main(["--check"]) == 0


def test_what_is_kept_gives_the_same_tables(load_run, tmp_path):
    results = load_run()
    evidence_tables.keep(results, tmp_path / "evidence")
    made = evidence_tables.page_tables(evidence_tables.kept(tmp_path / "evidence"))
    assert made == evidence_tables.page_tables(results)
    assert "| Small beats large. |" in made["claims"]
    assert "reproduced" in made["claims"]
    assert "| 50.03 | 49.16 to 50.91 | 3 | 52.00 | -1.97 |" in made["runs"]
    assert "lr 0.01, batch_size 16 | 45.00 | 44.00 | 52.00 |" in made["searches"]
    with pytest.raises(ResultsError, match="kept already"):
        evidence_tables.keep(results, tmp_path / "evidence")


def test_the_figure_has_every_arm_beside_its_notes(load_run):
    points = evidence_tables.families(load_run())
    assert points[["arm", "parameters", "by"]].to_numpy().tolist() == [
        ["large", 1000, "ours"],
        ["small", 1000, "ours"],
        ["small", 1000, "note"],
    ]
    assert points["test_accuracy"].tolist() == pytest.approx([0.4 - 0.001 / 3, 0.5 + 0.001 / 3, 0.52], abs=1e-6)
    drawn = figures.families(points)
    assert [trace.name for trace in drawn.data if trace.mode == "markers"] == ["cifar10, ours", "cifar10, note"]
    (front,) = [trace for trace in drawn.data if trace.mode == "lines+text"]
    assert list(front.text) == ["small"]
    smaller = evidence_tables.families(load_run(run="smaller", options={"set": ["train_images=100"]}))
    assert set(smaller["by"]) == {"ours, changed", "note"}


def test_a_run_that_was_extended_is_kept_anew(make_results, tmp_path):
    def run(trials):
        study = make_results()
        for number in range(trials):
            study.trial(val=[0.2, 0.4 + number / 100])
        return load([study.write(tmp_path / str(trials))])

    evidence_tables.keep(run(2), tmp_path / "evidence")
    evidence_tables.keep(run(3), tmp_path / "evidence")
    (kept,) = evidence_tables.kept(tmp_path / "evidence")
    assert len(kept.trials) == 3
    with pytest.raises(ResultsError, match="kept already"):
        evidence_tables.keep(run(1), tmp_path / "evidence")


def test_the_summary_counts_a_confounded_claim_by_its_clean_arms(make_results, make_claim, tmp_path):
    confounded = {"confounded_by": ("lr",), "clean_arms": ("large", "small")}
    away = {arm: {"members": 2} for arm in ("small", "large", "other")}
    study = make_results(
        claims=[
            make_claim(name="plain", arms=("small", "large"), source="note B, 1"),
            make_claim(name="apart", arms=("small", "large"), source="note B, 2", **confounded),
            make_claim(name="away", arms=("other", "large"), source="note C, 1", **confounded),
            make_claim(name="never run", arms=("small", "gone"), source="note C, 2"),
            make_claim(name="not apart", arms=("small", "large"), confounded_by=("lr",), clean_arms=("small", "gone")),
        ],
        declared={arm: {"members": 1 if arm == "other" else 6} for arm in away},
        arms=away,
        options={"set": ["members=2"]},
    )
    for seed, spread in enumerate((0.0, 0.004, -0.003)):
        for arm, test in (("small", 0.5), ("large", 0.4), ("other", 0.3)):
            study.trial(arm=arm, seed=seed, protocol="replay", test=test + (spread if arm == "small" else 0.0))
    frame = evidence_tables.tested(load([study.write(tmp_path / "run")]))
    assert evidence_tables.summary_table(frame).to_numpy().tolist() == [
        ["B", "changed", "2", "1", "1 (1 by clean arms)", "0", "0", "2", "0", "0"],
        ["C", "changed", "1", "0", "1 (1 by clean arms)", "0", "0", "1", "0", "0"],
    ]
    assert evidence_tables.claims_table(frame)[["seeds", "changed"]].to_numpy().tolist() == [["3", "members=2"]] * 3


@pytest.mark.parametrize(("quantity", "runs"), [("parameters", "as the note's"), ("test_accuracy", "changed")])
def test_a_size_told_by_a_short_run_is_that_of_the_notes_network(make_results, make_claim, tmp_path, quantity, runs):
    record = {"options": {"set": ["epochs=1", "train_images=100"]}}
    study = make_results(claims=[make_claim(source="note A, 4", arms=("a", "b"), quantity=quantity)], **record)
    for arm, parameters in (("a", 20), ("b", 10)):
        study.trial(arm=arm, seed=0, protocol="replay", test=[0.5], parameters=parameters)
    frame = evidence_tables.tested(load([study.write(tmp_path / "run")]))
    (row,) = evidence_tables.summary_table(frame).to_dict("records")
    assert (row["runs"], row["claims"]) == (runs, "1")


def test_runs_without_claims_make_an_empty_table(make_results, tmp_path):
    study = make_results()
    study.trial(val=[0.2, 0.4], config={"lr": 0.01, "batch_size": 16})
    made = evidence_tables.page_tables(load([study.write(tmp_path / "run")]))
    assert made["claims"] == made["summary"] == made["runs"] == "(none yet)"


def test_a_changed_run_is_not_set_against_the_notes(load_run):
    made = evidence_tables.page_tables(load_run(options={"set": ["train_images=100"]}))
    assert "| 50.03 | 49.16 to 50.91 | 3 | 52.00 |  | train_images=100 |" in made["runs"]


def test_a_claim_of_equality_says_within_what(make_results, make_claim, tmp_path):
    study = make_results(claims=[make_claim(statement="Alike.", arms=("a", "b"), expected="equal", margin=0.015)])
    for arm in ("a", "b"):
        study.trial(arm=arm, protocol="replay", test=0.5)
    assert "| Alike. [within 1.50] |" in evidence_tables.page_tables(load([study.write(tmp_path / "run")]))["claims"]


@pytest.mark.parametrize(("state", "why"), [({"finished": False}, "has not ended"), ({"smoke": True}, "smoke run")])
def test_what_tells_nothing_is_not_kept(load_run, tmp_path, state, why):
    with pytest.raises(ResultsError, match=why):
        evidence_tables.keep(load_run(**state), tmp_path / "evidence")
    assert not (tmp_path / "evidence").exists()


def test_tables_replace_what_stood_in_their_places():
    text = "above\n<!-- evidence:claims -->\n{}\n<!-- /evidence:claims -->\nbelow\n"
    assert evidence_tables.rewritten(text.format("old\nlines"), {"claims": "new"}) == text.format("new")


@pytest.mark.parametrize("text", ["", "<!-- evidence:claims -->", PLACE + PLACE])
def test_a_table_has_one_place(text):
    with pytest.raises(ResultsError, match="one place <!-- evidence:claims -->"):
        evidence_tables.rewritten(text, {"claims": "new"})


def test_no_evidence_is_no_table(tmp_path):
    with pytest.raises(ResultsError, match="holds no results"):
        evidence_tables.kept(tmp_path)
