"""One LightningModule, one optimiser factory and one `fit` for both tasks."""
