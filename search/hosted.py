"""Run the study that a Python process hands over on standard input: the other end of `search.api.run`."""

from __future__ import annotations

from search import environment, guardian  # isort: skip  # noqa: F401  (before anything imports ray)

import ctypes
import os
import pickle
import signal
import sys

if __name__ == "__main__":
    STUDY = sys.stdin.buffer.read()
    CALLER = int(os.environ.pop(guardian.CALLER_ID))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(guardian.PARENT_DEATH, signal.SIGTERM, 0, 0, 0)  # end in order if the caller dies
        if os.getppid() != CALLER:  # the caller, which may be process 1 of a container, has died already
            sys.exit(guardian.HALTED)
    guardian.stand_guard()

from search.output import guard
from search.run import main

if __name__ == "__main__":
    guard()
    sys.exit(main(study=pickle.loads(STUDY)))
