"""What only counts before anything else is imported: open standard streams, and Ray's settings."""

from __future__ import annotations

import os
import sys

# A process may be started with its standard streams closed. Their numbers would go to the next files that are opened,
# and what is printed here or in a child process would end up in those.
for _number, _name, _mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
    try:
        os.fstat(_number)
    except OSError:
        os.open(os.devnull, os.O_RDWR)
        setattr(sys, _name, open(_number, _mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for good
# A driver started by `uv run` would start every worker through uv, in a copy of the project with a new
# environment: minutes before the first task.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
# Keeps the GCS, the raylet and the metrics agent on the loopback interface; search.cluster opens them on request.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
# Ray asks for a token by itself where it starts, but never where an address is named.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # its banner and tables cannot be switched off otherwise
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# A busy machine starts Ray more slowly than Ray is ready to wait.
os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "120")
os.environ.setdefault("RAY_DASHBOARD_STARTUP_TIMEOUT_S", "180")
os.environ.setdefault("RAY_agent_register_timeout_ms", "120000")
# The journal restores a study; Ray's own snapshot of the experiment is only for its tools.
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "600")
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
