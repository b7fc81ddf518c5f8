"""The batches of a training, for one of its processes."""

from typing import Any

import lightning as L
import torch

from relu_pipeline.config import TrainConfig, is_auto
from relu_pipeline.data.batches import OrderedBatches, PreparedSplit, ShuffledBatches
from relu_pipeline.processes import rank_and_world_size
from relu_pipeline.task import Task

EVAL_BATCH_SIZE = 1000
GPU_FRACTION = 0.5  # of the free memory, for a split where `in_memory` is auto


class TrainingData(L.LightningDataModule):
    """Batches of the training split, with augmentation, and of the validation split."""

    def __init__(self, task: Task[Any], config: TrainConfig, seed: int, train: PreparedSplit, val: PreparedSplit):
        super().__init__()
        self.task = task
        self.config = config
        self.seed = seed
        self.train = train
        self.val = val

    def setup(self, stage: str) -> None:
        """Place the splits on the device, which Lightning has assigned to this process by now."""
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        train, val = (placed(split, device, self.config.in_memory) for split in (self.train, self.val))
        augmented = self.task.augment(train, self.config, self.seed)
        self.batches = ShuffledBatches(augmented, self.config.batch_size, self.seed)
        self.val_batches = OrderedBatches(val, EVAL_BATCH_SIZE, rank_and_world_size())

    def train_dataloader(self) -> ShuffledBatches:
        return self.batches

    def val_dataloader(self) -> OrderedBatches:
        return self.val_batches


def placed(split: PreparedSplit, device: torch.device, in_memory: bool) -> PreparedSplit:
    """Return the split in the memory of the device, or as it is in memory-mapped files."""
    if is_auto(in_memory):
        in_memory = device.type == "cuda" and split.nbytes < GPU_FRACTION * torch.cuda.mem_get_info(device)[0]
    return split.to(device) if in_memory else split
