"""python -m tests.golden --write FILE | --check FILE: a few steps of each family on the plain engine, to the bit.

Whoever moves or rewrites training code writes FILE before and checks it after: losses, weights and predictions must be
the same to the last bit on one machine. Another machine rounds otherwise: what the suite checks is compared within a
tolerance, with a file of the same kind of processor. On Intel's processors PyTorch also draws dropout's masks in
another way than on others (MKL's generator). A processor of a kind that no file is of has its first epoch compared
alone, since steps multiply what is rounded otherwise (bagged AlexNets: 1e-5 after one epoch, 3 % after two, between
AVX512 and AVX2).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from search.provenance import machine_name
from search.study import load

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "tests").glob("golden*.json"))  # one of each kind of processor
TOLERANCE = 2e-3  # relative, of losses: other versions of PyTorch round otherwise, and steps add up
FIRST_TOLERANCE = 5e-4  # the same of the first epoch's loss, on a processor of another kind
COMMON = {"train_images": 40, "test_images": 20, "batch_size": 16, "epochs": 2, "test_every_epoch": True}
# Name -> space, and what it changes. Spaces do not move when code does.
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "bagged": ("alexnet_bagging", {"members": 2, "dropout": 0.3}),
    "augmented": ("alexnet_augmentation", {"augmentation": "real-time", "members": 1}),
    "cached, gray": ("alexnet_gray", {"augmentation": "cached", "gray": True, "members": 2}),
    "boosted": ("alexnet_momentum", {"members": 2, "epochs": 1, "momentum": 0.9}),
    "lenet": ("lenet_best", {"optimizer": "adam"}),
    "convnet": ("convnet_depth", {"depth": 3}),
    "small alexnet": ("small_alexnet_lr", {"lrn": True, "dropout": 0.1}),
    "wide resnet": ("wide_resnet_sam", {"depth": 10, "width": 1, "rho": 0.1, "cutout": 16, "label_smoothing": 0.1}),
}


def run(space: str, changes: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """Train a space's trainable for a few steps; return each epoch's figures and digests of what was learned."""
    from trainables.base import build
    from trainables.data.datasets import load as load_data
    from trainables.data.task import DeviceData

    torch.set_num_threads(1)
    study = load(ROOT / "spaces" / f"{space}.py")
    known = study.trainable.recipe.settings_type.column_types()
    config = {**study.fixed(), **COMMON, **{name: value for name, value in changes.items() if name in known}}
    training = build(study.trainable, {**config, "seed": seed}, DeviceData(load_data("digits")))
    results = [training.run_epoch() for _ in range(training.total_epochs)]
    weights = hashlib.sha256()
    for member in training.members:
        for tensor in member.network.state_dict().values():
            weights.update(tensor.detach().contiguous().numpy().tobytes())
    # A round whose vote is refused has no predictions, which may hang on how a processor rounds.
    predicted = [result["member_predicted"] for result in results if "member_predicted" in result]
    return {
        "train_loss": [result["train_loss"] for result in results],
        "test_loss": results[-1]["test_loss"],
        "weights": weights.hexdigest(),
        "predicted": hashlib.sha256(predicted[-1].tobytes()).hexdigest() if predicted else "",
    }


def runs() -> dict[str, Any]:
    """Return every run, with the machine that they are of."""
    return {**here(), "runs": {name: run(space, changes) for name, (space, changes) in RUNS.items()}}


def kind(machine: str) -> tuple[bool, str]:
    """Return what decides how a machine, described as by `here`, draws and rounds: Intel's or not, its vectors."""
    return "Intel" in machine, machine.rpartition(", ")[2]


def kept() -> tuple[dict[str, Any], bool]:
    """Return the runs of a processor of this one's kind and True; if there are none, those nearest to it and False."""
    intel, vectors = kind(here()["machine"])
    files = [json.loads(file.read_text(encoding="utf-8")) for file in FILES]
    alike = [file for file in files if kind(file["machine"]) == (intel, vectors)]
    drawn = [file for file in files if kind(file["machine"])[0] == intel]
    return (alike or drawn)[0], bool(alike)


def here() -> dict[str, str]:
    """Return what decides how sums are rounded."""
    capability = torch.backends.cpu.get_cpu_capability()
    return {"machine": f"{machine_name()}, {capability}", "torch": torch.__version__}


def differences(found: dict[str, Any], kept: dict[str, Any], *, exact: bool, alike: bool = True) -> list[str]:
    """Return what differs: to the bit if `exact`, else losses beyond the tolerance, the first alone unless `alike`."""
    lines = []
    for name, before in kept["runs"].items():
        now = found["runs"][name]
        if exact:
            changed = [what for what, value in before.items() if now[what] != value]
        else:
            losses = {what: np.ravel(value) for what, value in before.items() if not isinstance(value, str)}
            if not alike:
                losses = {"train_loss": losses["train_loss"][:1]}
            allowed = TOLERANCE if alike else FIRST_TOLERANCE
            changed = [
                what
                for what, values in losses.items()
                if not np.allclose(np.ravel(now[what])[: len(values)], values, rtol=allowed, atol=0)
            ]
        lines += [f"{name}: {what} was {before[what]}, is {now[what]}" for what in changed]
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", type=Path, metavar="FILE")
    what.add_argument("--check", type=Path, metavar="FILE")
    options = parser.parse_args()
    found = runs()
    if options.write:
        options.write.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return 0
    kept = json.loads(options.check.read_text(encoding="utf-8"))
    exact = {name: found[name] == kept[name] for name in here()}
    lines = differences(found, kept, exact=all(exact.values()), alike=kind(found["machine"]) == kind(kept["machine"]))
    how = "to the bit" if all(exact.values()) else "within the tolerance: it was written on another machine"
    print("\n".join(lines) or f"equal {how}")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
