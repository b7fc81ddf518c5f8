from pathlib import Path

import pytest
import torch

from relu_pipeline.errors import ArtifactError
from relu_pipeline.models.catalogue import build_network
from relu_pipeline.models.checkpoint import load_network, save_checkpoint

SETTINGS = {
    "num_classes": 3,
    "vocab_size": 20,
    "embedding_dim": 4,
    "hidden_dims": [8],
    "dropout": 0.0,
}


def test_a_loaded_network_answers_as_the_saved_one(tmp_path: Path) -> None:
    network = build_network("text_mlp", SETTINGS).eval()
    save_checkpoint(tmp_path / "best.ckpt", "text_mlp", SETTINGS, network.state_dict())
    tokens = torch.tensor([[1, 2, 3]])
    assert torch.equal(load_network(tmp_path / "best.ckpt")(tokens), network(tokens))


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    weights = build_network("text_mlp", SETTINGS).state_dict()
    for name in ("a", "b"):
        save_checkpoint(tmp_path / name / "best.ckpt", "text_mlp", SETTINGS, weights)
    assert (tmp_path / "a/best.ckpt").read_bytes() == (tmp_path / "b/best.ckpt").read_bytes()


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code of the checkpoint was run')",)


def test_missing_altered_and_harmful_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    with pytest.raises(ArtifactError, match=r"best\.ckpt: no such file"):
        load_network(path)
    save_checkpoint(path, "text_mlp", SETTINGS, build_network("text_mlp", SETTINGS).state_dict())
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ArtifactError, match="not a checkpoint of this version"):
        load_network(path)
    torch.save(Harmful(), path)
    with pytest.raises(ArtifactError, match="not a checkpoint of this version"):
        load_network(path)
