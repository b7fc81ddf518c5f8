"""Pooled embedding and ReLU layers (deep averaging network, Iyyer et al. 2015), several of them side by side."""

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relu_pipeline.artifacts import PAD_ID

EMBEDDING_STD = 0.1


class TextMLP(nn.Module):
    """Token ids int64 `[B, L]`, padded with 0 -> logits `[B, num_classes]`; in training each member's, `[M, B, C]`.

    The answer is the mean of the members' probabilities (deep ensemble, Lakshminarayanan et al. 2017).
    """

    def __init__(
        self,
        num_classes: int,
        vocab_size: int,
        embedding_dim: int,
        hidden_dims: Sequence[int],
        dropout: float,
        num_members: int,
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(
            PooledMLP(num_classes, vocab_size, embedding_dim, hidden_dims, dropout) for _ in range(num_members)
        )

    def forward(self, token_ids_BL: Tensor) -> Tensor:
        logits_MBC = torch.stack([member(token_ids_BL) for member in self.members])
        if self.training:
            return logits_MBC
        return F.log_softmax(logits_MBC, dim=2).logsumexp(dim=0) - math.log(len(self.members))


class PooledMLP(nn.Module):
    """Token ids int64 `[B, L]` -> logits `[B, num_classes]`."""

    def __init__(
        self, num_classes: int, vocab_size: int, embedding_dim: int, hidden_dims: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_dim, padding_idx=PAD_ID)
        nn.init.normal_(self.embedding.weight, std=EMBEDDING_STD)
        dims = [2 * embedding_dim, *hidden_dims]
        # The mean is far smaller than the maximum; normed, both learn at one rate.
        self.pooled_norm = nn.BatchNorm1d(dims[0])
        self.pooled_dropout = nn.Dropout(dropout)
        self.hidden = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(d_in, d_out), nn.ReLU(), nn.Dropout(dropout))
                for d_in, d_out in itertools.pairwise(dims)
            )
        )
        self.head = nn.Linear(dims[-1], num_classes)

    def forward(self, token_ids_BL: Tensor) -> Tensor:
        pool = mean_and_max_of_bags if self.training else mean_and_max
        pooled_B2D = pool(token_ids_BL, self.embedding.weight)
        return self.head(self.hidden(self.pooled_dropout(self.pooled_norm(pooled_B2D))))


def mean_and_max(token_ids_BL: Tensor, weight_VD: Tensor) -> Tensor:
    """Over the tokens side by side, padding left out: `[B, 2 D]`, zeros where there are none."""
    x_BLD = F.embedding(token_ids_BL, weight_VD)
    padding_BL1 = (token_ids_BL == PAD_ID).unsqueeze(2)
    count_B1 = (token_ids_BL != PAD_ID).sum(dim=1, keepdim=True)
    mean_BD = x_BLD.masked_fill(padding_BL1, 0.0).sum(dim=1) / count_B1.clamp(min=1)
    max_BD = x_BLD.masked_fill(padding_BL1, -torch.inf).amax(dim=1)
    return torch.cat((mean_BD, torch.where(count_B1 > 0, max_BD, 0.0)), dim=1)


def mean_and_max_of_bags(token_ids_BL: Tensor, weight_VD: Tensor) -> Tensor:
    """As `mean_and_max`, several times as fast to train; ONNX knows no such operator and would loop over the rows."""
    filled_BL = token_ids_BL != PAD_ID
    count_B = filled_BL.sum(dim=1)
    tokens, offsets_B = token_ids_BL[filled_BL], count_B.cumsum(dim=0) - count_B
    bags = [F.embedding_bag(tokens, weight_VD, offsets_B, mode=mode) for mode in ("mean", "max")]
    return torch.cat(bags, dim=1)
