import torch
from hypothesis import given
from hypothesis import strategies as st

from relu_pipeline.data.images import ImageSplit
from relu_pipeline.models.mlp import MLP
from relu_pipeline.tasks.image import WHITENING_IMAGES, ImageTask, sampled_rows


@given(st.integers(1, 4 * WHITENING_IMAGES))
def test_the_sampled_rows_are_distinct_and_all_of_them_where_there_are_few(count: int) -> None:
    rows = sampled_rows(count)
    assert len(rows) == min(count, WHITENING_IMAGES)
    assert (rows.diff() > 0).all()
    assert 0 <= rows[0] <= rows[-1] < count
    assert torch.equal(rows, sampled_rows(count))


def test_the_input_is_normalised_alike_where_the_images_are_sorted_by_class() -> None:
    classes = torch.tensor([0, 100, 200]).repeat_interleave(WHITENING_IMAGES)
    images = classes.to(torch.uint8)[:, None, None, None].expand(-1, 2, 2, 3)
    network = MLP(3, (2, 2, 3), [4], "relu")
    ImageTask().fit_input(network, ImageSplit(images, classes // 100))
    torch.testing.assert_close(network.normalise.mean, torch.full((3,), 100.0), atol=5, rtol=0)
    torch.testing.assert_close(network.normalise.std, torch.full((3,), 81.65), atol=5, rtol=0)
