"""The command line of search.run: what may be asked for, and what --resume and --extend take from a run's record."""

from __future__ import annotations

import argparse
import errno
import os
import re
import urllib.request
from pathlib import Path
from typing import NoReturn

from search.packing import AUTO
from search.records import STUDY_FILE, StudyRecord, writable_text
from search.study import SCHEDULERS, SEARCHERS
from trainables.paths import PATHS, PLAIN

# What defines a study's run: stored with it, and taken from there by --resume.
STORED = (
    *("smoke", "replay", "repeats", "arm", "known", "set", "samples", "searcher", "scheduler", "seed", "path"),
    *("data", "weights"),
)
LISTS = ("set", "arm", "known")  # may be given several times


class UsageError(ValueError):
    """What was asked for is wrong; the message is one line."""


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return the command line's options, and RAY_ADDRESS in the place of --address. Raises UsageError."""
    options = parser().parse_args(arguments)
    environment = os.environ.get("RAY_ADDRESS", "")
    if options.address is None and environment not in ("", "local"):  # "local" is Ray's own word for a start here
        options.address, options.address_from = environment, "RAY_ADDRESS="
    return options


def told_address(options: argparse.Namespace) -> str:
    """Return the cluster's address as the user gave it: an option, or a variable of the environment."""
    return f"{options.address_from}{options.address}"


class _Parser(argparse.ArgumentParser):
    """One line where argparse would print its whole usage before the error."""

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
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="fix a hyperparameter")
    parser.add_argument("--samples", type=_positive, metavar="N", help="trials to run")
    parser.add_argument("--time-budget", type=_duration, metavar="30m", help="stop after this long (s, m, h, d)")
    parser.add_argument("--searcher", choices=SEARCHERS)
    parser.add_argument("--scheduler", choices=SCHEDULERS)
    parser.add_argument("--seed", type=_whole, default=0, metavar="S", help="of the search and its trials (default 0)")
    parser.add_argument(
        "--path", choices=(AUTO, *PATHS), help="how a step is executed (default: of a search auto, of a replay plain)"
    )
    parser.add_argument("--data", type=_path, metavar="DIR", help="Parquet files or torchvision's archives")
    parser.add_argument("--weights", type=_path, metavar="DIR", help="pretrained weights under torchvision's names")
    parser.add_argument("--results", type=_folder, default=Path("results"), metavar="DIR")
    parser.add_argument("--resume", action="store_true", help="go on with the newest unfinished run")
    parser.add_argument(
        "--extend", type=_positive, metavar="N", help="N more trials, or seeds per arm, for the newest run"
    )
    parser.add_argument("--cpus-per-trial", type=_cpus, default=1.0, metavar="C", help="auto: measured")
    parser.add_argument("--gpus-per-trial", type=_gpus, metavar="G", help="a fraction shares a device; auto: measured")
    parser.set_defaults(address_from="--address ")
    parser.add_argument("--address", metavar="HOST:PORT", help="join this Ray cluster (or auto: this machine's)")
    parser.add_argument("--listen", metavar="IP", help="let other machines join the Ray started here, at this address")
    parser.add_argument("--yes", action="store_true", help="start even if it is estimated to take over a day")
    parser.add_argument("-v", "--verbose", action="store_true", help="Ray's own output too")
    return parser


def _whole(text: str, low: int = 0) -> int:
    if not re.fullmatch("[0-9]+", text) or int(text) < low:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least {low}, got {text!r}")
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
    return text if text == AUTO else _number(text, "auto or a number above 0", 1e-9)


def _gpus(text: str) -> float | str:
    if text == AUTO:
        return text
    value = _number(text, "auto or a number of at least 0", 0)
    if value > 1 and value != int(value):
        raise argparse.ArgumentTypeError(f"must be a fraction up to 1 or a whole number, got {text!r}")
    return value


def _path(text: str) -> Path:
    """The path that `text` means: a shell leaves the ~ of --data=~/x as it is."""
    if not writable_text(text):
        raise argparse.ArgumentTypeError(f"must be a path without control characters and surrogates, got {text!r}")
    path = Path(os.path.expanduser(text))  # leaves the name of an unknown user as it is
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise argparse.ArgumentTypeError(f"must be a path that a file can have, got {text!r}") from None
    return path


def _folder(text: str) -> Path:
    if "://" not in text:
        return _path(text)
    if not text.startswith("file:///"):
        raise argparse.ArgumentTypeError(
            f"must be a folder that every machine can write, as a path or file:///path, got {text!r}: "
            "a run appends to its journal, which an object store cannot"
        )
    return Path(urllib.request.url2pathname(text.removeprefix("file://")))


def _known(text: str) -> str:
    return str(_folder(text).absolute())


def _duration(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not match or float(match[1]) <= 0:
        raise argparse.ArgumentTypeError(f"must be a number and s, m, h or d (30m), got {text!r}")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[match[2]]


def check_combination(options: argparse.Namespace) -> None:
    """Raises UsageError for options that would have no effect."""
    default = parser().get_default
    if options.resume and options.extend:
        raise UsageError("--resume and --extend exclude each other, got both: --extend also finishes the unfinished")
    if options.address and options.listen:
        raise UsageError(f"--listen is of the Ray started here, got {told_address(options)} too")
    if options.resume or options.extend:
        return
    if options.repeats != default("repeats") and not options.replay:
        raise UsageError(f"--repeats is of --replay, got --repeats {options.repeats} alone")
    for name in ("arm", "known"):
        if (given := getattr(options, name)) and not options.replay:
            raise UsageError(f"--{name} needs --replay, got --{name} {given[0]} alone")
    if options.replay:
        for name in ("samples", "searcher", "scheduler"):
            if (given := getattr(options, name)) is not None:
                raise UsageError(f"--replay runs every arm to its end, got --{name} {given}: --repeats says how often")
    if options.searcher == "grid" and options.samples is not None:
        raise UsageError(f"--searcher grid runs every combination once, got --samples {options.samples}")


def _may_be(name: str, stored: object) -> bool:
    """Whether the command line gives option `name` this value, as study.json holds it."""
    if name in LISTS:
        return isinstance(stored, list) and all(isinstance(each, str) for each in stored)
    default = parser().get_default(name)
    if isinstance(default, bool):
        return isinstance(stored, bool)
    if stored is None:
        return default is None
    try:
        given = getattr(parser().parse_args(["space", f"--{name}={stored}"]), name)
    except UsageError:
        return False
    return type(stored) in (str, int) and (str(given) if isinstance(given, Path) else given) == stored


def restore_options(options: argparse.Namespace, folder: Path, record: StudyRecord) -> None:
    """What defines the run in `folder` is taken from its record, with `--extend N` added.

    Raises UsageError where the command line asks for something else.
    """
    default = parser().get_default
    # A run of before there were these options took the plain path, ran every arm and knew of no other.
    kept = {"path": PLAIN, "arm": [], "known": [], **record.options}
    asked = "--extend" if options.extend else "--resume"
    if missing := [name for name in STORED if name not in kept]:
        raise UsageError(f"{asked}: {folder / STUDY_FILE} lacks the option {', '.join(missing)} of its run")
    for name in STORED:
        stored, given = kept[name], getattr(options, name)
        if not _may_be(name, stored):
            raise UsageError(f"{asked}: {folder / STUDY_FILE} must hold what --{name} takes, got {stored!r:.40}")
        if name in ("data", "weights"):
            # They may lie elsewhere today: the data's fingerprint is checked.
            given = given or (Path(stored) if stored else None)
        elif given not in (stored, default(name)):
            raise UsageError(
                f"{asked} goes on with {folder}, which ran with {name} {stored!r}, got --{name} {given}"
                + ("" if options.extend or name not in ("samples", "repeats") else ": --extend adds more")
            )
        else:
            given = stored
        setattr(options, name, given)
    if options.extend and options.replay:
        options.repeats += options.extend
    elif options.extend:
        if record.searcher == "grid":
            raise UsageError(f"--extend: {folder} ran every combination of its grid, there are no more")
        options.samples = record.samples + options.extend
