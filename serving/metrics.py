"""What `/metrics` shows besides BentoML's own figures.

prometheus_client takes its folder for several processes from the environment, which BentoML sets before a worker
imports this module; `/metrics` of any worker then shows them all.
"""

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Gauge, Histogram

from serving.drift import Drift

STEPS = 20

ZERO_SHARE = Histogram(
    "relu_zero_share",
    "Share of zeros that a ReLU layer gave for a row",
    ["task", "layer"],
    buckets=[step / STEPS for step in range(STEPS + 1)],
)
# Of workers that live: the one that drifts most. The last word of a worker that was killed may stay until a restart.
DRIFT = Gauge("relu_drift", "Largest stability index over the ReLU layers", ["task"], multiprocess_mode="livemax")
RAISED = Gauge("relu_drift_raised", "1 while relu_drift is above its threshold", ["task"], multiprocess_mode="livemax")


class DriftMetrics:
    """Of one model."""

    def __init__(self, task: str, layers: list[str]) -> None:
        self.task = task
        # Resolved once: that takes as long as to observe.
        self.shares = [ZERO_SHARE.labels(task, layer) for layer in layers]

    def observe(self, shares_NR: NDArray[np.float32], drift: Drift) -> None:
        """`relu_drift` appears with the first verdict."""
        for histogram, shares_N in zip(self.shares, shares_NR.T.tolist(), strict=True):
            for share in shares_N:
                histogram.observe(share)
        if drift.value is not None:
            DRIFT.labels(self.task).set(drift.value)
            RAISED.labels(self.task).set(drift.raised_since is not None)
