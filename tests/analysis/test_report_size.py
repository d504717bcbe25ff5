"""The page of a thousand trials: what it costs to write, to send and to open."""

import subprocess
import sys
import time

import numpy as np
import pytest

SPACE = {
    "lr": "(0.0001, 0.1) log",
    "momentum": "(0.0, 0.99)",
    "batch_size": "[16, 32, 64, 128]",
    "members": "(1, 12) log",
    "decay": "['cosine', 'constant', 'step']",
    "dropout": "(0.0, 0.7)",
}
EPOCHS = 27
MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


@pytest.fixture(scope="module")
def thousand(make_results, tmp_path_factory):
    """A study of 1,000 trials, of which half finished and the others were stopped or diverged."""
    rng = np.random.default_rng(0)
    study = make_results(run="search", space=SPACE, epochs=EPOCHS)
    for number in range(1000):
        lr, members = float(10 ** rng.uniform(-4, -1)), int(rng.choice([1, 2, 3, 6]))
        config = {"lr": lr, "momentum": rng.uniform(0, 0.99), "batch_size": int(rng.choice([16, 32, 64, 128]))}
        config |= {"members": members, "decay": str(rng.choice(["cosine", "constant", "step"]))}
        config |= {"dropout": rng.uniform(0, 0.7), "weight_decay": 5e-4, "optimizer": "sgd", "seed": 0}
        reached = 0.5 - 0.05 * (np.log10(lr) + 2) ** 2 + 0.02 * np.log(members) + rng.normal(0, 0.01)
        status = "completed" if number % 2 else "stopped" if number % 50 else "diverged"
        epochs = EPOCHS if status == "completed" else int(rng.choice([5, 10, 20]))
        val = [float(max(0.1, reached * (1 - np.exp(-e / 5)) + rng.normal(0, 0.005))) for e in range(1, epochs + 1)]
        prefixes = [
            {
                "members": k,
                "val_accuracy": val[-1] - 0.1 / k,
                "test_accuracy": val[-1] - 0.1 / k,
                "parameters": 10**4 * k,
            }
            for k in range(1, members + 1)
        ]
        finished = status == "completed"
        study.trial(
            val=val,
            test=val[-1] if finished else None,
            status=status,
            parameters=10**4 * members,
            config=config,
            members=prefixes if finished else (),
            train_loss=[2.3 * (1 - value) for value in val],
            train_accuracy=[value + 0.05 for value in val],
        )
    return study.write(tmp_path_factory.mktemp("thousand") / "run")


@pytest.fixture(scope="module")
def page(thousand):
    """The page, with the processor seconds and the most bytes of memory that writing it took."""
    file = thousand.parent / "report.html"
    command = [sys.executable, "-m", "analysis.report", str(thousand), "-o", str(file)]
    # A process started from here would count this one's memory as its own most: Linux keeps the peak over an exec.
    written = subprocess.run([sys.executable, "-c", MEASURED, *command], stdout=subprocess.PIPE, text=True, check=True)
    seconds, memory = written.stdout.split()
    return file, float(seconds), int(memory) * 1024


@pytest.mark.long
def test_a_thousand_trials_are_5_megabytes_10_seconds_and_500_megabytes_of_memory(page):
    file, seconds, memory = page
    assert file.stat().st_size < 5e6
    assert seconds < 15  # of a processor: 8 alone, and more the more neighbours share its core and caches
    assert memory < 500e6


@pytest.mark.long
@pytest.mark.parametrize("width", [390, 1200])
def test_a_thousand_trials_open_without_an_error(page, browser, width):
    browser.emulate(width=width)
    browser.open(page[0])
    browser.run("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    left = (
        "return [...document.querySelectorAll('.plotly-graph-div')].filter(f => !f.querySelector('.main-svg')).length"
    )
    end = time.monotonic() + 60
    while browser.run(left) and time.monotonic() < end:
        time.sleep(0.2)
    assert browser.run(left) == 0
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.errors() == []
