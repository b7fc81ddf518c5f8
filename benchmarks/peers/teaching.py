"""A typical CIFAR-10 tutorial script: conv 32, conv 64, fc 512; DataLoader, PIL transforms, batch size 64, Adam 1e-3.

It trains on all 50,000 images. `python -m benchmarks.peers.teaching EPOCHS SEED`
"""

import json
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from relu_pipeline import artifacts
from relu_pipeline.artifacts import SPLITS
from relu_pipeline.data.images import ImageSplit
from relu_pipeline.tasks.catalogue import TASKS


class Pictures(Dataset):
    def __init__(self, *splits: ImageSplit) -> None:
        self.images = np.concatenate([split.images_BHWC.numpy() for split in splits])
        self.labels = np.concatenate([split.labels.numpy() for split in splits])
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[row])), int(self.labels[row])


class TeachingCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.fc1 = nn.Linear(64 * 6 * 6, 512)
        self.fc2 = nn.Linear(512, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


def main(epochs: int, seed: int) -> None:
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    prepared = artifacts.prepared_dir("image")
    train, val, test = (TASKS["image"].load(prepared, split) for split in SPLITS)
    batches = DataLoader(Pictures(train, val), batch_size=64, shuffle=True, num_workers=2)
    test_batches = DataLoader(Pictures(test), batch_size=1000, num_workers=2)
    network = TeachingCNN().to(device)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    curve, seconds = [], 0.0
    for _ in range(epochs):
        started = time.perf_counter()
        network.train()
        for images, labels in batches:
            loss = F.cross_entropy(network(images.to(device)), labels.to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        seconds += time.perf_counter() - started  # without the evaluation
        curve.append({"seconds": seconds, "test_accuracy": accuracy(network, test_batches, device)})
    print(json.dumps({"seed": seed, "curve": curve}))


@torch.no_grad()
def accuracy(network: nn.Module, batches: DataLoader, device: str) -> float:
    network.eval()
    right = [(network(images.to(device)).argmax(1).cpu() == labels).sum().item() for images, labels in batches]
    return sum(right) / len(batches.dataset)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
