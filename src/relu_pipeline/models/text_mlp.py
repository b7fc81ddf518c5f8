"""Text classifier of pooled embeddings and dense ReLU layers (deep averaging network, Iyyer et al. 2015)."""

import itertools
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relu_pipeline.artifacts import PAD_ID

EMBEDDING_STD = 0.03
LOG_ODDS_SCALE = 0.5
SMOOTHING = 1.0  # added to the count of each word in each class


class TextMLP(nn.Module):
    """Deep averaging network: token ids int64 `[B, L]`, padded with 0 -> logits `[B, num_classes]`."""

    def __init__(
        self, num_classes: int, vocab_size: int, embedding_dim: int, hidden_dims: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_dim, padding_idx=PAD_ID)
        nn.init.normal_(self.embedding.weight, std=EMBEDDING_STD)
        dims = [2 * embedding_dim, *hidden_dims]
        # The mean is far smaller than the maximum; after normalisation, one learning rate suits both.
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
        logits_BC: Tensor = self.head(self.hidden(self.pooled_dropout(self.pooled_norm(pooled_B2D))))
        return logits_BC

    @torch.no_grad()
    def fit_input(self, labelled: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Initialise the first features of each word's embedding by its log-odds of each class.

        These are the features of naive Bayes (Wang & Manning 2012). `labelled` are the tokens of the training texts and
        the classes of their texts, both int64 `[T]`, in chunks.
        """
        weight_VD = self.embedding.weight
        odds_VC = LOG_ODDS_SCALE * log_odds(labelled, len(weight_VD), self.head.out_features)
        weight_VD[:, : odds_VC.shape[1]] = odds_VC[:, : weight_VD.shape[1]]
        weight_VD[PAD_ID] = 0


def log_odds(labelled: Iterable[tuple[Tensor, Tensor]], vocab_size: int, num_classes: int) -> Tensor:
    """Return the log of each word's smoothed frequency in each class, minus the mean over the classes: `[V, C]`."""
    counts = torch.zeros(vocab_size * num_classes, dtype=torch.int64)
    for tokens, labels in labelled:
        pairs = tokens * num_classes + labels
        counts.index_add_(0, pairs, torch.ones_like(pairs))
    smoothed_VC = counts.view(vocab_size, num_classes) + SMOOTHING
    log_frequency_VC = (smoothed_VC / smoothed_VC.sum(dim=0)).log()
    return log_frequency_VC - log_frequency_VC.mean(dim=1, keepdim=True)


def mean_and_max(token_ids_BL: Tensor, weight_VD: Tensor) -> Tensor:
    """Return the mean and the maximum over the tokens without padding, concatenated: `[B, 2 D]`; 0 without tokens.

    Padding is masked by a product and a sum, because selecting embeddings would dominate the time in ONNX Runtime.
    """
    x_BLD = F.embedding(token_ids_BL, weight_VD)
    filled_BL = (token_ids_BL != PAD_ID).to(x_BLD.dtype)
    count_B1 = filled_BL.sum(dim=1, keepdim=True)
    mean_BD = (filled_BL.unsqueeze(1) @ x_BLD).squeeze(1) / count_B1.clamp(min=1)
    max_BD = (x_BLD + filled_BL.log().unsqueeze(2)).amax(dim=1)  # of padding: -inf
    return torch.cat((mean_BD, torch.where(count_B1 > 0, max_BD, 0.0)), dim=1)


def mean_and_max_of_bags(token_ids_BL: Tensor, weight_VD: Tensor) -> Tensor:
    """Return the same as `mean_and_max`, in a form that trains several times faster.

    ONNX has no such operator: the exported graph would loop over the examples.
    """
    filled_BL = token_ids_BL != PAD_ID
    count_B = filled_BL.sum(dim=1)
    tokens, offsets_B = token_ids_BL[filled_BL], count_B.cumsum(dim=0) - count_B
    bags = [F.embedding_bag(tokens, weight_VD, offsets_B, mode=mode) for mode in ("mean", "max")]
    return torch.cat(bags, dim=1)
