"""From what a caller sent to the rows that a graph takes. Raises RequestError."""

import io
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, PngImagePlugin

from serving.errors import RequestError
from serving.tokenizer import WordTokenizer

FORMATS = ("PNG", "JPEG", "WEBP")
# Others (16 bits a channel, floats) would lose their upper values in Pillow's conversion to RGB.
MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
MAX_SIDE = 16384  # a resize of a longer one takes gigabytes
UPRIGHT = 1  # of the EXIF orientation
PngImagePlugin.MAX_TEXT_MEMORY = 1 << 20  # bytes of all texts; unpacking Pillow's 64 MB takes a fifth of a second
DRAFT = 4  # times the side, at least: to this a large JPEG is reduced while it is decoded, in a third of the time
DECODER_ERRORS = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)


def decode_image(content: bytes, side: int, max_pixels: int) -> NDArray[np.uint8]:
    """uint8 `[side, side, 3]`: upright, on white where transparent, the middle square of the first frame."""
    if not content:
        raise RequestError(400, "empty_image", "the image is empty; send a PNG, JPEG or WebP file")
    try:
        return np.asarray(_square(content, side, max_pixels), dtype=np.uint8)
    except DECODER_ERRORS as error:
        raise RequestError(400, "invalid_image", "not a readable PNG, JPEG or WebP image") from error


def _square(content: bytes, side: int, max_pixels: int) -> Image.Image:
    image = _in_channels(_loaded(content, side, max_pixels))
    if image.size != (side, side):
        image = ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)
    if image.getexif().get(ExifTags.Base.Orientation, UPRIGHT) != UPRIGHT:
        image = ImageOps.exif_transpose(image)
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image


def _loaded(content: bytes, side: int, max_pixels: int) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    _check_size(image, max_pixels)
    image.draft(None, (DRAFT * side, DRAFT * side))
    image.load()
    return image


def _check_size(image: Image.Image, max_pixels: int) -> None:
    """Before anything is decoded: the header alone says how much memory the pixels would take."""
    width, height = image.size
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        message = f"the image is {width} x {height} pixels; accepted are {max_pixels} pixels, and sides of {MAX_SIDE}"
        raise RequestError(413, "image_too_large", message)
    if image.mode not in MODES:
        raise RequestError(400, "invalid_image", f"pixel format {image.mode} is not accepted; send 8 bits a channel")


def _in_channels(image: Image.Image) -> Image.Image:
    """RGB, or RGBA where something may be transparent. All further steps are of the small square: they copy pixels."""
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == mode else image.convert(mode)


def check_text(text: Any, max_bytes: int) -> str:
    if not isinstance(text, str):
        raise RequestError(400, "invalid_text", "the text must be a string")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise RequestError(400, "invalid_text", "the text is not valid Unicode (a lone surrogate)") from error
    if size > max_bytes:
        raise RequestError(413, "text_too_large", f"the text is {size} bytes; at most {max_bytes} are accepted")
    if not text.strip():
        raise RequestError(400, "empty_text", "the text is empty")
    return text


def tokenise(tokenizer: WordTokenizer, text: str) -> list[int]:
    ids = tokenizer.encode(text)
    if not ids:
        raise RequestError(400, "empty_text", "the text has no words")
    return ids


def pad(rows: Sequence[list[int]]) -> NDArray[np.int64]:
    """`[N, L]`, 0 behind the shorter rows."""
    longest = max(map(len, rows))
    return np.array([row + [0] * (longest - len(row)) for row in rows], dtype=np.int64)
