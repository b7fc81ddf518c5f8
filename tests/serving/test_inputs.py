import io

import numpy as np
import pytest
from PIL import Image

from serving.errors import RequestError
from serving.http import TextBody, parse_json
from serving.inputs import check_text, decode_image

SIDE, MAX_PIXELS = 32, 1_000_000


def encode(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def decode(content: bytes) -> np.ndarray:
    return decode_image(content, SIDE, MAX_PIXELS)


@pytest.fixture
def picture(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(256, size=(SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize(("form", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_lossless_pixels_arrive_as_they_were(picture: np.ndarray, form: str, options: dict[str, bool]) -> None:
    np.testing.assert_array_equal(decode(encode(Image.fromarray(picture), form, **options)), picture)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(32, 32), (1, 1), (500, 20), (64, 48)])
def test_any_mode_and_size_becomes_the_networks_input(mode: str, size: tuple[int, int]) -> None:
    decoded = decode(encode(Image.new("RGB", size, "white").convert(mode)))
    assert decoded.shape == (SIDE, SIDE, 3)
    assert decoded.dtype == np.uint8
    assert (decoded == 255).all()


def test_cmyk_jpeg_is_read() -> None:
    assert decode(encode(Image.new("CMYK", (40, 40), (0, 255, 255, 0)), "JPEG"))[0, 0, 0] > 200


def test_transparency_is_seen_on_white() -> None:
    assert (decode(encode(Image.new("RGBA", (40, 40), (255, 0, 0, 0)))) == 255).all()


def test_a_large_photograph_is_reduced_while_it_is_decoded_and_looks_the_same(picture: np.ndarray) -> None:
    large = Image.fromarray(picture).resize((2400, 1600), Image.Resampling.BICUBIC)
    content = encode(large, "JPEG", quality=95)
    whole = decode_image(encode(Image.open(io.BytesIO(content)).copy()), SIDE, 10_000_000)
    reduced = decode_image(content, SIDE, 10_000_000)
    assert np.abs(reduced.astype(int) - whole).max() <= 3


def test_a_rotated_photograph_is_turned_upright(picture: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn clockwise by 90 degrees
    decoded = decode(encode(Image.fromarray(picture), "PNG", exif=exif))
    np.testing.assert_array_equal(decoded, np.rot90(picture, -1))


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "empty_image"),
        (b"not an image", 400, "invalid_image"),
        (b"http://127.0.0.1/a.png", 400, "invalid_image"),
        (encode(Image.new("RGB", (40, 40)), "GIF"), 400, "invalid_image"),
        (encode(Image.new("RGB", (40, 40)), "TIFF"), 400, "invalid_image"),
        (encode(Image.new("RGB", (400, 400)))[:200], 400, "invalid_image"),
        (encode(Image.new("I;16", (40, 40))), 400, "invalid_image"),
        (encode(Image.new("1", (1001, 1000))), 413, "image_too_large"),
    ],
)
def test_what_is_no_acceptable_image_is_a_4xx(content: bytes, status: int, code: str) -> None:
    with pytest.raises(RequestError) as caught:
        decode(content)
    assert (caught.value.status, caught.value.code) == (status, code)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"text": "a", "more": 1}', b"\xff", b"[" * 100_000])
def test_a_body_of_another_form_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        parse_json(body, TextBody)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("text", "status"), [("", 400), (" \n\t", 400), (5, 400), (None, 400), ("\ud800", 400), ("é" * 51, 413)]
)
def test_a_text_that_cannot_be_read_is_a_4xx(text: object, status: int) -> None:
    with pytest.raises(RequestError) as caught:
        check_text(text, 100)
    assert caught.value.status == status


@pytest.mark.parametrize("text", ["a", "a\0b", "שלום", "🎉 goal", "é" * 50])
def test_any_unicode_text_is_accepted(text: str) -> None:
    assert check_text(text, 100) == text
