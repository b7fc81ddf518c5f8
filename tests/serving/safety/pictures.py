"""Images of all kinds: good, odd and hostile."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from relu_pipeline.demo import sample_digit

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
RGB, RGBA = 2, 6  # PNG's colour types
PIXEL_BYTES = 16  # that the service takes for a pixel at the peak: decoded, and in another form


def encode(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def picture() -> Image.Image:
    """A digit on a ramp of colours: no two of its sides, channels or halves are alike."""
    digit = np.asarray(Image.open(io.BytesIO(sample_digit())).convert("RGB"), dtype=np.int32)
    rows, columns = np.indices(digit.shape[:2])
    ramp = np.stack((3 * rows, 2 * columns, 90 - rows - columns), axis=-1)
    return Image.fromarray(np.clip(digit // 2 + ramp, 0, 255).astype(np.uint8))


def plain(image: Image.Image) -> bytes:
    """The PNG with 8 bits of red, green and blue that everything else must be answered like."""
    return encode(image.convert("RGB"))


def lossy(form: str, image: Image.Image, **options: Any) -> tuple[bytes, bytes]:
    """An encoding that loses something, and the plain PNG of what is left."""
    content = encode(image, form, quality=90, **options)
    return content, plain(Image.open(io.BytesIO(content)))


def on_white(image: Image.Image) -> Image.Image:
    """By the definition of alpha, in floats."""
    pixels = np.asarray(image.convert("RGBA"), dtype=np.float64)
    alpha = pixels[:, :, 3:] / 255
    return Image.fromarray(np.rint(pixels[:, :, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8))


def translucent() -> Image.Image:
    image = picture().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def palette(transparent: bool) -> tuple[bytes, bytes]:
    indexed = picture().quantize(16)
    if not transparent:
        return encode(indexed), plain(indexed)
    clear = np.asarray(indexed) == 3
    pixels = np.where(clear[:, :, None], 255, np.asarray(indexed.convert("RGB")))
    return encode(indexed, transparency=3), plain(Image.fromarray(pixels.astype(np.uint8)))


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, more: bytes = b"") -> bytes:
    """Written by hand, for Pillow writes neither lies nor 16 bits a channel. `rows` are compressed already."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + more + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")
    return PNG_SIGNATURE + chunks


def deep_png(pixels: NDArray[np.uint8], colour: int) -> bytes:
    """16 bits a channel, the lower 8 of which are noise."""
    noise = np.random.default_rng(0).integers(256, size=pixels.shape, dtype=np.uint16)
    rows = (pixels.astype(np.uint16) << 8 | noise).astype(">u2").reshape(len(pixels), -1)
    scanlines = b"".join(b"\0" + row.tobytes() for row in rows)
    return png(pixels.shape[1], pixels.shape[0], 16, colour, zlib.compress(scanlines))


def zeros(size: int) -> bytes:
    """Compressed, in little memory."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(size >> 20)]
    return b"".join([*parts, packer.compress(bytes(size & 0xFFFFF)), packer.flush()])


def jpeg_of_size(width: int, height: int) -> bytes:
    """A small JPEG whose frame header claims another size."""
    content = bytearray(encode(picture(), "JPEG"))
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def webp_of_size(width: int, height: int, extended: bool) -> bytes:
    """A small WebP whose header, simple or extended, claims another size."""
    content = bytearray(encode(translucent() if extended else picture(), "WEBP", quality=80))
    if extended:
        place = content.index(b"VP8X") + 12
        content[place : place + 6] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    else:
        place = content.index(b"\x9d\x01\x2a") + 3
        content[place : place + 4] = struct.pack("<HH", width, height)
    return bytes(content)


def animation(form: str) -> bytes:
    """Two frames, the first of which is the picture."""
    second = Image.new("RGB", picture().size, "white")
    options = {"lossless": True} if form == "WEBP" else {}
    return encode(picture(), form, save_all=True, append_images=[second], duration=100, **options)
