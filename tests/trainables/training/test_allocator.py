"""A training step asks the system for no new memory: not in a worker, and not where a start measures."""

import platform
import random
import subprocess
import sys
from pathlib import Path

import pytest

# A process for itself, since what is tested is of the whole process: forked before anything has trained.
SCRIPT = """
import io, os, resource, sys
from pathlib import Path
import numpy as np
import torch
from ray import cloudpickle
from search import packing, fastest, plan
from search.study import Study
from search.resources import Resources
from trainables.alexnet import BaggedAlexNet
from trainables.base import build
from trainables.data.datasets import ImageData
from trainables.training.steps import first_steps
from trainables.data.task import DeviceData

torch.set_num_threads(1)
images = np.memmap(sys.argv[1], np.uint8, "r", shape=(1200, 3, 32, 32))  # as Ray hands arrays to its workers
labels = np.arange(1200) % 10
data = ImageData("cifar10", images, labels, images, labels, tuple("0123456789"), "", "")
# conv1 makes blocks of 36 MB: above 32 MiB glibc returns each of them, unless told otherwise.
config = {"batch_size": 512, "dropout": 0.0}
study = Study(name="a", question="?", source="", trainable=BaggedAlexNet, dataset="cifar10", epochs=1, samples=1,
              param_space=config)
one = Resources(1, 0)

class Trial(BaggedAlexNet):
    def setup(self, config):
        super().setup(config, data)

def measured_sharing():
    packing.SECONDS, packing.load_data = 0.0, lambda *_: data
    Path("job").write_bytes(cloudpickle.dumps((BaggedAlexNet, config, ("cifar10", None, {}), "cpu")))
    sys.argv, sys.stdin, sys.stdout = ["", "job"], io.StringIO("go"), io.StringIO()
    os.environ["OMP_NUM_THREADS"] = "1"
    packing.main()

DOORS = {
    "nothing": lambda: None,
    "worker": lambda: Trial(config),
    "path": lambda: fastest.check(study, data, one, None, "bf16"),
    "plan": lambda: plan.make_plan(study, data, one, 1, None),
    "sharing": measured_sharing,
}

def faults(door):
    DOORS[door]()
    training = build(BaggedAlexNet, config, DeviceData(data))
    for _ in range(6):  # until the heap is as large as it gets
        first_steps(training, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        first_steps(training, 1)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / (4 * 512)

for door in DOORS:
    if os.fork() == 0:
        Path(door).write_text(str(faults(door)))
        sys.exit()
    _, status = os.wait()
    if status:
        sys.exit(door)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_training_step_asks_for_no_new_pages(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(random.Random(0).randbytes(1200 * 3 * 32 * 32))
    environment = {"PYTHONPATH": str(Path(__file__).parents[3]), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "images")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    doors = ("nothing", "worker", "path", "plan", "sharing")
    faults = {door: float((tmp_path / door).read_text()) for door in doors}  # an image
    assert faults.pop("nothing") > 12  # what is to be spared is there
    assert max(faults.values()) < 10, faults  # what else the machine does may take a page or two
