from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing

from relu_pipeline.artifacts import PAD_ID
from relu_pipeline.config import ImageTrainConfig, TextTrainConfig, load_params
from relu_pipeline.data.augment import AugmentedImages
from relu_pipeline.data.batches import OrderedBatches, ShuffledBatches
from relu_pipeline.data.images import ImageSplit
from relu_pipeline.data.texts import TextSplit
from relu_pipeline.tasks.catalogue import TASKS

CONFIGS: dict[str, ImageTrainConfig | TextTrainConfig] = {
    "image": load_params().image.train,
    "text": load_params().text.train.model_copy(update={"word_dropout": 0.4}),
}


@pytest.mark.parametrize("batch_size", [1, 7, 300, 1000])
def test_ordered_batches_give_each_row_once(prepared: Path, batch_size: int) -> None:
    split = TASKS["image"].load(prepared / "image", "val")
    batches = OrderedBatches(split, batch_size)
    given = list(batches)
    assert len(given) == len(batches)
    assert torch.equal(torch.cat([labels for _, labels in given]), split.labels)


@pytest.mark.parametrize(("batch_size", "world_size"), [(2, 2), (7, 3), (100, 2), (1000, 4)])
def test_processes_share_the_rows_in_equally_many_batches(prepared: Path, batch_size: int, world_size: int) -> None:
    loaded = TASKS["image"].load(prepared / "image", "val")
    split = ImageSplit(loaded.images_BHWC, torch.arange(len(loaded)))  # a label that names the row
    shares = [OrderedBatches(split, batch_size, (rank, world_size)) for rank in range(world_size)]
    assert len({len(share) for share in shares}) == 1
    rows = [torch.cat([labels for _, labels in share]) for share in shares]
    assert all(torch.equal(of_rank, torch.arange(rank, len(split), world_size)) for rank, of_rank in enumerate(rows))
    assert all(0 < len(labels) <= batch_size for share in shares for _, labels in share)


def test_an_epoch_gives_each_row_at_most_once_and_full_batches(prepared: Path) -> None:
    loaded = TASKS["image"].load(prepared / "image", "train")
    split = ImageSplit(loaded.images_BHWC, torch.arange(len(loaded)))  # a label that names the row
    rows = AugmentedImages(split, padding=0, flip=False, erasing=0.0, colour=0.0, seed=1)
    batches = ShuffledBatches(rows, 128, seed=1)
    given = list(batches)
    assert [len(labels) for _, labels in given] == [128] * len(batches) == [128] * (1199 // 128)
    rows = torch.cat([labels for _, labels in given])
    assert len(rows.unique()) == len(rows)
    assert torch.equal(torch.cat([images for images, _ in given]), split.images_BHWC[rows])


@pytest.mark.parametrize("task", ["image", "text"])
def test_what_is_drawn_follows_from_seed_and_epoch_alone(prepared: Path, task: str) -> None:
    split = TASKS[task].load(prepared / task, "train")

    def draw(seed: int, epoch: int) -> list[torch.Tensor]:
        batches = ShuffledBatches(TASKS[task].augment(split, CONFIGS[task], seed), 64, seed)
        batches.set_epoch(epoch)
        return [inputs for inputs, _ in batches]

    same = zip(draw(1, 5), draw(1, 5), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    for other in (draw(1, 6), draw(2, 5)):
        assert not all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(draw(1, 5), other, strict=True))


def _batches_of_rank(rank: int, world_size: int, prepared: Path, out: Path) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{out}/group", rank=rank, world_size=world_size)
    split = TASKS["image"].load(prepared / "image", "train")
    batches = ShuffledBatches(TASKS["image"].augment(split, CONFIGS["image"], 3), 65, 3)
    batches.set_epoch(2)
    torch.save(list(batches), out / f"{rank}.pt")
    distributed.destroy_process_group()


def test_processes_share_each_batch_of_a_single_one(prepared: Path, tmp_path: Path) -> None:
    multiprocessing.start_processes(_batches_of_rank, (3, prepared, tmp_path), nprocs=3, start_method="spawn")
    shares = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(3)]
    split = TASKS["image"].load(prepared / "image", "train")
    alone = ShuffledBatches(TASKS["image"].augment(split, CONFIGS["image"], 3), 65, 3)
    alone.set_epoch(2)
    for whole, *parts in zip(alone, *shares, strict=True):
        for tensor, of_ranks in zip(whole, zip(*parts, strict=True), strict=True):
            joined = torch.empty_like(tensor)
            for rank, part in enumerate(of_ranks):
                joined[rank::3] = part
            assert torch.equal(joined, tensor)


def test_texts_are_padded_to_the_longest_of_their_batch(prepared: Path) -> None:
    split = TASKS["text"].load(prepared / "text", "val")
    lengths = split.offsets.diff()
    rows = torch.tensor([int(lengths.argmin()), int(lengths.argmax())])
    ids = split.gather(rows)
    assert ids.shape == (2, lengths.max())
    assert (ids != 0).sum(dim=1).tolist() == lengths[rows].tolist()


def test_each_token_has_the_label_of_its_text(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relu_pipeline.data.texts.CHUNK", 7)
    split = TASKS["text"].load(prepared / "text", "val")
    chunks = list(split.labelled_tokens())
    tokens, labels = (torch.cat(part).tolist() for part in zip(*chunks, strict=True))
    of_texts = [(token, int(label)) for row, label in enumerate(split.labels) for token in split.token_ids(row)]
    assert list(zip(tokens, labels, strict=True)) == of_texts
    assert len(chunks) == -(-len(split) // 7)


@pytest.mark.parametrize("task", ["image", "text"])
def test_taken_rows_are_those_of_the_split(prepared: Path, task: str) -> None:
    split, rows = TASKS[task].load(prepared / task, "val"), torch.tensor([7, 3, 3, 0])
    taken = split.take(rows)
    assert len(taken) == 4
    assert torch.equal(taken.labels, split.labels[rows])
    assert torch.equal(taken.gather(torch.arange(4)), split.gather(rows))
    assert torch.equal(taken.gather(torch.tensor([2])), split.gather(rows[2:3]))


def test_texts_without_a_token_are_a_column_of_padding() -> None:
    offsets = torch.tensor([0, 0, 0, 1])
    split = TextSplit(torch.tensor([7], dtype=torch.int32), offsets, torch.zeros(3, dtype=torch.int64))
    assert split.gather(torch.tensor([0, 1])).tolist() == [[PAD_ID], [PAD_ID]]
    assert split.gather(torch.tensor([0, 2])).tolist() == [[PAD_ID], [7]]
