"""Prepared texts: a flat array of token ids, with offsets."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from relu_pipeline.artifacts import PAD_ID, Split
from relu_pipeline.data.arrays import memory_mapped

if TYPE_CHECKING:
    from tokenizers import Tokenizer  # needed only to prepare texts

CHUNK = 1000  # texts at a time


def save_split(folder: Path, split: Split, tokenizer: "Tokenizer", texts: list[str], labels: NDArray[np.int64]) -> None:
    """Encode `texts` and write the arrays that `TextSplit.load` reads; `labels` int64 `[N]`."""
    tokenizer.no_padding()
    tokens, counts = [], [np.zeros(1, dtype=np.int64)]
    for start in tqdm(range(0, len(texts), CHUNK), f"{split} texts", unit_scale=CHUNK, leave=False, disable=None):
        ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts[start : start + CHUNK])]
        tokens.append(np.fromiter(chain.from_iterable(ids), dtype=np.int32))
        counts.append(np.array([len(row) for row in ids], dtype=np.int64))
    np.save(folder / f"{split}_tokens.npy", np.concatenate(tokens))
    np.save(folder / f"{split}_offsets.npy", np.concatenate(counts).cumsum())
    np.save(folder / f"{split}_labels.npy", labels)


@dataclass(frozen=True)
class TextSplit:
    """Prepared texts: `tokens` int32 `[T]`, `offsets` int64 `[N + 1]` and `labels` int64 `[N]`.

    Text `i` has the token ids `tokens[offsets[i]:offsets[i + 1]]`.
    """

    tokens: Tensor
    offsets: Tensor
    labels: Tensor

    @classmethod
    def load(cls, folder: Path, split: Split) -> Self:
        offsets, labels = (torch.from_numpy(np.load(folder / f"{split}_{name}.npy")) for name in ("offsets", "labels"))
        return cls(memory_mapped(folder / f"{split}_tokens.npy"), offsets, labels)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def nbytes(self) -> int:
        return self.tokens.nbytes

    def to(self, device: torch.device) -> "TextSplit":
        return TextSplit(self.tokens.to(device, copy=True), self.offsets.to(device), self.labels.to(device))

    def token_ids(self, row: int) -> list[int]:
        return self.tokens[self.offsets[row] : self.offsets[row + 1]].tolist()

    def take(self, rows: Tensor) -> "TextSplit":
        tokens = torch.cat([self.tokens[self.offsets[row] : self.offsets[row + 1]] for row in rows])
        lengths = self.offsets.diff()[rows]
        return TextSplit(tokens, torch.cat((lengths.new_zeros(1), lengths.cumsum(0))), self.labels[rows])

    def labelled_tokens(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the tokens and the label of each token's text, both int64 `[T]`, of some texts at a time."""
        for start in range(0, len(self), CHUNK):
            offsets = self.offsets[start : start + CHUNK + 1]
            tokens = self.tokens[offsets[0] : offsets[-1]].long()
            yield tokens, self.labels[start : start + CHUNK].repeat_interleave(offsets.diff())

    def gather(self, rows: Tensor) -> Tensor:
        """Return token ids int64 `[B, L]`, padded to the longest of these texts."""
        positions, filled = self.positions(rows)
        return torch.where(filled, self.tokens[positions].long(), PAD_ID)

    def positions(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the positions of these texts' tokens in `tokens`, int64 `[B, L]`, and whether there is one, bool."""
        starts, lengths = self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows]
        columns = torch.arange(max(1, int(lengths.max())), device=rows.device)
        filled = columns < lengths[:, None]
        return torch.where(filled, starts[:, None] + columns, 0), filled
