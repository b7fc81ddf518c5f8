import pytest
import torch


@pytest.fixture(autouse=True)
def same_networks() -> None:
    torch.manual_seed(0)
