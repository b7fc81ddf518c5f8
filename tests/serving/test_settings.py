"""configs/serving.yaml, and the environment variables of the service."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from serving.settings import API_KEY, ROOT, Settings, api_key, load_settings, models_dir


@pytest.mark.parametrize("given", ["key", " key", "key\n", "\tkey \r\n"])
def test_the_key_is_stripped(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv(API_KEY, given)
    assert api_key() == "key"


def test_there_may_be_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(API_KEY, raising=False)
    assert api_key() is None


@pytest.mark.parametrize("given", ["", " ", "\n"])
def test_an_empty_key_is_an_error(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """Or the service would be open to everyone, against the intention."""
    monkeypatch.setenv(API_KEY, given)
    with pytest.raises(ValueError, match="RELU_API_KEY is empty"):
        api_key()


def test_the_models_are_those_of_the_project_or_of_the_named_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RELU_MODELS_DIR", raising=False)
    assert models_dir() == ROOT / "models"
    monkeypatch.setenv("RELU_MODELS_DIR", "")
    assert models_dir() == ROOT / "models"
    monkeypatch.setenv("RELU_MODELS_DIR", str(tmp_path))
    assert models_dir() == tmp_path


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        (None, "worker", 2),
        (None, "workers", 0),
        (None, "device", "tpu"),
        (None, "precision", "fp16"),
        ("limits", "image_bytes", 0),
        ("limits", "images", 3),
        ("queue", "micro_batch_size", "many"),
        ("drift", "threshold", -0.1),
        ("drift", "window", 199),
    ],
)
def test_an_unknown_setting_or_a_wrong_value_is_an_error(section: str | None, name: str, value: object) -> None:
    content = load_settings().model_dump()
    (content[section] if section else content)[name] = value
    with pytest.raises(ValidationError, match=name):
        Settings.model_validate(content)
