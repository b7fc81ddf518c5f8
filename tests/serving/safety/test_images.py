"""An image has the prediction of the plain PNG of its pixels or is refused; none takes more memory than planned."""

import io
import struct
from collections.abc import Callable
from math import log
from typing import Any

import numpy as np
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageOps

from tests.servers import Server
from tests.serving.safety import pictures
from tests.serving.safety.answers import Caller, code_of, refusal, scores, scores_of
from tests.serving.safety.pictures import encode, picture, plain

pytestmark = pytest.mark.slow

TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
ROTATED_CLOCKWISE = 6  # EXIF: turn it by 90 degrees to see it upright
MEMORY = 50 << 20
TOLERANCE = 0.02
NEGLIGIBLE = 1e-30


def logits(response: requests.Response) -> dict[str, float]:
    return _logs(scores(response))


def logits_of(answer: dict[str, Any]) -> dict[str, float]:
    return _logs(scores_of(answer))


def _logs(probabilities: dict[str, float]) -> dict[str, float]:
    """Return the logarithms, which differ even where a probability is nearly 1."""
    return {label: log(value) for label, value in probabilities.items() if value > NEGLIGIBLE}


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def photograph(form: str, orientation: int) -> tuple[bytes, bytes]:
    """Return the picture as a camera stores it, and as a person sees it."""
    options = {"lossless": True} if form == "WEBP" else {}
    stored = encode(picture().resize((48, 32)), form, exif=exif(orientation), **options)
    return stored, plain(ImageOps.exif_transpose(Image.open(io.BytesIO(stored))))


def test_the_picture_tells_orientations_and_channels_apart(caller: Caller) -> None:
    """Otherwise the tests below could not fail."""
    upright = logits(caller.image(plain(picture())))
    others = [picture().rotate(90), picture().rotate(180), ImageOps.mirror(picture()), picture().convert("L")]
    others += [ImageOps.invert(picture()), Image.merge("RGB", picture().split()[::-1])]
    others += [pictures.on_white(pictures.translucent())]
    for other in others:
        assert logits(caller.image(plain(other))) != pytest.approx(upright, abs=0.1)


@pytest.mark.parametrize(
    ("content", "equal"),
    [
        pytest.param(encode(picture(), "WEBP", lossless=True), plain(picture()), id="lossless-webp"),
        pytest.param(*pictures.lossy("WEBP", picture()), id="lossy-webp"),
        pytest.param(*pictures.lossy("JPEG", picture()), id="jpeg"),
        pytest.param(*pictures.lossy("JPEG", picture(), progressive=True), id="progressive-jpeg"),
        pytest.param(*pictures.lossy("JPEG", picture().convert("CMYK")), id="cmyk-jpeg"),
        pytest.param(*pictures.lossy("JPEG", picture().convert("L")), id="grey-jpeg"),
        pytest.param(*pictures.palette(transparent=False), id="palette"),
        pytest.param(*pictures.palette(transparent=True), id="palette-with-transparency"),
        pytest.param(encode(picture().convert("L")), plain(picture().convert("L")), id="grey"),
        pytest.param(encode(picture().convert("1")), plain(picture().convert("1")), id="1-bit"),
        pytest.param(
            encode(pictures.translucent()), plain(pictures.on_white(pictures.translucent())), id="alpha-on-white"
        ),
        pytest.param(
            encode(pictures.translucent(), "WEBP", lossless=True, exact=True),
            plain(pictures.on_white(pictures.translucent())),
            id="alpha-webp",
        ),
        pytest.param(
            encode(pictures.translucent().convert("LA")),
            plain(pictures.on_white(pictures.translucent().convert("LA"))),
            id="grey-with-alpha",
        ),
        pytest.param(encode(Image.new("RGBA", (40, 40))), plain(Image.new("RGB", (40, 40), "white")), id="all-clear"),
        pytest.param(pictures.animation("PNG"), plain(picture()), id="first-frame-of-apng"),
        pytest.param(pictures.animation("WEBP"), plain(picture()), id="first-frame-of-webp"),
        pytest.param(encode(picture(), interlace=1), plain(picture()), id="interlaced"),
        *[
            pytest.param(*photograph(form, orientation), id=f"exif-{orientation}-{form}")
            for form in TYPES
            for orientation in range(1, 9)
        ],
        pytest.param(encode(picture(), exif=b"Exif\0\0II*\0garbage"), plain(picture()), id="broken-exif"),
    ],
)
def test_an_image_has_the_prediction_of_its_plain_png(caller: Caller, content: bytes, equal: bytes) -> None:
    answer = logits(caller.image(content))
    assert answer == pytest.approx(logits(caller.image(equal)), abs=TOLERANCE)


@pytest.mark.parametrize(
    ("content", "equal"),
    [
        pytest.param(pictures.deep_png(np.asarray(picture()), pictures.RGB), plain(picture()), id="rgb"),
        pytest.param(
            pictures.deep_png(np.asarray(pictures.translucent()), pictures.RGBA),
            plain(pictures.on_white(pictures.translucent())),
            id="rgba",
        ),
        pytest.param(
            encode(Image.fromarray(np.asarray(picture().convert("L")).astype(np.uint16) << 8)),
            plain(picture().convert("L")),
            id="grey",
        ),
    ],
)
def test_16_bits_a_channel_are_refused_or_have_the_prediction_of_their_upper_8(
    caller: Caller, content: bytes, equal: bytes
) -> None:
    response = caller.image(content)
    if response.status_code != 200:
        assert refusal(response) == (400, "invalid_image")
    else:
        expected = logits(caller.image(equal))
        assert logits(response) == pytest.approx(expected, abs=TOLERANCE)


@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_same_pixels_have_the_same_prediction(caller: Caller, pixels: np.ndarray) -> None:
    image = Image.fromarray(pixels)
    expected = logits(caller.image(plain(image)))
    webp = encode(image, "WEBP", lossless=True)
    assert logits(caller.image(webp, "image/webp")) == pytest.approx(expected, abs=TOLERANCE)
    form = caller.post("/classify_images", files=[("images", ("a", plain(image))), ("images", ("b", webp))]).json()
    for item in form["predictions"]:
        assert logits_of(item) == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("form", TYPES)
@pytest.mark.parametrize("tenth", range(10))
def test_a_truncated_image_is_refused(caller: Caller, form: str, tenth: int) -> None:
    content = encode(picture(), form)
    assert caller.image(content[: len(content) * tenth // 10], TYPES[form]).status_code == 400


@pytest.mark.parametrize("claimed", [True, False], ids=["as-png", "as-itself"])
@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        ("image/gif", encode(picture(), "GIF")),
        ("image/bmp", encode(picture(), "BMP")),
        ("image/tiff", encode(picture(), "TIFF")),
        ("image/x-icon", encode(picture(), "ICO")),
        ("image/avif", encode(picture(), "AVIF")),
        ("image/jp2", encode(picture(), "JPEG2000")),
        ("image/x-portable-pixmap", encode(picture(), "PPM")),
        ("image/x-eps", encode(picture(), "EPS")),
        ("application/pdf", encode(picture(), "PDF")),
        ("image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg" width="32" height="32"/>'),
    ],
)
def test_any_other_format_is_refused(caller: Caller, media_type: str, content: bytes, claimed: bool) -> None:
    assert caller.image(content, "image/png" if claimed else media_type).status_code in (400, 415)
    form = {"image": ("a.png" if claimed else "a", content, "image/png" if claimed else media_type)}
    assert refusal(caller.post("/classify_image", files=form)) == (400, "invalid_image")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(pictures.png(0, 0, 8, pictures.RGB, pictures.zeros(0)), id="no-pixels"),
        pytest.param(pictures.png(0, 32, 8, pictures.RGB, pictures.zeros(32)), id="no-width"),
        pytest.param(pictures.jpeg_of_size(0, 0), id="no-pixels-jpeg"),
        pytest.param(b"", id="no-bytes"),
        pytest.param(b"\0" * 1000, id="zeros"),
        pytest.param(plain(picture())[:8], id="signature-alone"),
    ],
)
def test_a_file_without_an_image_is_refused(caller: Caller, content: bytes) -> None:
    assert caller.image(content).status_code == 400


def clear_png(width: int, height: int) -> bytes:
    return pictures.png(width, height, 8, pictures.RGBA, pictures.zeros(height * (4 * width + 1)))


@pytest.mark.parametrize(("width", "height"), [(25_000_000, 1), (1, 25_000_000)])
def test_an_image_of_unusual_shape_takes_no_more_memory_than_its_pixels(
    server: Server, caller: Caller, width: int, height: int
) -> None:
    with server.growth() as growth:
        caller.image(clear_png(width, height))
    assert max(growth) < pictures.PIXEL_BYTES * width * height + MEMORY


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: clear_png(5000, 5000), id="png"),
        pytest.param(lambda: encode(Image.new("RGBA", (5000, 5000)), "WEBP", lossless=True), id="webp"),
        pytest.param(lambda: encode(Image.new("RGB", (5000, 5000), "white"), "JPEG"), id="jpeg"),
    ],
)
def test_the_largest_images_are_answered_within_the_planned_memory(
    server: Server, caller: Caller, make: Callable[[], bytes]
) -> None:
    """The memory limit in `deploy/kubernetes/deployment.yaml` is for one at a time in each worker."""
    content = make()
    with server.growth() as growth:
        found = logits(caller.image(content))
    assert max(growth) < pictures.PIXEL_BYTES * 25_000_000 + MEMORY
    assert found == pytest.approx(logits(caller.image(plain(Image.new("RGB", (32, 32), "white")))), abs=TOLERANCE)


@pytest.mark.parametrize("tags", [b"garbage", b"II*\0", b"MM\0*\0\0\0\x08\xff\xff", b"II*\0\x08\0\0\0\x01\0\x12\x01"])
@pytest.mark.parametrize("form", TYPES)
def test_an_image_with_broken_exif_is_answered_without_its_orientation(caller: Caller, form: str, tags: bytes) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    content, same = (encode(picture(), form, **options, **more) for more in ({"exif": b"Exif\0\0" + tags}, {}))
    expected = logits(caller.image(same, TYPES[form]))
    assert logits(caller.image(content, TYPES[form])) == pytest.approx(expected, abs=TOLERANCE)
    answer = caller.post("/classify_images", files=[("images", ("a", one)) for one in (content, same)]).json()
    for item in answer["predictions"]:
        assert logits_of(item) == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("form", TYPES)
def test_an_orientation_is_read_beside_tags_of_wrong_types(caller: Caller, form: str) -> None:
    """Resolutions typed as text, of which Pillow cannot rewrite EXIF (python-pillow/Pillow#7839)."""
    orientation = (0x0112, 3, struct.pack("<HH", ROTATED_CLOCKWISE, 0))
    exif = pictures.tiff(orientation, (0x011A, 2, b"72\0\0"), (0x011B, 2, b"72\0\0"))
    options = {"lossless": True} if form == "WEBP" else {}
    content = encode(picture(), form, exif=exif, **options)
    turned = Image.open(io.BytesIO(encode(picture(), form, **options))).transpose(Image.Transpose.ROTATE_270)
    assert logits(caller.image(content, TYPES[form])) == pytest.approx(
        logits(caller.image(plain(turned))), abs=TOLERANCE
    )


def test_many_large_images_that_are_refused_leave_nothing_in_memory_or_log(server: Server, caller: Caller) -> None:
    """Pillow warns of each, in a text that differs by the size; Python remembers every text, and writes it once."""

    def refuse(widths: range) -> None:
        for width in widths:
            heads = [pictures.png(width, height, 8, pictures.RGB, b"")[:46] for height in range(9_500, 9_750)]
            answer = caller.post("/classify_images", files=[("images", ("a.png", head)) for head in heads])
            codes = {item["error"]["code"] for item in answer.json()["predictions"]}
            assert codes == {"image_too_large"}

    def held() -> int:
        return sum(worker.memory_info().rss for worker in server.workers())

    refuse(range(9_500, 9_540))
    before, written = held(), server.log.stat().st_size
    refuse(range(9_540, 9_620))
    assert server.log.stat().st_size == written
    assert held() - before < 3 << 20


def test_texts_in_a_small_file_are_not_unpacked_for_long(caller: Caller) -> None:
    texts = b"".join(pictures.png_chunk(b"zTXt", b"Comment\0\0" + pictures.zeros(1_000_000)) for _ in range(40))
    content = pictures.png(32, 32, 8, pictures.RGB, pictures.zeros(32 * 97), more=texts)
    assert refusal(caller.image(content)) == (400, "invalid_image")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(pictures.png(50_000, 50_000, 8, pictures.RGB, pictures.zeros(300 << 20)), id="png"),
        pytest.param(pictures.png(50_000, 50_000, 1, 0, pictures.zeros(50_000 * 6_251)), id="png-1-bit"),
        pytest.param(pictures.png(2**31 - 1, 2**31 - 1, 16, pictures.RGBA, pictures.zeros(0)), id="png-largest"),
        pytest.param(pictures.jpeg_of_size(65_535, 65_535), id="jpeg"),
        pytest.param(pictures.webp_of_size(16_383, 16_383, extended=False), id="webp"),
        pytest.param(pictures.webp_of_size(16_383, 16_383, extended=True), id="webp-extended"),
        pytest.param(
            pictures.png(
                *(32, 32, 8, pictures.RGB, pictures.zeros(32 * 97)),
                more=pictures.png_chunk(b"zTXt", b"Comment\0\0" + pictures.zeros(400 << 20)),
            ),
            id="text-in-png",
        ),
        pytest.param(
            pictures.png(
                *(32, 32, 8, pictures.RGB, pictures.zeros(32 * 97)),
                more=pictures.png_chunk(b"iCCP", b"profile\0\0" + pictures.zeros(400 << 20)),
            ),
            id="profile-in-png",
        ),
    ],
)
def test_a_decompression_bomb_takes_no_memory(server: Server, caller: Caller, content: bytes) -> None:
    with server.growth() as growth:
        response = caller.image(content)
        form = caller.post("/classify_images", files=[("images", ("a.png", content))] * 2)
    assert (response.status_code, code_of(response)) in [(413, "image_too_large"), (400, "invalid_image")]
    assert all(item["error"]["code"] == code_of(response) for item in form.json()["predictions"])
    assert max(growth) < MEMORY
