"""Mean-pooled embedding and ReLU layers (the deep averaging network of Iyyer et al. 2015)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PAD_ID = 0
EMBEDDING_STD = 0.1


class TextMLP(nn.Module):
    """Token ids int64 `[B, L]`, padded with 0 -> logits `[B, num_classes]`."""

    def __init__(
        self, num_classes: int, vocab_size: int, embedding_dim: int, hidden_dims: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_dim, padding_idx=PAD_ID)
        nn.init.normal_(self.embedding.weight, std=EMBEDDING_STD)
        self.embedding_dropout = nn.Dropout(dropout)
        dims = [embedding_dim, *hidden_dims]
        self.hidden = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(d_in, d_out), nn.ReLU(), nn.Dropout(dropout))
                for d_in, d_out in zip(dims, dims[1:], strict=False)
            )
        )
        self.head = nn.Linear(dims[-1], num_classes)

    def forward(self, token_ids_BL: Tensor) -> Tensor:
        return self.head(self.hidden(self.embedding_dropout(self.pool(token_ids_BL))))

    def pool(self, token_ids_BL: Tensor) -> Tensor:
        """Mean over the tokens, padding left out; zeros where there are none."""
        if torch.compiler.is_exporting():
            return self._pool_for_onnx(token_ids_BL)
        return F.embedding_bag(token_ids_BL, self.embedding.weight, mode="mean", padding_idx=PAD_ID)

    def _pool_for_onnx(self, token_ids_BL: Tensor) -> Tensor:
        """The same without embedding_bag, which trains 4 times as fast but exports as a loop over the rows."""
        filled_BL1 = (token_ids_BL != PAD_ID).unsqueeze(2).to(self.embedding.weight.dtype)
        return (self.embedding(token_ids_BL) * filled_BL1).sum(dim=1) / torch.clamp(filled_BL1.sum(dim=1), min=1)
