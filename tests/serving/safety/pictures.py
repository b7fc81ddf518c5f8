"""Images of all kinds: usual, unusual and hostile."""

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
PIXEL_BYTES = 16  # of memory that the service needs for each pixel at most: decoded, and converted


def encode(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def picture() -> Image.Image:
    """Return a digit on a ramp of colours: its sides, channels and halves all differ."""
    digit = np.asarray(Image.open(io.BytesIO(sample_digit())).convert("RGB"), dtype=np.int32)
    rows, columns = np.indices(digit.shape[:2])
    ramp = np.stack((3 * rows, 2 * columns, 90 - rows - columns), axis=-1)
    return Image.fromarray(np.clip(digit // 2 + ramp, 0, 255).astype(np.uint8))


def plain(image: Image.Image) -> bytes:
    """Return the image as a PNG with 8 bits of red, green and blue, to which other files are compared."""
    return encode(image.convert("RGB"))


def lossy(form: str, image: Image.Image, **options: Any) -> tuple[bytes, bytes]:
    """Return a lossy encoding of the image, and the plain PNG of what it decodes to."""
    content = encode(image, form, quality=90, **options)
    return content, plain(Image.open(io.BytesIO(content)))


def on_white(image: Image.Image) -> Image.Image:
    """Compose the image on white by the definition of alpha, in floats."""
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
    """Return a PNG with any header, true or false. `rows` are compressed."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + more + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")
    return PNG_SIGNATURE + chunks


def deep_png(pixels: NDArray[np.uint8], colour: int) -> bytes:
    """Return a PNG with 16 bits a channel, of which the lower 8 are noise."""
    noise = np.random.default_rng(0).integers(256, size=pixels.shape, dtype=np.uint16)
    rows = (pixels.astype(np.uint16) << 8 | noise).astype(">u2").reshape(len(pixels), -1)
    scanlines = b"".join(b"\0" + row.tobytes() for row in rows)
    return png(pixels.shape[1], pixels.shape[0], 16, colour, zlib.compress(scanlines))


def zeros(size: int) -> bytes:
    """Return this many zero bytes compressed."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(size >> 20)]
    return b"".join([*parts, packer.compress(bytes(size & 0xFFFFF)), packer.flush()])


def jpeg_of_size(width: int, height: int) -> bytes:
    """Return a small JPEG whose frame header states another size."""
    content = bytearray(encode(picture(), "JPEG"))
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def webp_of_size(width: int, height: int, extended: bool) -> bytes:
    """Return a small WebP whose header, simple or extended, states another size."""
    content = bytearray(encode(translucent() if extended else picture(), "WEBP", quality=80))
    if extended:
        place = content.index(b"VP8X") + 12
        content[place : place + 6] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    else:
        place = content.index(b"\x9d\x01\x2a") + 3
        content[place : place + 4] = struct.pack("<HH", width, height)
    return bytes(content)


def animation(form: str) -> bytes:
    """Return an animation of two frames, the first of which is the picture."""
    second = Image.new("RGB", picture().size, "white")
    options = {"lossless": True} if form == "WEBP" else {}
    return encode(picture(), form, save_all=True, append_images=[second], duration=100, **options)


def photograph(seed: int = 0) -> bytes:
    """Return a JPEG of 800x600 pixels and about 210 kB, coarse shapes with noise, which takes 3 ms to decode."""
    rng = np.random.default_rng(seed)
    shapes = Image.fromarray(rng.integers(256, size=(12, 16, 3), dtype=np.uint8)).resize((800, 600))
    pixels = np.asarray(shapes, dtype=np.float32) + rng.normal(0, 20, (600, 800, 1))
    return encode(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), "JPEG", quality=85)


def scan_bomb(side: int, scans: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated; libjpeg passes over all pixels for each."""
    content = encode(Image.new("L", (side, side)), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * scans + content[-2:]


def jpeg_of_segments(size: int) -> bytes:
    """Return a JPEG of about `size` bytes that begins with EXIF segments of ten bytes each."""
    content = encode(picture(), "JPEG")
    segment = b"\xff\xe1\x00\x08Exif\0\0"
    return content[:2] + segment * ((size - len(content)) // len(segment)) + content[2:]


def tiff(*entries: tuple[int, int, bytes]) -> bytes:
    """Return EXIF with one directory of these entries: tag, type and four bytes of value each."""
    directory = b"".join(struct.pack("<HHI", tag, kind, 4 if kind == 2 else 1) + value for tag, kind, value in entries)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4)
