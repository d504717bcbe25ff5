import re
import time
from html.parser import HTMLParser

import numpy as np
import pytest

from analysis import pareto, report
from analysis.load import ResultsError, load

TEXT = "Is a smaller batch <better> & faster?"
CURVE = [{"epoch": e, "train_accuracy": 0.2 + e / 20, "test_accuracy": 0.1 + e / 20} for e in (1, 2, 3)]


def prefixes(accuracy, size, gain, validation=True):
    return [
        {
            "members": k,
            "val_accuracy": accuracy - gain / k if validation else None,
            "test_accuracy": accuracy - gain / k,
            "parameters": 1000 * k,
        }
        for k in range(1, size + 1)
    ]


@pytest.fixture(scope="module")
def folders(tmp_path_factory, make_results, make_claim, make_reported):
    """A search and a replay of one study, with everything a report can show."""
    folder = tmp_path_factory.mktemp("results")
    rng = np.random.default_rng(0)
    note = make_reported(arm="small", test_accuracy=0.3, parameters=2000, curve=CURVE)
    claims = [make_claim(arms=("small", "large"), effect=0.1), make_claim(name="other", arms=("small:1", "small:3"))]
    search = make_results(run="search", question=TEXT, reported=[note], claims=claims)
    for _ in range(20):
        lr, size = float(10 ** rng.uniform(-4, -1)), int(rng.choice([1, 3]))
        accuracy = 0.5 - 0.05 * (np.log10(lr) + 2) ** 2
        config = {"lr": lr, "batch_size": int(rng.choice([16, 64])), "members": size}
        members = prefixes(accuracy, size, gain=0.1)
        search.trial(
            val=[0.1, accuracy], test=accuracy, parameters=1000 * size, config=config, members=members, predict=True
        )
    search.trial(val=[0.9], status="stopped", config={"lr": 0.1, "batch_size": 16})
    search.trial(status="failed", parameters=None, config={"lr": 0.1, "batch_size": 16})
    replay = make_results(
        run="replay", protocol="replay", question=TEXT, reported=[note], claims=claims, finished=False
    )
    for seed in range(3):
        for arm, final in (("small", 0.28), ("large", 0.2)):
            test = [final - 0.1, final - 0.05, final + rng.normal(0, 0.005)]
            train = [0.3, 0.4, 0.5 + rng.normal(0, 0.01)]
            members = prefixes(test[-1], 3, gain=0.1 + rng.normal(0, 0.01), validation=False)
            replay.trial(arm=arm, seed=seed, protocol="replay", test=test, train_accuracy=train, members=members)
    return search.write(folder / "search"), replay.write(folder / "replay")


@pytest.fixture(scope="module")
def written(folders, tmp_path_factory):
    file = tmp_path_factory.mktemp("report") / "report.html"
    assert report.main([*map(str, folders), "-o", str(file)]) == 0
    return file


def text_of(file):
    class Text(HTMLParser):
        said = ""
        skip = False

        def handle_starttag(self, tag, attrs):
            self.skip = tag in ("script", "style")

        def handle_endtag(self, tag):
            self.skip = False

        def handle_data(self, data):
            self.said += "" if self.skip else data + "\n"

    parser = Text()
    parser.feed(file.read_text(encoding="utf-8"))
    return parser.said


def test_answers_the_question(written):
    said = text_of(written)
    assert TEXT in said  # escaped on the way
    best = re.search(r"Trial search/(\d+) is best, validation accuracy ([\d.]+) % and test accuracy", said)
    assert best
    assert "2 claims: 1 reproduced, 1 contradicted (2 with q at most 0.05, of which 0.1 may be false); “" in said
    assert "28 trials: 26 completed, 1 stopped, 1 failed." in said
    assert "Partial: the run has not ended" in said
    for part in ("What the note claims", "Accuracy against size", "Ours beside the note's figures"):
        assert part in said
    for part in ("What each further member adds", "Which hyperparameter mattered", "Every trial", "How it was run"):
        assert part in said
    assert "python -m search.run spaces/batch_size.py" in said


def test_the_best_is_the_best_that_finished(written, folders):
    (results,) = load([folders[0]])
    finished = results.finished()
    best = finished.loc[finished["val_accuracy"].idxmax()]
    assert f"Trial search/{best['trial_id']} is best" in text_of(written)


def test_needs_no_network(written):
    assert not re.findall(r"<script[^>]*src|<link|<img|@import|url\(http", written.read_text(encoding="utf-8"))


def test_repeats_exactly(folders):
    results = load([folders[1]])
    assert report.report(results) == report.report(results)


def wait_for(browser, script, seconds=60):
    """Return what a script says once it says something true."""
    end = time.monotonic() + seconds
    while not (said := browser.run(script)) and time.monotonic() < end:
        time.sleep(0.1)
    return said


ALL_DRAWN = """
const seen = [...document.querySelectorAll('.plotly-graph-div')].filter(
  f => !f.parentElement.closest('details:not([open])'));
return seen.length && seen.every(f => f.querySelector('.main-svg')) ? seen.length : 0
"""


def test_draws_in_a_browser_without_an_error(written, browser):
    browser.emulate()
    browser.open(written)
    # Of the search: history, curves, settings side by side, two settings each; the replay's curves; importance,
    # Pareto, one printed curve, ensemble size.
    assert wait_for(browser, ALL_DRAWN) == 10
    drawn = browser.run(
        "return [...document.querySelectorAll('.js-plotly-plot')].map(f =>"
        " f.querySelectorAll('.main-svg .trace, .main-svg .point').length)"
    )
    assert all(drawn)
    assert browser.errors() == []


def test_a_folded_study_is_drawn_when_it_is_unfolded(many, browser):
    browser.emulate()
    browser.open(many)
    assert browser.run("return document.querySelectorAll('.js-plotly-plot').length") == 0
    browser.run("document.querySelector('#study-2 details.study').open = true")
    assert wait_for(browser, ALL_DRAWN) > 0
    assert browser.run("return document.querySelectorAll('#study-3 .js-plotly-plot').length") == 0


def test_a_claim_is_one_row_in_the_colour_of_its_verdict_and_unfolds(written, browser):
    browser.emulate()
    browser.open(written)
    rows = browser.run(
        "return [...document.querySelectorAll('.forest details')].map(d => [d.className, d.open,"
        " d.querySelector('.mark').textContent, getComputedStyle(d.querySelector('.ours')).stroke,"
        " d.querySelector('.note') !== null])"
    )
    assert {name for name, *_ in rows} == {"reproduced", "contradicted"}
    assert not any(opened for _, opened, *_ in rows)
    assert all(text.startswith(name) for name, _, text, *_ in rows)
    assert len({colour for *_, colour, _ in rows}) == 2
    assert [note for name, *_, note in rows if name == "reproduced"] == [True]  # that claim alone prints an effect
    facts = "return document.querySelector('.forest details').checkVisibility() && [...document.querySelectorAll("
    facts += "'.forest details:first-of-type dt')].map(t => t.textContent)"
    assert {"verdict", "ours (95 %)", "seeds", "p", "q", "note", "arms", "source"} <= set(browser.run(facts))


def test_our_interval_lies_where_the_axis_says(written, browser):
    """The dot and the ends of a row's interval are at the figures that the row names, by the axis above them."""
    browser.emulate()
    browser.open(written)
    ticks, at, low, high, said = browser.run(
        "const f = document.querySelector('.forest'), x = (n, a) => parseFloat(n.getAttribute(a));"
        "const row = f.querySelector('.reproduced');"
        "return [[...f.querySelectorAll('.axis text')].map(t => [t.textContent, x(t, 'x')]),"
        " x(row.querySelector('circle.ours'), 'cx'), x(row.querySelector('line.ours'), 'x1'),"
        " x(row.querySelector('line.ours'), 'x2'), row.querySelector('.mark').textContent]"
    )
    (first, left), (last, right) = ticks[0], ticks[-1]
    scale = (float(last) - float(first)) / (right - left)
    drawn = [float(first) + scale * (place - left) for place in (at, low, high)]
    told = [float(number) for number in re.findall(r"[+-][\d.]+", said)]
    assert drawn == pytest.approx(told, abs=0.05)


@pytest.mark.parametrize("column", ["trial id", "test accuracy"])
def test_a_click_sorts_by_number_and_a_second_turns_it_round(written, browser, column):
    browser.emulate()
    browser.open(written)

    def cells(then=""):
        return browser.run(
            "const t = [...document.querySelectorAll('table')].at(-1), h = t.tHead.rows[0].cells;"
            f"const c = [...h].findIndex(x => x.textContent.startsWith('{column}')); {then}"
            "return [...t.tBodies[0].rows].map(r => r.cells[c].textContent);"
        )

    before = cells()
    numbers = sorted(float(text) for text in before if text)
    up, down = cells("h[c].firstChild.click();"), cells("h[c].firstChild.click();")
    assert [float(text) for text in up[: len(numbers)]] == numbers
    assert [float(text) for text in down[: len(numbers)]] == numbers[::-1]
    # What was not measured comes last, both ways.
    assert up[len(numbers) :] == down[len(numbers) :] == [""] * (len(before) - len(numbers))


def test_follows_the_readers_theme(written, browser):
    colours = {}
    for dark in (False, True):
        browser.emulate(dark=dark)
        browser.open(written)
        wait_for(browser, ALL_DRAWN)
        colours[dark] = browser.run(
            "const c = (s, p) => getComputedStyle(document.querySelector(s))[p];"
            "return [c('body', 'backgroundColor'), c('body', 'color'), c('.xtick text', 'fill')];"
        )
    light, dark = colours[False], colours[True]
    assert light[0] != dark[0]
    for background, ink, tick in (light, dark):
        assert ink == tick  # figures too
        assert contrast(background, ink) > 7  # WCAG AAA


def contrast(first, second):
    def luminance(colour):
        channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def test_fits_a_phone_also_when_it_is_turned(written, browser):
    browser.emulate(width=390)
    browser.open(written)
    for width in (390, 590, 390):
        browser.emulate(width=width)
        figures = "return [...document.querySelectorAll('.main-svg')].map(f => f.getBoundingClientRect().width)"
        end = time.monotonic() + 20  # plotly redraws a little after the turn
        while not all(width - 60 < drawn <= width for drawn in browser.run(figures)) and time.monotonic() < end:
            time.sleep(0.1)
        assert all(width - 60 < drawn <= width for drawn in browser.run(figures))
        assert browser.run("return document.documentElement.scrollWidth") <= width
    browser.run("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    wait_for(browser, ALL_DRAWN)
    assert browser.run("return document.documentElement.scrollWidth") <= 390


def test_a_run_that_has_barely_begun(make_results, tmp_path):
    study = make_results(finished=False)
    study.trial(val=[0.1], status="running", config={"lr": 0.1, "batch_size": 16})
    file = tmp_path / "report.html"
    assert report.main([str(study.write(tmp_path / "run")), "-o", str(file)]) == 0
    said = text_of(file)
    assert "No trial has finished that could answer." in said
    assert "importance needs 20 finished searched trials with val_accuracy, got 0: 20 more" in said


def test_runs_of_two_sizes_have_a_front_each(make_results, make_claim, tmp_path):
    for name, epochs in (("whole", 4), ("short", 2)):
        arms = {arm: {"lr": lr, "epochs": epochs, "members": 1} for arm, lr in (("small", 0.1), ("large", 0.2))}
        study = make_results(
            run=name,
            protocol="replay",
            epochs=epochs,
            arms=arms,
            declared={arm: settings | {"epochs": 4} for arm, settings in arms.items()},
            options={"set": [] if epochs == 4 else ["epochs=2"]},
            claims=[make_claim()],
        )
        for seed in range(3):
            for arm, settings in arms.items():
                test = 0.1 * epochs + settings["lr"] + 0.01 * seed
                study.trial(arm=arm, seed=seed, protocol="replay", val=[test], test=test, config=settings)
        study.write(tmp_path / name)
    runs = [tmp_path / "whole", tmp_path / "short"]
    page = report.report(load(runs))
    assert "Protocol replay: 1 of 6 candidates are not dominated." in page
    assert "Protocol replay; epochs=2: 1 of 6 candidates are not dominated." in page
    with pytest.raises(ResultsError, match=r"ran with another --set than in .*: nothing changed against epochs=2"):
        pareto.pareto_front(load(runs))


def test_a_claim_that_only_its_clean_arms_decide_is_told_and_drawn(make_results, make_claim, tmp_path):
    for name in ("one", "two"):
        claim = make_claim(arms=("own", "small"), confounded_by=("lr",), clean_arms=("small", "large"))
        study = make_results(study=name, run=name, claims=[claim])
        for seed, spread in enumerate((0.0, 0.004, -0.003, 0.002, -0.001)):
            for arm, test in (("small", 0.5 + spread), ("large", 0.4)):
                study.trial(arm=arm, seed=seed, protocol="replay", test=test)
        study.write(tmp_path / name)
    page = report.report(load([tmp_path]))
    assert "none of their arms has finished" not in page
    assert "All claims tested" in page
    assert page.count("10 trials; 1 claims: 1 confounded (1 with q at most 0.05") == 2  # in the contents
    assert page.count("”: confounded") == 2  # in the answers
    assert page.count("reproduced by clean arms: +10.04 points") == 4  # of all claims, and in each study


def test_a_trial_that_was_not_tested_answers_without_a_test_accuracy(make_results, tmp_path):
    study = make_results(space={"flip": "[True, False]"})
    study.trial(val=[0.2, 0.4], config={"flip": True})
    study.trial(val=[0.2, 0.3], config={"flip": False})
    file = tmp_path / "report.html"
    assert report.main([str(study.write(tmp_path / "run")), "-o", str(file)]) == 0
    assert "Trial 0 is best, validation accuracy 40.00 % from one seed (flip True)." in text_of(file)


def test_a_recovery_answers_with_its_setting_alone(make_results, tmp_path):
    space = {"protocol": "recovery", "metric": "curve_distance", "mode": "min", "space": {"lr": "(0.0001, 0.1) log"}}
    study = make_results(objectives={"curve_distance": "min"}, **space)
    for k in range(20):
        distance = [0.5, abs(0.03 - 0.01 * (k + 1)) + 0.01]
        config = {"lr": 0.01 * (k + 1)}
        study.trial(test=[0.3, 0.4], protocol="recovery", curve_distance=distance, config=config)
    file = tmp_path / "report.html"
    assert report.main([str(study.write(tmp_path / "run")), "-o", str(file)]) == 0
    said = text_of(file)
    assert "Trial 2 is best, curve distance 0.01 from one seed (lr 0.03)." in said
    assert "A recovery: fitted to printed test accuracies" in said
    assert "Accuracy against size" not in said
    assert "share of the variance" in said.lower()


@pytest.fixture(scope="module")
def many(tmp_path_factory, make_results, make_claim):
    """The page of five studies, read from the folder that holds them."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(5):
        study = make_results(study=f"study{number:02}", question=f"Question <{number}>?", claims=[make_claim()])
        for arm, accuracy in (("small", 0.3), ("large", 0.2)):
            study.trial(arm=arm, val=[0.1, accuracy], test=accuracy, config={"lr": 0.1, "epochs": 9 + accuracy})
        study.write(folder / "results" / study.record.study / "run")
    file = folder / "report.html"
    assert report.main([str(folder / "results"), "-o", str(file)]) == 0
    return file


def test_several_studies_stand_one_after_the_other(many):
    said = text_of(many)
    places = [said.index(f"Question <{number}>?", said.index("Question <4>?") + 1) for number in range(5)]
    assert places == sorted(places)


def test_contents_lead_to_every_study_and_back(many):
    page = many.read_text(encoding="utf-8")
    contents = page[page.index('<nav id="contents">') : page.index("</nav>")]
    links = re.findall(r'<a href="#([^"]+)">Question &lt;(\d+)&gt;\?</a>', contents)
    assert [number for _, number in links] == [str(number) for number in range(5)]
    for anchor, number in links:
        (section,) = re.findall(rf'<section id="{anchor}">.*?</section>', page, re.DOTALL)
        assert f"<h1>Question &lt;{number}&gt;?</h1>" in section
        assert '<a href="#contents">' in section
    assert "study03: 2 trials; 1 claims: 1 undecided" in text_of(many)
    assert "stands for 5 of 5 runs, of 5 studies" in text_of(many)


def test_one_studys_contents_are_its_parts(written):
    page = written.read_text(encoding="utf-8")
    (contents,) = re.findall(r"<nav.*?</nav>", page, re.DOTALL)
    links = re.findall(r'<a href="#([^"]+)">([^<]+)</a>', contents)
    assert "What the note claims" in dict(links).values()
    for anchor, title in links:
        assert re.search(rf'<details id="{anchor}"[^>]*><summary><h2>{title}</h2>', page)


def test_a_link_of_the_contents_leads_there(many, browser):
    browser.emulate(width=390)
    browser.open(many)
    tall = browser.run("return document.querySelector('section:nth-of-type(5)').getBoundingClientRect().top")
    browser.run("document.querySelector('nav li:nth-child(5) a').click()")
    end = time.monotonic() + 20
    script = "return document.querySelector('section:nth-of-type(5)').getBoundingClientRect().top"
    while abs(top := browser.run(script)) > 900 and time.monotonic() < end:
        time.sleep(0.1)
    assert abs(top) <= 900 < tall
    assert browser.run("return document.documentElement.scrollWidth") <= 390
    assert browser.errors() == []


def test_every_trial_shows_how_long_it_ran_and_how_long_it_might(many):
    said = text_of(many)
    assert "epochs\n" in said
    assert "epochs (setting)\n" in said


def test_bad_input_writes_nothing(tmp_path, capsys):
    file = tmp_path / "report.html"
    assert report.main([str(tmp_path), "-o", str(file)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not file.exists()


def test_every_trial_shows_what_the_study_chooses_by(make_results, tmp_path):
    declared = [{"name": name, "meaning": "Mine.", "measured_on": "validation", "better": "min"} for name in ("s", "t")]
    first = make_results(run="20260101-100000", metric="val_loss", mode="min", objectives={"peak_memory_bytes": "min"})
    first.trial(val=[0.3], test=0.4, val_loss=1.2345, config={"lr": 0.1, "batch_size": 16})
    second = make_results(run="20260102-100000", metric="s", mode="min", objectives={"s": "min"}, metrics=declared)
    second.trial(val=[0.3], s=0.5123, t=0.7654, config={"lr": 0.1, "batch_size": 16})
    for study in (first, second):
        study.write(tmp_path / "runs" / study.record.run)
    file = tmp_path / "report.html"
    assert report.main([str(tmp_path / "runs"), "-o", str(file)]) == 0
    table = text_of(file).rpartition("Every trial\n")[2].partition("How it was run")[0]
    names = ["validation loss", "peak memory bytes", "s", "t", "validation accuracy %", "test accuracy %"]
    shown = [line for line in table.splitlines() if line in names]
    assert shown == names
    for figure in ("1.234", "1000000", "0.5123", "0.7654"):
        assert f"\n{figure}\n" in table


def test_the_best_is_the_best_by_the_metric_of_the_newest_run(make_results, tmp_path):
    def ran(day, trials, **changes):
        run = f"2026010{day}-100000"
        study = make_results(run=run, started=f"2026-01-0{day}T10:00:00+00:00", **changes)
        for trial in trials:
            study.trial(config={"lr": 0.1, "batch_size": 16}, test=0.5, **trial)
        study.write(tmp_path / "runs" / run)

    by_loss = {"metric": "val_loss", "mode": "min", "objectives": {"val_loss": "min"}}
    ran(1, [{"val": [0.3], "val_loss": 0.5}])
    ran(2, [{"val": [0.6], "val_loss": 1.2}, {"val": [0.5], "val_loss": 1.1}], **by_loss)
    ran(3, [{"val": [0.4], "val_loss": 1.3}], **by_loss)
    file = tmp_path / "report.html"
    assert report.main([str(tmp_path / "runs"), "-o", str(file)]) == 0
    assert "Trial 20260102-100000/1 is best, validation loss 1.1 and test accuracy 50.00 % from" in text_of(file)
