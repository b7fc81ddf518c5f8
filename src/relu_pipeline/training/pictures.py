"""PNG pictures of a training."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from relu_pipeline.config import TrainConfig
from relu_pipeline.figures import save_figure
from relu_pipeline.training.optimisers import triangle


def draw_schedule(config: TrainConfig, steps_per_epoch: int, path: Path) -> None:
    """Learning rate at each step, warm-up and decay."""
    num_steps = config.max_epochs * steps_per_epoch
    factor = triangle(num_steps, config.warmup_fraction)
    steps = np.arange(num_steps + 1)
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps / steps_per_epoch, [config.learning_rate * factor(step) for step in steps])
    axes.set(
        xlabel="epoch", ylabel="learning rate", title=f"Warm-up and decay over {num_steps:,} steps", xlim=(0, None)
    )
    axes.set_ylim(0)
    axes.grid(alpha=0.3)
    save_figure(figure, path)
