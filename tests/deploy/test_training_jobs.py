"""The files that train elsewhere, against the types of Kubeflow Trainer and SkyPilot."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob

from relu_pipeline.config import load_params
from tests.servers import ROOT

TRAIN_JOB = yaml.safe_load((ROOT / "deploy/kubernetes/train.yaml").read_text())
SKYPILOT = yaml.safe_load((ROOT / "deploy/skypilot.yaml").read_text())


def test_the_job_of_kubeflow_follows_its_types() -> None:
    job = TrainerV1alpha1TrainJob.from_dict(TRAIN_JOB)
    assert job
    assert job.to_dict() == TRAIN_JOB  # unknown fields would be missing


def test_every_gpu_of_the_job_has_a_process_and_a_share_of_each_batch() -> None:
    trainer = TRAIN_JOB["spec"]["trainer"]
    assert trainer["resourcesPerNode"]["limits"]["nvidia.com/gpu"] == trainer["numProcPerNode"]
    assert 256 % (trainer["numNodes"] * trainer["numProcPerNode"]) == 0  # batch_size: auto, of CIFAR-10
    assert trainer["command"][-1].endswith("torch.distributed.run -m pipelines.train image")


def test_spot_machines_find_the_state_of_the_training() -> None:
    tasks = load_params(ROOT / "params.yaml").tasks
    assert {path.removeprefix("~/sky_workdir/") for path in SKYPILOT["file_mounts"]} == {
        f"checkpoints/{task}/training" for task in tasks
    }
    assert SKYPILOT["resources"]["use_spot"] is True


@pytest.mark.slow
def test_skypilot_reads_its_file(tmp_path: Path) -> None:
    """SkyPilot is not in the lock: with what it needs, it takes 300 MB."""
    uv = shutil.which("uv")
    assert uv
    words = [uv, "run", "--no-project", "--isolated", "--with", "skypilot==0.14.1", "python", "-c"]
    environment = os.environ | {"HOME": str(tmp_path)}  # SkyPilot writes to ~/.sky
    code = "import sky; print(sky.Task.from_yaml('deploy/skypilot.yaml').name)"
    done = subprocess.run([*words, code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if "dns error" in done.stderr or "Failed to fetch" in done.stderr:
        pytest.skip("SkyPilot cannot be downloaded")
    assert done.stdout == "relu-pipeline\n", done.stderr
