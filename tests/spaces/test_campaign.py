"""The campaign's list: commands that the queue takes, of arms that there are, with what they train beside them."""

import functools
import re
from pathlib import Path

import pytest

from search import campaign, economy
from search.study import load
from trainables.data.task import Task

ROOT = Path(__file__).parents[2]
FILE = ROOT / "spaces" / "campaign.txt"
COMMANDS = [line for line in FILE.read_text().splitlines() if line and not line.startswith("#")]
ORDER = ["1", "5, first part", "2", "3", "4", "6", "7", "5, second part", "8", "9", "10", "11"]


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """The list as the queue reads it, in a folder from which nothing has run yet."""
    folder = tmp_path_factory.mktemp("campaign")
    (folder / "spaces").symlink_to(ROOT / "spaces")
    (folder / "results").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return [line.request for line in campaign.read(Path("spaces/campaign.txt"), Path("results"))]


@functools.cache
def study(space):
    return load(ROOT / "spaces" / space.name)


def trained(settings, strategy):
    """Images that one trial trains on, each counted once a member."""
    images = settings.train_images or (45_000 if settings.validation else 50_000)
    train, none = range(images), range(0)
    return strategy.work(settings, Task(None, train, none, none))[0]


def test_every_command_replays_arms_that_there_are(lines):
    assert len(lines) == len(COMMANDS)
    for options in lines:
        changed = study(options.space).with_set(options.set)
        assert options.replay
        changed.require_free_seeds(options.arm)
        assert changed.replay_configs(options.repeats, options.seed, options.arm)
        assert options.arm or options.space.stem.startswith("convnet_")
        # Two members that vote by label are no ensemble.
        for arm in options.arm:
            ran = changed.settings({**changed.fixed(), **changed.arms[arm]})
            assert ran.members != 2 or ran.vote != "hard"


def test_a_command_says_what_it_trains(lines):
    """Less what an arm of the same command answers, and with --known what an earlier one has trained."""
    before = []
    for options, text in zip(lines, COMMANDS, strict=True):
        changed = study(options.space).with_set(options.set)
        answered = economy.answered(changed, options.arm)
        images, new = 0, []
        for config, arm in changed.replay_configs(options.repeats, options.seed, options.arm):
            if arm in answered:
                continue
            training, needed = economy.training_of(changed, arm), economy.quantities(changed, arm)
            if options.known and any(
                seed == config["seed"] and economy.enough(each, training, needed) for each, seed in before
            ):
                continue
            new.append((training, config["seed"]))
            images += trained(changed.settings(config), changed.trainable.strategy)
        before += new
        assert images, text
        assert text.endswith(f"  # {images / 1e6:.2f} M"), f"{text.partition('  #')[0]}  # {images / 1e6:.2f} M"


def test_rows_stand_in_the_order_of_the_plan():
    headings = re.findall(r"^# Row (\d+(?:, \w+ part)?)\.", FILE.read_text(), re.MULTILINE)
    assert headings == ORDER


def test_nothing_is_trained_twice_that_one_study_compares(lines):
    """What a command trains, no later one of the same study trains again under the same --set."""
    seen = set()
    for options in lines:
        for arm in options.arm or study(options.space).arms:
            for seed in range(options.seed, options.seed + options.repeats):
                key = options.space.stem, arm, seed, tuple(options.set)
                assert key not in seen or options.known, key
                seen.add(key)
