"""From what a caller sent to what a graph takes. Raises RequestError."""

import io
import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from serving.errors import RequestError

FORMATS = ("PNG", "JPEG", "WEBP")
# Others (16 bits a channel, floats) would lose their upper values in Pillow's conversion to RGB.
MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
DECODER_ERRORS = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)


def decode_image(content: bytes, side: int, max_pixels: int) -> NDArray[np.uint8]:
    """uint8 `[side, side, 3]`: upright, on white where transparent, the middle square of the first frame."""
    if not content:
        raise RequestError(400, "empty_image", "the image is empty; send a PNG, JPEG or WebP file")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check_size(image, max_pixels)
            upright = ImageOps.exif_transpose(image)
            square = ImageOps.fit(_to_rgb(upright), (side, side), Image.Resampling.BICUBIC)
    except DECODER_ERRORS as error:
        raise RequestError(400, "invalid_image", "not a readable PNG, JPEG or WebP image") from error
    return np.asarray(square, dtype=np.uint8)


def _check_size(image: Image.Image, max_pixels: int) -> None:
    """Before anything is decoded: the header alone says how much memory the pixels would take."""
    width, height = image.size
    if width * height > max_pixels:
        message = f"the image is {width} x {height} pixels; at most {max_pixels} pixels are accepted"
        raise RequestError(413, "image_too_large", message)
    if image.mode not in MODES:
        raise RequestError(400, "invalid_image", f"pixel format {image.mode} is not accepted; send 8 bits a channel")


def _to_rgb(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def parse_json_field(body: bytes, field: str) -> Any:
    """The value of the one `field` of a JSON object."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, "invalid_json", f'the body is not JSON; send {{"{field}": ...}}') from error
    if not isinstance(content, dict) or set(content) != {field}:
        raise RequestError(400, "invalid_request", f'the body must be a JSON object with the one field "{field}"')
    return content[field]


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
