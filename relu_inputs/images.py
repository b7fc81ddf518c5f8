"""Decoding of PNG, JPEG and WebP files to square images for a network.

Files are untrusted. The quantities that determine the cost of decoding (pixels, scans and segments) are read from the
structure of the file and limited before Pillow opens it. Metadata (EXIF, XMP, ICC profile) is read separately from the
pixels: an image with broken metadata is decoded as if it had none.
"""

import io
import re
import warnings
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageChops, ImageCms, ImageOps, PngImagePlugin

from relu_inputs.errors import InputError

FORMATS = ("PNG", "JPEG", "WEBP")
GREY_16 = "I;16"  # 16 bits per pixel; Pillow reads colours of 16 bits per channel as 8
# Pillow's conversion to RGB would clip the values of other modes (floats).
MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", GREY_16}
MAX_SIDE = 16384  # resizing a longer image takes gigabytes
DRAFT = 4  # a large JPEG is decoded at a reduced size, at least this multiple of the side, in a third of the time

# `_check_size` replaces Pillow's check, whose warnings contain the size: Python would store each different text.
Image.MAX_IMAGE_PIXELS = None
# Other warnings of Pillow (for example about APNG frames) are irrelevant; ignored warnings are not stored.
warnings.filterwarnings("ignore", module=r"PIL\.")
PngImagePlugin.MAX_TEXT_MEMORY = 1 << 20  # bytes of all texts; decompressing Pillow's default of 64 MB takes 0.2 s


def image_size(content: bytes) -> tuple[int, int]:
    """Return the width and height of the file's header, without further checks.

    Raises InputError if the file is empty or not a PNG, JPEG or WebP file.
    """
    if not content:
        raise InputError("empty_image", "The image is empty; send a PNG, JPEG or WebP file.")
    if content.startswith(PNG):
        return int.from_bytes(content[16:20]), int.from_bytes(content[20:24])
    if content.startswith(JPEG):
        return _jpeg_size(content)
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return _webp_size(content)
    raise _unreadable()


def decode_image(content: bytes, side: int, channels: int, max_pixels: int) -> NDArray[np.uint8]:
    """Return the centre square of the first frame as uint8 `[side, side, channels]`.

    The image is rotated upright, converted to sRGB and drawn on white. `channels` is 3, or 1 for greyscale.

    Raises InputError if the image has more than `max_pixels` pixels or cannot be decoded.
    """
    size = image_size(content)
    _check_size(*size, max_pixels)
    metadata: dict[str, bytes] = {}
    if content.startswith(JPEG):
        content, metadata = _split_jpeg(content)
    elif content.startswith(PNG):
        _check_chunks(content)
    try:
        image = _load(content, size, side)
        image.info.update(metadata)
        return _as_array(middle_square(image, side), channels)
    except InputError:
        raise
    except Exception as error:  # Pillow raises nearly any kind of error for a damaged file
        raise _unreadable() from error


def _as_array(image: Image.Image, channels: int) -> NDArray[np.uint8]:
    if channels == 1:
        image = image.convert("L")
    return np.frombuffer(image.tobytes(), np.uint8).reshape(*image.size, channels)


def _unreadable() -> InputError:
    return InputError("invalid_image", "The file is not a readable PNG, JPEG or WebP image.")


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        message = (
            f"The image is {width:,} x {height:,} pixels; "
            f"at most {max_pixels:,} pixels and sides of {MAX_SIDE:,} are accepted."
        )
        raise InputError("image_too_large", message, too_large=True)


def _load(content: bytes, size: tuple[int, int], side: int) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    if image.size != size:  # Pillow read another header, whose size was not checked
        raise _unreadable()
    if image.mode not in MODES:
        message = f"Pixel format {image.mode} is not accepted; send 8 bits per channel."
        raise InputError("invalid_image", message)
    image.draft(None, (DRAFT * side, DRAFT * side))
    image.load()
    return image


def middle_square(image: Image.Image, side: int) -> Image.Image:
    """Return the upright centre square as RGB, in sRGB, on white.

    Only the first conversion and the resizing process all pixels; the later steps process the small square.
    """
    transform, turn = _srgb_transform(image), _turn(image)
    image = _in_channels(image)
    if image.size != (side, side):
        image = ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)
    if transform is not None:
        image = _in_srgb(image, transform)
    if turn is not None:
        image = image.transpose(turn)
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image


def _in_channels(image: Image.Image) -> Image.Image:
    """Return the image as RGB, or as RGBA if it may be transparent."""
    if image.mode == GREY_16:
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == mode else image.convert(mode)


# PNG and WebP

PNG = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 10_000  # each costs Pillow 2 us and 100 bytes; encoders put at least 4 kB of pixels into one


def _check_chunks(png: bytes) -> None:
    position = len(PNG)
    for _ in range(MAX_CHUNKS):
        if position >= len(png) or png[position + 4 : position + 8] == b"IEND":
            return
        position += 12 + int.from_bytes(png[position : position + 4])
    raise InputError("invalid_image", f"The image has more than {MAX_CHUNKS:,} chunks.")


def _webp_size(webp: bytes) -> tuple[int, int]:
    kind = webp[12:16]
    if kind == b"VP8X":  # extended
        return 1 + int.from_bytes(webp[24:27], "little"), 1 + int.from_bytes(webp[27:30], "little")
    if kind == b"VP8L":  # lossless
        bits = int.from_bytes(webp[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(webp[26:28], "little") & 0x3FFF, int.from_bytes(webp[28:30], "little") & 0x3FFF


# JPEG

JPEG = b"\xff\xd8\xff"
SOI = b"\xff\xd8"  # start of image
EOI, SOS, APP1, APP2 = 0xD9, 0xDA, 0xE1, 0xE2  # end of image, start of scan, application data
# Baseline, extended and progressive, with Huffman coding. Browsers read no others either, and a scan with arithmetic
# coding takes several times as long.
FRAMES = {0xC0, 0xC1, 0xC2}
# Application data and comments, except APP0 and APP14, which specify the colour coding.
METADATA = {*range(0xE1, 0xEE), 0xEF, 0xFE}
# Markers followed by a segment length. Stuffed zeros, fill bytes, restart and undefined markers have none; libjpeg
# skips them.
MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")
MAX_SCANS = 100  # encoders write about ten; each scan processes all pixels
MAX_SEGMENTS = 1_000  # a file of 8 MB holds 128 full ones: a large profile, XMP, maker notes
EXIF, XMP, ICC = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"


def _segments(jpeg: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the marker, start and end of each segment of the image. Raises InputError if there are too many.

    Segments are found as in libjpeg, up to the end of the image. Counting the bytes of a marker in the whole file would
    not work: they also occur in thumbnails, and by chance in videos that phones append to photographs.
    """
    position, scans = len(SOI), 0
    for _ in range(MAX_SEGMENTS):
        match = MARKER.search(jpeg, position)
        if match is None:
            return
        start = match.start()
        marker = jpeg[start + 1]
        if marker == EOI:
            return
        scans += marker == SOS
        if scans > MAX_SCANS:
            raise InputError("invalid_image", f"The image has more than {MAX_SCANS} scans.")
        position = start + 2 + max(2, int.from_bytes(jpeg[start + 2 : start + 4]))
        yield marker, start, position
    raise InputError("invalid_image", f"The image has more than {MAX_SEGMENTS:,} segments.")


def _jpeg_size(jpeg: bytes) -> tuple[int, int]:
    for marker, start, _ in _segments(jpeg):
        if marker in FRAMES:
            return int.from_bytes(jpeg[start + 7 : start + 9]), int.from_bytes(jpeg[start + 5 : start + 7])
    raise _unreadable()


def _split_jpeg(jpeg: bytes) -> tuple[bytes, dict[str, bytes]]:
    """Return the JPEG without metadata, and its metadata under the keys of `Image.info`.

    Pillow reads the metadata of a JPEG when it opens the file: it fails if they are broken, and takes 23 s for 8 MB of
    small EXIF segments.
    """
    segments = list(_segments(jpeg))
    scans = next((start for marker, start, _ in segments if marker == SOS), None)
    if scans is None:
        raise _unreadable()
    header = [segment for segment in segments if segment[1] < scans]
    needed = [jpeg[start:end] for marker, start, end in header if marker not in METADATA]
    payloads = [jpeg[start + 4 : end] for marker, start, end in header if marker in (APP1, APP2)]
    return b"".join([SOI, *needed, memoryview(jpeg)[scans:]]), _jpeg_metadata(payloads)


def _jpeg_metadata(payloads: list[bytes]) -> dict[str, bytes]:
    metadata: dict[str, bytes] = {}
    for payload in payloads:
        if payload.startswith(EXIF):
            metadata.setdefault("exif", payload)
        elif payload.startswith(XMP):
            metadata.setdefault("xmp", payload)
    parts = sorted(payload.removeprefix(ICC) for payload in payloads if payload.startswith(ICC))
    # Each part starts with its number and the number of parts.
    if parts and int.from_bytes(parts[0][1:2]) == len(parts):
        metadata["icc_profile"] = b"".join(part[2:] for part in parts)
    return metadata


# Orientation

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return the transpose operation that rotates the image upright by its EXIF or XMP, or None if there is none."""
    try:
        orientation: Any = image.getexif().get(ExifTags.Base.Orientation)
        return TURNS.get(orientation)
    except Exception:  # Pillow raises nearly any kind of error for broken metadata
        return None


# Colours

# Colour space of an image by its mode, and code of the colour space in the header of an ICC profile. CMYK images are
# converted without their profile.
COLOURS = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "PA": "RGB", "RGB": "RGB", "RGBA": "RGB"}
COLOUR_SPACES = {"L": b"GRAY", "RGB": b"RGB "}
PROFILE_CLASSES = {b"mntr", b"scnr", b"prtr", b"spac"}  # of a screen, a camera or scanner, a printer, a colour space
# Tags of lookup tables and of processing elements: with them, a profile of 2 kB can cause an allocation of 300 MB, and
# one of 100 kB can take a second. Profiles of phones, cameras and editors (Display P3, Adobe RGB, ProPhoto) consist of
# a matrix and curves.
COSTLY_TAGS = re.compile(rb"A2B|D2B")
MAX_PROFILE_BYTES = 65_536
CACHED_PROFILES = 16
ROUNDING = 2  # of 255; a profile that changes the sample colours by at most this is treated as sRGB
SAMPLE = Image.frombytes("RGB", (216, 1), bytes(chain.from_iterable(product(range(0, 256, 51), repeat=3))))


def _srgb_transform(image: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from the image's profile to sRGB, or None if it has no usable profile."""
    profile, mode = image.info.get("icc_profile"), COLOURS.get(image.mode)
    if not isinstance(profile, bytes) or len(profile) > MAX_PROFILE_BYTES or COSTLY_TAGS.search(profile):
        return None
    if mode is None or profile[16:20] != COLOUR_SPACES[mode] or profile[12:16] not in PROFILE_CLASSES:
        return None
    return _build_transform(profile, mode)


@lru_cache(CACHED_PROFILES)
def _build_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform, or None if the profile is broken or is sRGB."""
    try:
        # Optimising the transform takes 2 ms, but converting a small square without it only 0.15 ms.
        transform = ImageCms.buildTransform(
            io.BytesIO(profile), ImageCms.createProfile("sRGB"), mode, "RGB", flags=ImageCms.Flags.NOOPTIMIZE
        )
    except ImageCms.PyCMSError:
        return None
    sample = SAMPLE.convert(mode)
    change = ImageChops.difference(_in_srgb(sample, transform), sample.convert("RGB"))
    return transform if np.asarray(change).max() > ROUNDING else None


def _in_srgb(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    """Convert the colours and keep the alpha channel."""
    converted = transform.apply(image.convert(transform.input_mode))
    if image.mode == "RGBA":
        converted.putalpha(image.getchannel("A"))
    return converted
