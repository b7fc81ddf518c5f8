import numpy as np
import torch

from relu_pipeline.data.augment import CropAndFlip, WordDropout


def test_without_padding_and_flip_nothing_changes(rng: np.random.Generator) -> None:
    images = torch.from_numpy(rng.integers(256, size=(5, 8, 6, 3), dtype=np.uint8))
    assert torch.equal(CropAndFlip(0, False)(images, rng), images)


def test_an_image_becomes_a_window_of_its_reflected_self_or_the_mirror_of_one(rng: np.random.Generator) -> None:
    images = torch.from_numpy(rng.integers(256, size=(40, 8, 8, 3), dtype=np.uint8))
    augmented = CropAndFlip(2, True)(images, rng).numpy()
    seen = set()
    for image, result in zip(images.numpy(), augmented, strict=True):
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect")
        windows = {
            (down, right, flip): padded[down : down + 8, right : right + 8][:, :: -1 if flip else 1]
            for down in range(5)
            for right in range(5)
            for flip in (False, True)
        }
        matching = [key for key, window in windows.items() if np.array_equal(window, result)]
        assert matching
        seen.add(matching[0])
    assert len(seen) > 15


def test_word_dropout_leaves_the_share_out_and_changes_no_other_token(rng: np.random.Generator) -> None:
    ids = torch.full((200, 50), 7)
    dropped = WordDropout(0.3)(ids, rng)
    assert set(dropped.unique().tolist()) == {0, 7}
    assert abs((dropped == 0).float().mean().item() - 0.3) < 0.02
