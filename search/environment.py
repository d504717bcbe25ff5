"""Open the standard streams and set Ray's environment variables; import this module before any other."""

from __future__ import annotations

import os
import sys

# A process may be started with its standard streams closed. The next files that are opened would get their numbers,
# and whatever this process or a child prints would end up in those files.
for _number, _name, _mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
    try:
        os.fstat(_number)
    except OSError:
        os.open(os.devnull, os.O_RDWR)
        setattr(sys, _name, open(_number, _mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for good
# Otherwise a driver started by `uv run` starts every worker through uv, in a copy of the project with a new
# environment: minutes before the first task.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
# Keeps the GCS, the raylet and the metrics agent on the loopback interface; search.cluster opens them on request.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
# Ray asks for a token by default if it starts a cluster, but never if an address is named.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the only way to switch off Ray's banner and tables
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# On a busy machine Ray's processes take longer to start than Ray waits by default.
os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "120")
os.environ.setdefault("RAY_DASHBOARD_STARTUP_TIMEOUT_S", "180")
os.environ.setdefault("RAY_agent_register_timeout_ms", "120000")
# By default Ray gives up a node that does not answer for 15 s, as on a machine that trains at a low priority.
os.environ.setdefault("RAY_health_check_failure_threshold", "40")
# How often Ray's processes report their metrics, so that a trial is in them 5 s after its start, not 10. A value is
# forgotten after two intervals, and Ray measures CPUs and memory every 5 s: less would leave gaps in these.
os.environ.setdefault("RAY_metrics_report_interval_ms", "5000")
# The journal restores a study; Ray makes only one snapshot of its own, at the end: a snapshot takes 34 KB a trial.
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1e9")
# The journal has each checkpoint's epoch: Ray need not keep the whole result beside each checkpoint.
os.environ.setdefault("TUNE_ONLY_STORE_CHECKPOINT_SCORE_ATTRIBUTE", "1")
# Ray would also keep each trial as CSV and TensorBoard events, whose writers live as long as this process.
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
