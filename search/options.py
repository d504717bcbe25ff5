"""The options of search.run's command line."""

from __future__ import annotations

import argparse
import errno
import os
import re
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from search.failures import UsageError
from search.log_writer import KINDS
from search.packing import AUTO
from search.records import writable_text
from search.study import SCHEDULERS, SEARCHERS
from trainables.training.engine import ENGINES

# Options that say on what a run's trials run: stored too, and another command may give others.
PLACE = ("cpus_per_trial", "gpus_per_trial", "address")
# Options that define a run: study.json stores them, and --resume takes them from there.
STORED = (
    *(
        "smoke",
        "replay",
        "repeats",
        "arm",
        "known",
        "warm_start",
        "set",
        "samples",
        "searcher",
        "scheduler",
        "seed",
        "engine",
    ),
    *("data", "weights", "log"),
    *PLACE,
)
LARGEST = 2**62  # largest whole number of an option: twice as much still fits in a table
LEAST_SHARE = 0.0001  # smallest share of a CPU or GPU that Ray hands out
_RAYS_OWN = ("ax", "bayesopt", "bohb", "flaml", "hebo", "hyperopt", "nevergrad", "optuna", "skopt", "zoopt")


ADDRESS = "join this Ray cluster (auto: this machine's; local: none, also if a resumed run had joined one)"
GPUS = "default: one if this machine or the cluster has a GPU, else none; a fraction shares a device; auto: measured"


class _Parser(argparse.ArgumentParser):
    """Raise UsageError with one line, instead of printing argparse's whole usage before the error."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m search.run", description="Search, plan or resume one study.", allow_abbrev=False)
    parser.add_argument("space", type=_path, help="a space file, e.g. spaces/alexnet_bagging.py")
    parser.add_argument("--smoke", action="store_true", help="the same study, tiny, on scikit-learn's digits")
    parser.add_argument("--plan", action="store_true", help="measure a few steps, print the cost, start nothing")
    parser.add_argument("--replay", action="store_true", help="run the study's arms as the note ran them")
    parser.add_argument("--repeats", type=_positive, default=1, metavar="K", help="seeds per arm of --replay")
    parser.add_argument("--arm", action="append", default=[], metavar="NAME", help="replay this arm only (repeatable)")
    parser.add_argument(
        "--known",
        action="append",
        type=_known,
        default=[],
        metavar="RESULTS",
        help="leave out trials of --replay that these results (a run, a study or all) hold finished (repeatable)",
    )
    parser.add_argument(
        "--warm-start",
        action="append",
        type=_known,
        default=[],
        metavar="RESULTS",
        help="the searcher (tpe, gp) knows the finished trials of these results from the start: of the same trainable, "
        "data, metric and epochs, the same space or a smaller or larger one; their validation metric only (repeatable)",
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="fix a hyperparameter")
    parser.add_argument("--samples", type=_positive, metavar="N", help="trials to run (default: the study's own)")
    parser.add_argument("--time-budget", type=_duration, metavar="30m", help="stop after this long (s, m, h, d)")
    parser.add_argument(
        "--searcher",
        type=_searcher,
        metavar=f"{{{','.join(SEARCHERS)}}}",
        help="where configurations come from (default: the study's own, tpe unless it says otherwise; measured on five "
        "recorded landscapes, 50 seeds, nobody stopped: after 32 trials .6 to 1.2 points nearer the best than random)",
    )
    parser.add_argument(
        "--scheduler",
        choices=SCHEDULERS,
        help="who is stopped early (default: the study's own, asha unless it says otherwise: after a fifth of a "
        "trial's epochs and each doubling, the worse half; measured with tpe on five recorded landscapes, 50 seeds: "
        "the median best of 32 random trials in at most .58 of random's epochs, and at half of their budget 1.0 to "
        "1.5 points nearer the best than random)",
    )
    parser.add_argument("--seed", type=_whole, default=0, metavar="S", help="seed of the search (default 0)")
    parser.add_argument(
        "--engine",
        choices=(AUTO, *ENGINES),
        help="how a training step is executed (default: auto for a search, plain for a replay)",
    )
    parser.add_argument("--path", type=_renamed("--path", "--engine"), help=argparse.SUPPRESS)
    parser.add_argument("--data", type=_path, metavar="DIR", help="class folders, Parquet, IDX or torchvision's files")
    parser.add_argument("--weights", type=_path, metavar="DIR", help="pretrained weights under torchvision's names")
    parser.add_argument("--results", type=folder, default=Path("results"), metavar="DIR", help="default results")
    parser.add_argument(
        "--log",
        action="append",
        default=[],
        choices=tuple(KINDS),
        help="write each trial's epochs there too (repeatable)",
    )
    parser.add_argument("--resume", action="store_true", help="continue the newest unfinished run")
    parser.add_argument(
        "--extend", type=_positive, metavar="N", help="N more trials, or seeds per arm, for the newest run"
    )
    parser.add_argument("--cpus-per-trial", type=_cpus, metavar="C", help="default 1; auto: measured")
    parser.add_argument("--gpus-per-trial", type=_gpus, metavar="G", help=GPUS)
    parser.add_argument("--address", metavar="HOST:PORT", help=ADDRESS)
    parser.add_argument("--listen", metavar="IP", help="let other machines join the Ray started here, at this address")
    parser.add_argument("--report", type=_path, metavar="FILE", help="write the study's page, every 30 s while it runs")
    parser.add_argument("--yes", action="store_true", help="start even if the run is estimated to take over a day")
    parser.add_argument("-v", "--verbose", action="store_true", help="show Ray's own output too")
    return parser


def _searcher(text: str) -> str:
    if text in _RAYS_OWN:
        raise argparse.ArgumentTypeError(
            f"must be one of {', '.join(SEARCHERS)}, got {text!r}: Ray's own searchers keep what they learnt in memory "
            "or a pickle, so that a search that was killed would go on otherwise"
        )
    if text not in SEARCHERS:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(SEARCHERS)}, got {text!r}")
    return text


def _whole(text: str, low: int = 0) -> int:
    if not re.fullmatch("[0-9]+", text) or int(text) < low:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least {low}, got {text!r}")
    if int(text) > LARGEST:
        raise argparse.ArgumentTypeError(f"must be a whole number from {low} to {LARGEST}, got {text!r}")
    return int(text)


def _positive(text: str) -> int:
    return _whole(text, 1)


def _number(text: str, what: str, low: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be {what}, got {text!r}")
    return value


def _cpus(text: str) -> float | str:
    return text if text == AUTO else _number(text, f"auto or a number above 0, at least {LEAST_SHARE}", LEAST_SHARE)


def _gpus(text: str) -> float | str:
    if text == AUTO:
        return text
    value = _number(text, "auto or a number of at least 0", 0)
    if 0 < value < LEAST_SHARE:
        raise argparse.ArgumentTypeError(f"must be auto, 0 or a number of at least {LEAST_SHARE}, got {text!r}")
    if value > 1 and value != int(value):
        raise argparse.ArgumentTypeError(f"must be a fraction up to 1 or a whole number, got {text!r}")
    return value


def _renamed(old: str, new: str) -> Callable[[str], str]:
    """Return the type of a renamed option: it refuses every value and names the new option."""

    def refuse(text: str) -> str:
        raise argparse.ArgumentTypeError(f"{old} is now called {new}: {new} {text}")

    return refuse


def _path(text: str) -> Path:
    """Return the path that `text` means, with ~ expanded: a shell leaves the ~ of --data=~/x as it is."""
    if not text:  # pathlib takes it for the current folder
        raise argparse.ArgumentTypeError(f"must be a path, got {text!r}")
    if not writable_text(text):
        raise argparse.ArgumentTypeError(f"must be a path without control characters and surrogates, got {text!r}")
    path = Path(os.path.expanduser(text))  # leaves the name of an unknown user as it is
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise argparse.ArgumentTypeError(f"must be a path that a file can have, got {text!r}") from None
    return path


def folder(text: str) -> Path:
    """Return the folder that `text` means, a path or file:///path."""
    if "://" not in text:
        return _path(text)
    if not text.startswith("file:///"):
        raise argparse.ArgumentTypeError(
            f"must be a folder that every machine can write, as a path or file:///path, got {text!r}: "
            "a run appends to its journal, and an object store cannot append"
        )
    return _path(urllib.request.url2pathname(text.removeprefix("file://")))


def _known(text: str) -> str:
    return str(folder(text).absolute())


def _duration(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not match or float(match[1]) <= 0:
        raise argparse.ArgumentTypeError(f"must be a number and s, m, h or d (30m), got {text!r}")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[match[2]]
