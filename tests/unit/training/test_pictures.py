from pathlib import Path

from PIL import Image

from relu_pipeline.config import load_params
from relu_pipeline.training.pictures import draw_schedule


def test_the_schedule_is_a_picture_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw_schedule(load_params().image.train.model_copy(update={"max_epochs": 24}), 175, tmp_path / name)
    width, height = Image.open(tmp_path / "a.png").size
    assert width > 600 < 2 * height
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
