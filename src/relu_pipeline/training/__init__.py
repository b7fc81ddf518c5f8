"""Training of the networks of all tasks: LightningModule, optimisers, callbacks, calibration and resuming."""
