"""python -m tests.golden --write FILE | --check FILE: a few steps of each family on the plain engine, to the bit.

Whoever moves or rewrites training code writes FILE before and checks it after: losses, weights and predictions must be
the same to the last bit on one machine. Another processor rounds otherwise, and steps multiply the difference (bagged
AlexNets: 1e-5 after one epoch, 3 % after two, between AVX512 and AVX2): the suite compares the first epoch's loss,
within a tolerance. On Intel's processors PyTorch also draws dropout's masks in another way than on others (MKL's
generator), so there are two files: `tests/golden.json` is of a Xeon, `tests/golden_amd.json` of an EPYC.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch

from search.provenance import machine_name
from search.study import load

ROOT = Path(__file__).parents[1]
INTEL, OTHERS = ROOT / "tests" / "golden.json", ROOT / "tests" / "golden_amd.json"
TOLERANCE = 5e-4  # relative, of the first epoch's loss: other processors and versions of PyTorch round otherwise
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


def kept() -> dict[str, Any]:
    """Return the runs of a processor that draws as this one does."""
    cpus = Path("/proc/cpuinfo")
    intel = not cpus.exists() or "GenuineIntel" in cpus.read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads((INTEL if intel else OTHERS).read_text(encoding="utf-8"))
    return found


def here() -> dict[str, str]:
    """Return what decides how sums are rounded."""
    capability = torch.backends.cpu.get_cpu_capability()
    return {"machine": f"{machine_name()}, {capability}", "torch": torch.__version__}


def differences(found: dict[str, Any], kept: dict[str, Any], *, exact: bool) -> list[str]:
    """Return what differs: to the bit if `exact`, else first epochs' losses beyond the tolerance."""
    lines = []
    for name, before in kept["runs"].items():
        now = found["runs"][name]
        if exact:
            changed = [what for what, value in before.items() if now[what] != value]
            lines += [f"{name}: {what} was {before[what]}, is {now[what]}" for what in changed]
        elif abs(now["train_loss"][0] / before["train_loss"][0] - 1) > TOLERANCE:
            lines.append(f"{name}: the first train_loss was {before['train_loss'][0]}, is {now['train_loss'][0]}")
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
    lines = differences(found, kept, exact=all(exact.values()))
    how = "to the bit" if all(exact.values()) else "within the tolerance: it was written on another machine"
    print("\n".join(lines) or f"equal {how}")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
