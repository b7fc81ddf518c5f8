"""Checks of MLflow's tracking store and of the outboxes."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from relu_pipeline.doctor.check import Check
from relu_pipeline.errors import TrackingError

if TYPE_CHECKING:
    from relu_pipeline.tracking.mlflow_store import Store


def check_tracking() -> Iterator[Check]:
    """Check that the store lists its experiments, and that no entries wait in an outbox."""
    from relu_pipeline.tracking.mlflow_store import DATABASE, OUTBOXES, Store, project_root, store_uri
    from relu_pipeline.tracking.outbox import count_left

    root = project_root()
    uri = store_uri(root)
    is_own = not os.environ.get("MLFLOW_TRACKING_URI")  # MLflow sets it when it connects
    if is_own and not (root / DATABASE).exists():
        yield Check("tracking", "ok", f"{DATABASE}, which the first run creates")
    else:
        yield _check_store(Store(root, uri), is_own)
    left = count_left(root / OUTBOXES)
    if left:
        message = f"unsent entries of earlier runs in {OUTBOXES}/: {left}"
        yield Check("outbox", "warning", message, "relu-pipeline send-metrics")
    else:
        yield Check("outbox", "ok", "empty")


def _check_store(store: "Store", is_own: bool) -> Check:
    from relu_pipeline.tracking.mlflow_store import DATABASE, masked

    try:
        store.connect()
    except TrackingError as error:
        other = f"start the server of MLFLOW_TRACKING_URI, or `unset MLFLOW_TRACKING_URI` to use {DATABASE}"
        fix = f"mlflow db upgrade {store.uri}, or move {DATABASE} away" if is_own else other
        return Check("tracking", "error", str(error), fix)
    return Check("tracking", "ok", f"{masked(store.uri)} lists its experiments")
