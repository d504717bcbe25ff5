"""Have a run's page written by a process of its own, which the search waits for only at its end."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from search.failures import UsageError
from search.output import one_line
from search.stages import stage

PATIENCE = 120.0  # seconds for the last page, after which the search ends without it


def check_report(file: Path | None) -> None:
    """Raise UsageError unless `file` can be written."""
    if file is None:
        return
    folder = file.absolute().parent
    if file.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UsageError(f"--report must be a file in a folder that can be written, got {file}")


class LiveReport:
    """The process that writes the page; whatever becomes of it, the search goes on."""

    def __init__(self, folder: Path, file: Path | None) -> None:
        self.file = file
        self.process: subprocess.Popen[bytes] | None = None
        if file is None:
            return
        command = [sys.executable, "-m", "analysis.live", str(folder.absolute()), "-o", str(file.absolute())]
        # A pipe that nobody reads would stop the process when it is full.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self.process = subprocess.Popen(
                [*command, "--until-closed"],
                cwd=Path(__file__).parent.parent,  # the folder in which Python finds `analysis`
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
            )
        except OSError as error:
            print(f"no report: {one_line(error)}")

    def end(self) -> None:
        """Have the last page written, and print where it is or why there is none."""
        process, self.process = self.process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            with stage("writing the report", terminal_only=True):
                status = process.wait(PATIENCE)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
            # The search has ended: an interrupt now is of the page alone, and changes no exit status.
            process.kill()
            process.wait()
            late = isinstance(error, subprocess.TimeoutExpired)
            print(f"no report: {f'its process took over {PATIENCE:.0f} s' if late else 'interrupted'}")
            return
        if status:
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").splitlines() or [f"its process ended with {status}"]
            print(f"no report: {one_line(RuntimeError(said[-1]))}")
        else:
            print(f"report     {self.file}")
