import contextlib
import io
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from relu_inputs.errors import InputError
from relu_inputs.images import decode_image, image_size

SIDE, MAX_PIXELS = 32, 1_000_000
FORMATS = ("PNG", "JPEG", "WEBP")
ORIENTATION, X_RESOLUTION, SHORT, ASCII = 0x0112, 0x011A, 3, 2
APP1, APP2, APP13, COM, SOS = 0xE1, 0xE2, 0xED, 0xFE, b"\xff\xda"
RED, GREEN, BLUE = (
    (0.4361, 0.2225, 0.0139),
    (0.3851, 0.7169, 0.0971),
    (0.1431, 0.0606, 0.7141),
)  # of sRGB, as ICC has it


def encode(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def decode(content: bytes) -> NDArray[np.uint8]:
    return decode_image(content, SIDE, 3, MAX_PIXELS)


def rejection(content: bytes, max_pixels: int = MAX_PIXELS) -> tuple[str, str]:
    with pytest.raises(InputError) as caught:
        decode_image(content, SIDE, 3, max_pixels)
    return caught.value.code, str(caught.value)


def photograph(width: int = SIDE, height: int = SIDE) -> Image.Image:
    """No two of its sides or channels are alike, and JPEG changes it little."""
    rows, columns = np.indices((height, width))
    channels = (200 * rows / height, 120 * columns / width, 90 - 80 * rows / height * columns / width)
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_with(*chunks: bytes) -> bytes:
    """A sound PNG with chunks between its header and its pixels."""
    content = encode(photograph())
    return content[:33] + b"".join(chunks) + content[33:]


def segment(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def jpeg_with(*segments: bytes) -> bytes:
    """A sound JPEG with segments at its start."""
    content = encode(photograph(), "JPEG")
    return content[:2] + b"".join(segments) + content[2:]


def tiff(order: str, *entries: tuple[int, int, int, bytes]) -> bytes:
    """EXIF's directory, with entries of a tag, a type, a count and 4 bytes."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "IH", 8, len(entries))
    body = b"".join(struct.pack(order + "HHI", tag, kind, count) + value for tag, kind, count, value in entries)
    return head + body + bytes(4)


def oriented(orientation: int, order: str = "<") -> bytes:
    return tiff(order, (ORIENTATION, SHORT, 1, struct.pack(order + "HH", orientation, 0)))


def with_exif(form: str, exif: bytes) -> bytes:
    """A sound image whose EXIF need not be sound."""
    if form == "PNG":
        return png_with(png_chunk(b"eXIf", exif))
    if form == "JPEG":
        return jpeg_with(segment(APP1, b"Exif\0\0" + exif))
    return encode(photograph(), "WEBP", exif=exif)


def profile(space: bytes, **tags: bytes) -> bytes:
    """An ICC profile of a screen."""
    table, data, start = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += name.encode() + struct.pack(">II", start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    header = struct.pack(">I4sI4s4s4s", start + len(data), b"lcms", 0x02400000, b"mntr", space, b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * value) for value in values))


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * value)) + bytes(2)


def rgb_profile(red: Any = RED, green: Any = GREEN, blue: Any = BLUE, **more: bytes) -> bytes:
    curves = {"rTRC": gamma(2.2), "gTRC": gamma(2.2), "bTRC": gamma(2.2)}
    return profile(b"RGB ", rXYZ=xyz(*red), gXYZ=xyz(*green), bXYZ=xyz(*blue), **curves, **more)


def mutated(rng: np.random.Generator, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.integers(1, 8)):
        place = int(rng.integers(len(changed)))
        match rng.integers(4):
            case 0:
                del changed[place : place + int(rng.integers(1, 20))]
            case 1:
                changed[place:place] = rng.bytes(int(rng.integers(1, 20)))
            case _:
                changed[place] = rng.choice([0, 1, 2, 3, 6, 8, 127, 128, 254, 255])
        changed = changed or bytearray(1)
    return bytes(changed)


# Sound images


@pytest.mark.parametrize(("form", "options"), [("PNG", {}), ("PNG", {"interlace": 1}), ("WEBP", {"lossless": True})])
def test_lossless_pixels_are_returned_unchanged(rng: np.random.Generator, form: str, options: dict[str, Any]) -> None:
    pixels = rng.integers(256, size=(SIDE, SIDE, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode(encode(Image.fromarray(pixels), form, **options)), pixels)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(32, 32), (1, 1), (500, 20), (64, 48)])
def test_images_of_any_mode_and_size_are_resized_to_the_square(mode: str, size: tuple[int, int]) -> None:
    decoded = decode(encode(Image.new("RGB", size, "white").convert(mode)))
    assert decoded.shape == (SIDE, SIDE, 3)
    assert decoded.dtype == np.uint8
    assert (decoded == 255).all()


def test_the_middle_of_a_long_image_is_kept() -> None:
    image = Image.new("RGB", (96, 32), "red")
    image.paste("blue", (32, 0, 64, 32))
    assert (decode(encode(image)) == (0, 0, 255)).all()


def test_cmyk_jpeg_is_decoded() -> None:
    assert decode(encode(Image.new("CMYK", (40, 40), (0, 255, 255, 0)), "JPEG"))[0, 0, 0] > 200


def test_transparent_pixels_become_white() -> None:
    assert (decode(encode(Image.new("RGBA", (40, 40), (255, 0, 0, 0)))) == 255).all()


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_the_first_frame_of_an_animation_is_decoded(form: str) -> None:
    second = Image.new("RGB", (SIDE, SIDE), "white")
    options = {"lossless": True} if form == "WEBP" else {}
    content = encode(photograph(), form, save_all=True, append_images=[second], duration=100, **options)
    np.testing.assert_array_equal(decode(content), np.asarray(photograph()))


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_large_photograph_looks_the_same_although_it_is_reduced_while_decoding(
    rng: np.random.Generator, options: dict[str, bool]
) -> None:
    pixels = rng.integers(256, size=(SIDE, SIDE, 3), dtype=np.uint8)
    large = Image.fromarray(pixels).resize((2400, 1600), Image.Resampling.BICUBIC)
    content = encode(large, "JPEG", quality=95, **options)
    whole = decode_image(encode(Image.open(io.BytesIO(content)).copy(), compress_level=1), SIDE, 3, 10_000_000)
    reduced = decode_image(content, SIDE, 3, 10_000_000)
    assert np.abs(reduced.astype(int) - whole).max() <= 3


@pytest.mark.parametrize(
    ("form", "mode", "options"),
    [
        ("PNG", "RGB", {}),
        ("JPEG", "RGB", {}),
        ("JPEG", "CMYK", {"progressive": True, "comment": b"\xff\xc0\0\x11\x08"}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("WEBP", "RGBA", {}),
        ("WEBP", "RGB", {"save_all": True, "append_images": [Image.new("RGB", (123, 77), "white")]}),
    ],
)
def test_image_size_is_the_size_that_pillow_finds(form: str, mode: str, options: dict[str, Any]) -> None:
    content = encode(Image.new(mode, (123, 77)), form, **options)
    assert image_size(content) == (123, 77) == Image.open(io.BytesIO(content)).size


def test_grey_of_16_bits_keeps_its_8_upper_bits() -> None:
    grey = np.asarray(photograph().convert("L")).astype(np.uint16)
    np.testing.assert_array_equal(decode(encode(Image.fromarray(256 * grey + 255)))[..., 0], grey)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_one_channel_is_the_grey_of_three(mode: str) -> None:
    content = encode(photograph(80, 60).convert(mode), "JPEG" if mode == "CMYK" else "PNG")
    (grey,) = np.moveaxis(decode_image(content, SIDE, 1, MAX_PIXELS), 2, 0)
    np.testing.assert_array_equal(grey, np.asarray(Image.fromarray(decode(content)).convert("L")))


# Images that are rejected


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_image"),
        (b"not an image", "invalid_image"),
        (b"http://127.0.0.1/a.png", "invalid_image"),
        (encode(Image.new("RGB", (40, 40)), "GIF"), "invalid_image"),
        (encode(Image.new("RGB", (40, 40)), "TIFF"), "invalid_image"),
        (encode(Image.new("RGB", (400, 400)))[:200], "invalid_image"),
        (encode(Image.new("F", (40, 40)), "TIFF"), "invalid_image"),
        (encode(Image.new("1", (1001, 1000))), "image_too_large"),
        (encode(Image.new("1", (16_385, 1))), "image_too_large"),
    ],
)
def test_unacceptable_images_are_rejected(content: bytes, code: str) -> None:
    assert rejection(content)[0] == code


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("tenth", range(10))
def test_truncated_images_are_rejected(form: str, tenth: int) -> None:
    content = encode(photograph(), form)
    assert rejection(content[: len(content) * tenth // 10])[0] in ("empty_image", "invalid_image")


def png_of_size(width: int, height: int) -> bytes:
    content = encode(photograph())
    return content[:8] + png_chunk(b"IHDR", struct.pack(">II", width, height) + content[24:29]) + content[33:]


def jpeg_of_size(width: int, height: int) -> bytes:
    content = encode(photograph(), "JPEG")
    size = content.index(b"\xff\xc0") + 5
    return content[:size] + struct.pack(">HH", height, width) + content[size + 4 :]


def webp_of_size(width: int, height: int) -> bytes:
    content = encode(photograph(), "WEBP")
    size = content.index(b"\x9d\x01\x2a") + 3
    return content[:size] + struct.pack("<HH", width, height) + content[size + 4 :]


def extended_webp_of_size(width: int, height: int) -> bytes:
    content = encode(photograph(), "WEBP", exif=b"x")
    canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return content[:24] + canvas + content[30:]


def lossless_webp_of_size(width: int, height: int) -> bytes:
    content = encode(photograph(), "WEBP", lossless=True)
    return content[:21] + struct.pack("<I", (width - 1) | (height - 1) << 14) + content[25:]


SIZED = [png_of_size, jpeg_of_size, webp_of_size, extended_webp_of_size, lossless_webp_of_size]


@pytest.mark.parametrize("make", SIZED)
def test_an_image_with_too_many_pixels_is_rejected_before_pillow_opens_it(
    make: Callable[[int, int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "open", None)
    assert rejection(make(16_000, 9_000)) == (
        "image_too_large",
        "The image is 16,000 x 9,000 pixels; at most 1,000,000 pixels and sides of 16,384 are accepted.",
    )


def test_a_png_with_a_second_header_of_another_size_is_rejected() -> None:
    header = png_of_size(16_000, 16_000)[8:33]
    assert rejection(png_with(header))[0] == "invalid_image"


def progressive() -> tuple[bytes, bytes, bytes]:
    """The start of a progressive JPEG of 256 x 256 pixels, its last scan, and its end."""
    content = encode(Image.new("L", (256, 256)), "JPEG", progressive=True)
    scan = content.rindex(SOS)
    return content[:scan], content[scan:-2], content[-2:]


@pytest.mark.parametrize(
    "disguise",
    [
        b"",
        pytest.param(b"\xff\xff\xff", id="fill-bytes"),
        pytest.param(b"\xff\xd0\xff\xd7", id="restart-markers"),
        pytest.param(b"\xff\0\xff\0", id="stuffed-zeros"),
        pytest.param(b"\xff\x01\xff\xff", id="marker-without-length"),
        pytest.param(b"\0garbage", id="garbage"),
        pytest.param(segment(COM, b"\xff\xd9"), id="comment-with-an-end-marker"),
        pytest.param(b"\xff\xfe\0\0", id="comment-of-no-length"),
    ],
)
def test_jpeg_with_too_many_scans_is_rejected_before_decoding(disguise: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    start, scan, end = progressive()
    decode(start + 40 * (disguise + scan) + end)
    monkeypatch.setattr(Image, "open", None)
    assert rejection(start + 400 * (disguise + scan) + end) == (
        "invalid_image",
        "The image has more than 100 scans.",
    )


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(jpeg_with(segment(APP1, b"Exif\0\0" + 200 * SOS)), id="thumbnail"),
        pytest.param(jpeg_with(*(segment(COM, 5_000 * SOS) for _ in range(100))), id="comments"),
        pytest.param(jpeg_with() + 200 * SOS, id="video-behind-the-photograph"),
        pytest.param(jpeg_with()[:-2] + segment(COM, 200 * SOS) + jpeg_with()[-2:], id="comment-behind-the-scan"),
    ],
)
def test_bytes_that_only_look_like_scans_are_not_counted(content: bytes) -> None:
    np.testing.assert_array_equal(decode(content), decode(jpeg_with()))


def test_jpeg_with_too_many_segments_is_rejected_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", None)
    content = jpeg_with(segment(APP1, b"Exif\0\0") * 2_000)
    assert rejection(content) == ("invalid_image", "The image has more than 1,000 segments.")


def test_jpeg_with_as_many_segments_as_large_metadata_have_is_decoded() -> None:
    content = jpeg_with(*(segment(APP2, b"MPF\0" + bytes(30_000)) for _ in range(260)))
    np.testing.assert_array_equal(decode(content), decode(jpeg_with()))


def test_png_with_too_many_chunks_is_rejected_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", None)
    content = png_with(png_chunk(b"prVt", b"") * 20_000)
    assert rejection(content) == ("invalid_image", "The image has more than 10,000 chunks.")


def test_jpeg_with_arithmetic_coding_is_rejected() -> None:
    assert rejection(jpeg_with().replace(b"\xff\xc0", b"\xff\xc9"))[0] == "invalid_image"


def test_texts_that_unpack_to_many_megabytes_are_rejected() -> None:
    text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_000_000)))
    assert rejection(png_with(*[text] * 40))[0] == "invalid_image"


@pytest.mark.parametrize("keyword", [b"bbox", b"transparency", b"exif", b"xmp", b"icc_profile", b"interlace"])
@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt"])
def test_a_text_in_the_place_of_metadata_is_no_server_error(keyword: bytes, kind: bytes) -> None:
    text = keyword + b"\0" + (b"text" if kind == b"tEXt" else b"\0" + zlib.compress(b"text"))
    with contextlib.suppress(InputError):
        decode(png_with(png_chunk(kind, text)))


@pytest.mark.filterwarnings("ignore:Invalid APNG")
def test_damaged_files_raise_nothing_but_request_errors(rng: np.random.Generator) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    image = photograph(40, 36)
    files = [encode(image.convert(mode), form, exif=exif) for form in ("PNG", "WEBP") for mode in ("RGB", "RGBA", "L")]
    files += [encode(image, "JPEG", exif=exif, progressive=scans, icc_profile=rgb_profile()) for scans in (True, False)]
    files += [encode(image, form, save_all=True, append_images=[image]) for form in ("PNG", "WEBP", "MPO")]
    for _ in range(150):
        for content in files:
            with contextlib.suppress(InputError):
                assert decode(mutated(rng, content)).shape == (SIDE, SIDE, 3)


# Metadata


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", FORMATS)
def test_images_are_turned_upright(form: str, orientation: int, order: str) -> None:
    content = with_exif(form, oriented(orientation, order))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(decode(content), np.asarray(upright))


def test_images_are_turned_upright_after_resizing() -> None:
    stored = encode(photograph(96, 64), exif=b"Exif\0\0" + oriented(6))
    np.testing.assert_array_equal(decode(stored), np.rot90(decode(encode(photograph(96, 64))), -1))


XMP = b'<rdf:Description tiff:Orientation="6"/>'
EXIF_IN_TEXT = f"\nexif\n{len(oriented(6)):8}\n{oriented(6).hex()}\n"


def text_of_png(keyword: str, text: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_itxt(keyword, text) if keyword.startswith("XML") else info.add_text(keyword, text, zip=True)
    return encode(photograph(), pnginfo=info)


@pytest.mark.parametrize(
    ("content", "plain"),
    [
        pytest.param(encode(photograph(), "JPEG", xmp=XMP), jpeg_with(), id="xmp-in-jpeg"),
        pytest.param(encode(photograph(), "WEBP", xmp=XMP), encode(photograph(), "WEBP"), id="xmp-in-webp"),
        pytest.param(text_of_png("XML:com.adobe.xmp", XMP.decode()), png_with(), id="xmp-in-png"),
        pytest.param(text_of_png("Raw profile type exif", EXIF_IN_TEXT), png_with(), id="exif-in-text-of-png"),
    ],
)
def test_the_orientation_is_found_outside_of_exif_too(content: bytes, plain: bytes) -> None:
    np.testing.assert_array_equal(decode(content), np.rot90(decode(plain), -1))


@pytest.mark.parametrize("form", FORMATS)
def test_an_image_is_turned_even_if_other_exif_tags_are_broken(form: str) -> None:
    """Pillow fails to write such tags back."""
    turned = (ORIENTATION, SHORT, 1, struct.pack("<HH", 6, 0))
    content = with_exif(form, tiff("<", turned, (X_RESOLUTION, ASCII, 3, b"72\0\0")))
    np.testing.assert_array_equal(decode(content), np.rot90(decode(with_exif(form, oriented(1))), -1))


BROKEN_EXIF = [
    b"garbage",
    b"II*\0",
    b"MM\0*\0\0\0\x08\xff\xff",
    b"II+\0\x08\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
    oriented(6)[:15],
    oriented(9),
    tiff("<", (ORIENTATION, ASCII, 2, b"6\0\0\0")),
    tiff("<", (ORIENTATION, 99, 1, b"\6\0\0\0")),
]


@pytest.mark.parametrize("exif", BROKEN_EXIF)
@pytest.mark.parametrize("form", FORMATS)
def test_an_image_with_broken_exif_is_decoded_without_turning(form: str, exif: bytes) -> None:
    np.testing.assert_array_equal(decode(with_exif(form, exif)), decode(with_exif(form, oriented(1))))


def test_no_change_to_exif_makes_an_image_unreadable(rng: np.random.Generator) -> None:
    exif = encode(photograph(), exif=b"Exif\0\0" + tiff("<", *[(ORIENTATION, SHORT, 1, b"\6\0\0\0")] * 3))
    start = exif.index(b"eXIf") + 4
    resolution = (X_RESOLUTION, 5, 1, struct.pack("<I", 50)), (0x0128, SHORT, 1, b"\2\0\0\0")
    sound = [
        exif[start:-12],
        tiff("<", *resolution, (ORIENTATION, SHORT, 1, b"\6\0\0\0")) + bytes(16),
        oriented(3, ">"),
    ]
    for _ in range(150):
        for content in sound:
            for form in FORMATS:
                assert decode(with_exif(form, mutated(rng, content)[:60_000])).shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize(
    "broken",
    [
        segment(APP2, b"MPF\0II*\0\x08\0\0\0"),
        segment(APP2, b"MPF\0" + tiff("<", (0xB001, 4, 1, b"\2\0\0\0"), (0xB002, 7, 4, bytes(4)))),
        segment(APP2, b"ICC_PROFILE\0"),
        segment(APP2, b"ICC_PROFILE\0\1\2half"),
        segment(APP13, b"Photoshop 3.0\x008BIM\0\1"),
    ],
)
def test_jpeg_with_broken_application_data_is_decoded(broken: bytes) -> None:
    np.testing.assert_array_equal(decode(jpeg_with(broken)), decode(jpeg_with()))


def test_no_size_of_an_image_makes_pillow_warn() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for width in range(10_000, 10_050):
            rejection(png_of_size(width, 15_000))
            rejection(png_of_size(width, 15_000), 10**9)
    assert not caught


WARNED_OF = [png_with(png_chunk(b"acTL", bytes(8))), *(with_exif("JPEG", exif) for exif in BROKEN_EXIF)]


@pytest.mark.parametrize("content", WARNED_OF)
def test_warnings_of_pillow_are_neither_printed_nor_kept(content: bytes) -> None:
    """In a process of its own, for pytest replaces the filters."""
    program = (
        "import sys; from PIL import PngImagePlugin, TiffImagePlugin; from relu_inputs.images import decode_image;"
        "decode_image(sys.stdin.buffer.read(), 32, 3, 10**6);"
        "kept = [key for module in (PngImagePlugin, TiffImagePlugin)"
        " for key in vars(module).get('__warningregistry__', {}) if isinstance(key, tuple)];"
        "sys.exit(len(kept))"
    )
    process = subprocess.run([sys.executable, "-c", program], input=content, capture_output=True, check=False)
    assert (process.returncode, process.stderr) == (0, b"")


# Colours

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SWAPPED = rgb_profile(BLUE, GREEN, RED)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_are_converted_to_srgb(form: str, mode: str) -> None:
    if form == "JPEG":
        mode = "RGB"
    image = Image.new("RGB", (80, 60), (255, 0, 0)).convert(mode)
    np.testing.assert_allclose(decode(encode(image, form, icc_profile=SWAPPED)), [[[0, 0, 255]] * SIDE] * SIDE, atol=3)


def test_a_profile_in_several_segments_of_a_jpeg_is_joined() -> None:
    parts = [b"ICC_PROFILE\0\2\2" + SWAPPED[200:], b"ICC_PROFILE\0\1\2" + SWAPPED[:200]]
    content = jpeg_with(*(segment(APP2, part) for part in parts))
    np.testing.assert_array_equal(decode(content), decode(encode(photograph(), "JPEG", icc_profile=SWAPPED)))
    assert (decode(content) != decode(jpeg_with())).any()


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grey_is_converted_by_its_profile(mode: str) -> None:
    content = encode(Image.new("L", (40, 40), 128).convert(mode), icc_profile=profile(b"GRAY", kTRC=gamma(1)))
    np.testing.assert_allclose(decode(content), 188, atol=2)


def test_transparency_is_kept_when_colours_are_converted() -> None:
    content = encode(Image.new("RGBA", (40, 40), (255, 0, 0, 51)), icc_profile=SWAPPED)
    np.testing.assert_allclose(decode(content)[0, 0], (204, 204, 255), atol=3)


@pytest.mark.parametrize(
    ("mode", "icc_profile"),
    [
        pytest.param("RGB", SRGB, id="srgb"),
        pytest.param("RGB", b"garbage", id="garbage"),
        pytest.param("RGB", SWAPPED[:200], id="truncated"),
        pytest.param("RGB", SWAPPED[:132] + bytes(500), id="no-tags"),
        pytest.param("RGB", profile(b"GRAY", kTRC=gamma(1)), id="grey-profile-of-colours"),
        pytest.param("L", SWAPPED, id="colour-profile-of-grey"),
        pytest.param("CMYK", SWAPPED, id="rgb-profile-of-cmyk"),
        pytest.param("RGB", rgb_profile(BLUE, GREEN, RED, A2B0=b"mft1" + bytes(44)), id="lookup-table"),
        pytest.param("RGB", rgb_profile(BLUE, GREEN, RED, desc=bytes(65_536)), id="too-large"),
    ],
)
def test_a_profile_that_is_not_usable_changes_nothing(mode: str, icc_profile: bytes) -> None:
    image, form = photograph().convert(mode), "JPEG" if mode == "CMYK" else "PNG"
    np.testing.assert_array_equal(decode(encode(image, form, icc_profile=icc_profile)), decode(encode(image, form)))
