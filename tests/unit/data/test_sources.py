import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from relu_pipeline import artifacts
from relu_pipeline.artifacts import Source
from relu_pipeline.config import TaskName, load_params, load_published
from relu_pipeline.data import demo
from relu_pipeline.data.formats import read_places
from relu_pipeline.data.sources import obtain
from relu_pipeline.errors import ConfigError, DataError, DownloadError
from tests.folder_server import serve_folder

ROOT = Path(__file__).resolve().parents[3]
DATA, PARAMS = ROOT / "configs/data", load_params(ROOT / "params.yaml")


@pytest.fixture
def small_mirror(tmp_path: Path) -> Path:
    """A mirror of AG News' form, holding generated rows."""
    mirror = tmp_path / "mirror"
    (mirror / "ag_news").mkdir(parents=True)
    demo.write_ag_news(mirror / "ag_news")
    sign(mirror)
    return mirror


def sign(mirror: Path) -> None:
    files = sorted(path for path in mirror.rglob("*.csv"))
    lines = (f"{artifacts.sha256_of(path)}  {path.relative_to(mirror)}\n" for path in files)
    (mirror / "SHA256SUMS").write_text("".join(lines))


def test_demo_data_say_so(demo_raw: Path) -> None:
    images = artifacts.read(demo_raw / "cifar10" / "source.json", Source)
    texts = artifacts.read(demo_raw / "ag_news" / "source.json", Source)
    assert (images.source, images.rows) == ("demo", {"train": 1500, "test": 297})
    assert (texts.source, texts.rows) == ("demo", {"train": 2000, "test": 400})


def test_examples_have_the_place_where_a_user_finds_them(demo_raw: Path, tmp_path: Path) -> None:
    assert read_places(demo_raw / "ag_news", "test") == [f"test row {number}" for number in range(1, 401)]
    for label in ("a", "b"):
        (tmp_path / "in" / label).mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (40, 40), (number, number, ord(label))).save(tmp_path / "in" / label / f"{number}.png")
    obtain("image", str(tmp_path / "in"), PARAMS.image.data, None, tmp_path / "raw")
    places = read_places(tmp_path / "raw", "train") + read_places(tmp_path / "raw", "test")
    assert sorted(places) == [f"{label}/{number}.png" for label in ("a", "b") for number in range(5)]


def test_demo_data_are_the_same_each_time(demo_raw: Path, tmp_path: Path) -> None:
    again = obtain("text", str(DATA / "headlines.yaml"), PARAMS.text.data, None, tmp_path / "ag_news")
    assert again == artifacts.read(demo_raw / "ag_news" / "source.json", Source)


def test_a_mirror_is_recorded_without_its_path(small_mirror: Path, tmp_path: Path) -> None:
    source = obtain("text", str(DATA / "ag_news.yaml"), PARAMS.text.data, small_mirror, tmp_path / "out")
    assert (source.source, source.rows) == ("mirror", {"train": 2000, "test": 400})
    assert str(tmp_path) not in (tmp_path / "out" / "source.json").read_text()


def test_downloaded_files_are_recorded_with_their_addresses_and_those_of_a_mirror_without(
    small_mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # downloads are kept below it
    description = load_published(DATA / "ag_news.yaml").model_dump()
    with serve_folder(small_mirror) as publisher:
        for file in description["files"]:
            file["url"] = f"{publisher}/{file['mirror']}"
            file["checksum"] = f"sha256:{artifacts.sha256_of(small_mirror / file['mirror'])}"
        (tmp_path / "news.yaml").write_text(json.dumps(description))
        downloaded, mirrored = (
            obtain("text", str(tmp_path / "news.yaml"), PARAMS.text.data, place, tmp_path / "out")
            for place in (None, small_mirror)
        )
    assert (downloaded.source, mirrored.source) == ("published", "mirror")
    assert [file.url for file in downloaded.files] == [file["url"] for file in description["files"]]
    assert [file.url for file in mirrored.files] == [None, None]
    assert downloaded.rows == mirrored.rows == {"train": 2000, "test": 400}


def test_a_path_in_a_mirror_may_hold_spaces(small_mirror: Path, tmp_path: Path) -> None:
    (small_mirror / "ag_news").rename(small_mirror / "ag news")
    sign(small_mirror)
    data = tmp_path / "ag_news.yaml"
    data.write_text((DATA / "ag_news.yaml").read_text().replace("mirror: ag_news/", "mirror: ag news/"))
    source = obtain("text", str(data), PARAMS.text.data, small_mirror, tmp_path / "out")
    assert source.rows == {"train": 2000, "test": 400}


def test_an_altered_file_is_refused_and_the_earlier_data_stay(small_mirror: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    obtain("text", str(DATA / "ag_news.yaml"), PARAMS.text.data, small_mirror, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with (small_mirror / "ag_news/train.csv").open("a") as file:
        file.write('"1","one","more"\n')
    with pytest.raises(DownloadError, match=r"train\.csv: does not match its line in SHA256SUMS"):
        obtain("text", str(DATA / "ag_news.yaml"), PARAMS.text.data, small_mirror, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_wrong_row_names_the_mirrors_own_file(small_mirror: Path, tmp_path: Path) -> None:
    path = small_mirror / "ag_news/train.csv"
    path.write_text(path.read_text().replace('"3"', '"9"', 1))
    sign(small_mirror)
    with pytest.raises(DataError, match=rf"{path}, line \d+: class '9'"):
        obtain("text", str(DATA / "ag_news.yaml"), PARAMS.text.data, small_mirror, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_mirror_without_sums_or_files_is_a_clear_error(small_mirror: Path, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"SHA256SUMS: has no line for cifar-10-binary\.tar\.gz"):
        obtain("image", str(DATA / "cifar10.yaml"), PARAMS.image.data, small_mirror, tmp_path / "out")
    (small_mirror / "ag_news/test.csv").unlink()
    with pytest.raises(DownloadError, match=r"test\.csv: no such file"):
        obtain("text", str(DATA / "ag_news.yaml"), PARAMS.text.data, small_mirror, tmp_path / "out")
    shutil.rmtree(small_mirror)
    with pytest.raises(DownloadError, match=r"SHA256SUMS: No such file.*RELU_DATA_MIRROR"):
        obtain("text", str(DATA / "ag_news.yaml"), PARAMS.text.data, small_mirror, tmp_path / "out")


@pytest.mark.parametrize(("task", "name", "takes"), [("image", "headlines", "cifar10"), ("text", "digits", "ag_news")])
def test_data_of_another_task_are_refused_and_the_earlier_stay(
    task: TaskName, name: str, takes: str, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/earlier").touch()
    with pytest.raises(
        ConfigError, match=rf"{name}\.yaml: the task {task} does not support format .*, only {takes}; .*tasks"
    ):
        obtain(task, str(DATA / f"{name}.yaml"), PARAMS.image.data, None, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["earlier"]


@pytest.mark.real_data
def test_the_real_sets_are_whole(mirror: Path, tmp_path: Path) -> None:
    images = obtain("image", str(DATA / "cifar10.yaml"), PARAMS.image.data, mirror, tmp_path / "cifar10")
    assert images.rows == {"train": 50_000, "test": 10_000}
    assert (
        obtain("text", str(DATA / "ag_news.yaml"), PARAMS.text.data, mirror, tmp_path / "ag_news").rows["test"] == 7600
    )
