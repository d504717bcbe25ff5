"""python -m tests.benchmarks [--only PART] [--repeats N] [--device cuda] [--json FILE]: ours beside plain, in one run.

Each repeat times both in turn, so that a noisy machine disturbs both alike; medians and ranges are of the repeats,
ratios are taken pair by pair. About 20 minutes on two idle cores.
"""

from __future__ import annotations

from search import environment  # isort: skip  # noqa: F401  (before anything imports ray)

import argparse
import datetime
import json
import sys

import torch

from tests.benchmarks import early_stopping, gpu, share, startup, throughput, trials

PARTS = {
    "throughput": throughput.measure,
    "trials": trials.measure,
    "startup": startup.measure,
    "share": share.measure,
    "early-stopping": early_stopping.measure,
    "gpu": gpu.measure,
}


def main() -> None:
    from search.provenance import machine_name

    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="one part; repeat it for more")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda needs a GPU that PyTorch sees, found none")
    if options.device == "cpu" and "gpu" in (options.only or ()):
        parser.error("--only gpu needs --device cuda")
    parts = options.only or [part for part in PARTS if part != "gpu" or options.device == "cuda"]
    report = {
        "machine": machine_name(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "torch": torch.__version__,
        "command": " ".join(sys.argv),
    }
    print(f"{report['machine']}, {report['date']}, {options.repeats} repeats")
    for part in parts:
        report[part] = PARTS[part](options.repeats, options.device)
        if options.json:
            with open(options.json, "w", encoding="utf-8") as file:
                json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
