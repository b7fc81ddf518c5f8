from pathlib import Path

import pytest
import torch

from relu_pipeline.data.augment import CropAndFlip, WordDropout
from relu_pipeline.data.batches import OrderedBatches, ShuffledBatches, load_split
from relu_pipeline.data.images import ImageSplit

NO_AUGMENT = CropAndFlip(padding=0, flip=False)


@pytest.mark.parametrize("batch_size", [1, 7, 300, 1000])
def test_ordered_batches_give_each_row_once(prepared: Path, batch_size: int) -> None:
    split = load_split("image", prepared / "image", "val")
    batches = OrderedBatches(split, batch_size)
    given = list(batches)
    assert len(given) == len(batches)
    assert torch.equal(torch.cat([labels for _, labels in given]), split.labels)


def test_an_epoch_gives_each_row_at_most_once_and_full_batches(prepared: Path) -> None:
    loaded = load_split("image", prepared / "image", "train")
    split = ImageSplit(loaded.images_BHWC, torch.arange(len(loaded)))  # a label that names the row
    batches = ShuffledBatches(split, 128, seed=1, augment=NO_AUGMENT)
    given = list(batches)
    assert [len(labels) for _, labels in given] == [128] * len(batches) == [128] * (1199 // 128)
    rows = torch.cat([labels for _, labels in given])
    assert len(rows.unique()) == len(rows)
    assert torch.equal(torch.cat([images for images, _ in given]), split.images_BHWC[rows])


@pytest.mark.parametrize(("task", "augment"), [("image", CropAndFlip(2, True)), ("text", WordDropout(0.5))])
def test_what_is_drawn_follows_from_seed_and_epoch_alone(prepared: Path, task: str, augment: object) -> None:
    split = load_split(task, prepared / task, "train")

    def draw(seed: int, epoch: int) -> list[torch.Tensor]:
        batches = ShuffledBatches(split, 64, seed, augment)
        batches.set_epoch(epoch)
        return [inputs for inputs, _ in batches]

    same = zip(draw(1, 5), draw(1, 5), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    for other in (draw(1, 6), draw(2, 5)):
        assert not all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(draw(1, 5), other, strict=True))


def test_texts_are_padded_to_the_longest_of_their_batch(prepared: Path) -> None:
    split = load_split("text", prepared / "text", "val")
    lengths = split.offsets.diff()
    rows = torch.tensor([int(lengths.argmin()), int(lengths.argmax())])
    ids = split.gather(rows)
    assert ids.shape == (2, lengths.max())
    assert (ids != 0).sum(dim=1).tolist() == lengths[rows].tolist()
