"""Pictures: what comes out is upright, small, in sRGB and without a past; what is no picture is refused."""

import io
import random
import struct
import zlib
from collections.abc import Iterator

import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from core.errors import InvalidError
from core.pictures import Picture, PictureType, reencode

MARK = b"fifty-one degrees north"
RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 200, 30), (30, 30, 220), (255, 255, 255)
KINDS = ["JPEG", "PNG", "WEBP", "GIF"]

# Pillow warns of damage as well as it raises; only the latter counts.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")


def _quarters(width: int, height: int) -> Image.Image:
    """Red top left, green top right, blue bottom left, white bottom right."""
    image = Image.new("RGB", (width, height), WHITE)
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    return image


def _save(image: Image.Image, kind: str, **options: object) -> bytes:
    output = io.BytesIO()
    image.save(output, kind, **options)
    return output.getvalue()


def _open(picture: Picture) -> Image.Image:
    image = Image.open(io.BytesIO(picture.content))
    assert image.size == (picture.width, picture.height)
    assert Image.MIME[image.format or ""] == picture.content_type
    return image


def _corners(image: Image.Image) -> list[str]:
    """Name the colours from the top left, row by row, as they look."""
    names = {RED: "red", GREEN: "green", BLUE: "blue", WHITE: "white"}
    image = image.convert("RGB")
    found = []
    for y in (image.height // 5, image.height * 4 // 5):
        for x in (image.width // 5, image.width * 4 // 5):
            pixel = image.getpixel((x, y))
            assert isinstance(pixel, tuple)
            near = min(names, key=lambda colour: sum(abs(a - b) for a, b in zip(colour, pixel, strict=True)))
            assert max(abs(a - b) for a, b in zip(near, pixel, strict=True)) < 40
            found.append(names[near])
    return found


async def _refuse(content: bytes) -> str:
    with pytest.raises(InvalidError) as refusal:
        await reencode(content, size=64, square=True)
    ((field, sentence),) = refusal.value.fields
    assert field == "picture"
    return sentence


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content_type", ["image/webp", "image/jpeg"])
async def test_every_kind_is_taken(kind: str, content_type: PictureType) -> None:
    picture = await reencode(
        _save(_quarters(300, 200), kind), size=100, square=False, content_type=content_type
    )
    assert (picture.width, picture.height) == (100, 67)
    assert _corners(_open(picture)) == ["red", "green", "blue", "white"]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
async def test_every_mode_is_taken(mode: str) -> None:
    if mode == "I;16":
        image = Image.new("I;16", (40, 40), 0x8080)
    else:
        image = Image.new("L", (40, 40), 128).convert("RGB").convert(mode)
    content = _save(image, "JPEG" if mode == "CMYK" else "PNG")
    decoded = _open(await reencode(content, size=40, square=True)).convert("L")
    average = sum(decoded.histogram()[shade] * shade for shade in range(256)) / 1600
    assert abs(average - 128) < 8


async def test_a_square_is_cut_from_the_centre() -> None:
    wide = Image.new("RGB", (600, 200), RED)
    wide.paste(_quarters(200, 200), (200, 0))
    tall = wide.transpose(Image.Transpose.ROTATE_90).transpose(Image.Transpose.ROTATE_90)
    picture = await reencode(_save(wide, "PNG"), size=128, square=True)
    assert (picture.width, picture.height) == (128, 128)
    assert _corners(_open(picture)) == ["red", "green", "blue", "white"]
    upside_down = await reencode(_save(tall, "JPEG", quality=95), size=128, square=True)
    assert _corners(_open(upside_down)) == ["white", "blue", "green", "red"]


@pytest.mark.parametrize(
    ("given", "square", "expected"),
    [
        ((30, 20), False, (30, 20)),
        ((30, 20), True, (20, 20)),
        ((1, 1), True, (1, 1)),
        ((100, 64), True, (64, 64)),
        ((128, 1), False, (64, 1)),
        ((1, 3000), True, (1, 1)),
        ((1, 3000), False, (1, 64)),
    ],
)
async def test_nothing_is_made_larger(
    given: tuple[int, int], square: bool, expected: tuple[int, int]
) -> None:
    for kind in ("PNG", "JPEG"):
        picture = await reencode(_save(Image.new("RGB", given, BLUE), kind), size=64, square=square)
        assert (picture.width, picture.height) == expected


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "corners"),
    [
        (1, "red green blue white"),
        (2, "green red white blue"),
        (3, "white blue green red"),
        (4, "blue white red green"),
        (5, "red blue green white"),
        (6, "blue red white green"),
        (7, "white green blue red"),
        (8, "green white red blue"),
    ],
)
async def test_a_photo_stands_upright(kind: str, orientation: int, corners: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = _save(_quarters(320, 160), kind, exif=exif, quality=95)
    picture = await reencode(content, size=80, square=False)
    assert _corners(_open(picture)) == corners.split()
    assert (picture.width, picture.height) == ((80, 40) if orientation < 5 else (40, 80))


@pytest.mark.parametrize("content_type", ["image/webp", "image/jpeg"])
@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_but_the_pixels_is_kept(kind: str, content_type: PictureType) -> None:
    text = MARK.decode()
    exif = Image.Exif()
    exif[0x010E] = text
    exif.get_ifd(0x8825)[1] = "N"
    png = PngInfo()
    png.add_text("Comment", text)
    png.add_itxt("XML:com.adobe.xmp", text)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    options: dict[str, dict[str, object]] = {
        "JPEG": {"exif": exif, "comment": MARK, "xmp": MARK, "icc_profile": srgb},
        "PNG": {"exif": exif, "pnginfo": png, "icc_profile": srgb, "dpi": (300, 300)},
        "WEBP": {"exif": exif, "xmp": MARK, "icc_profile": srgb},
        "GIF": {"comment": MARK},
    }
    content = _save(_quarters(64, 64), kind, **options[kind]) + MARK
    assert content.count(MARK) >= 2
    picture = await reencode(content, size=64, square=True, content_type=content_type)
    assert MARK not in picture.content
    for trace in (b"Exif", b"EXIF", b"ICCP", b"ICC_PROFILE", b"XMP ", b"http://"):
        assert trace not in picture.content
    assert not _open(picture).getexif()


async def test_see_through_stays_so_in_webp_and_is_white_in_jpeg() -> None:
    image = Image.new("RGBA", (80, 80), (*RED, 0))
    image.paste((*RED, 255), (0, 0, 40, 80))
    palette = image.quantize(4)
    for source in (image, palette):
        content = _save(source, "PNG")
        webp = _open(await reencode(content, size=40, square=True)).convert("RGBA")
        assert [webp.getpixel((x, 20))[3] for x in (5, 35)] == [255, 0]  # type: ignore[index]
        jpeg = await reencode(content, size=40, square=True, content_type="image/jpeg")
        assert _corners(_open(jpeg)) == ["red", "white", "red", "white"]


async def test_of_a_film_the_first_frame_is_shown() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in (BLUE, RED, GREEN)]
    for kind in ("GIF", "WEBP", "PNG"):
        content = _save(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
        picture = await reencode(content, size=20, square=True)
        assert _corners(_open(picture)) == ["blue"] * 4
        assert getattr(_open(picture), "n_frames", 1) == 1


async def test_colours_of_another_space_look_the_same() -> None:
    """A profile whose red is our green: only who reads it sees green."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"____", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"____", b"gXYZ", 1)
    image = Image.new("RGB", (32, 32), (255, 0, 0))
    picture = await reencode(_save(image, "PNG", icc_profile=swapped), size=32, square=True)
    red, green, blue = _open(picture).convert("RGB").getpixel((16, 16))  # type: ignore[misc]
    assert (red < 60, green > 200, blue < 60) == (True, True, True)


async def test_a_profile_that_cannot_be_read_is_passed_over() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (b"RGB " * 40, srgb[:200], srgb[:130] + b"\xff" * 200, srgb + b"\x00" * 20_000):
        content = _save(_quarters(32, 32), "PNG", icc_profile=profile)
        picture = await reencode(content, size=32, square=True)
        assert _corners(_open(picture)) == ["red", "green", "blue", "white"]


async def test_only_four_kinds_are_pictures() -> None:
    image = _quarters(16, 16)
    others = [_save(image, kind) for kind in ("BMP", "TIFF", "PPM", "ICO", "TGA", "PDF", "EPS", "AVIF")]
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    for content in (*others, svg, b"", b"\xff", b"GIF", b"RIFF\x00\x00\x00\x00WAVE", b"<html>", MARK):
        assert await _refuse(content) == "Choose a JPEG, PNG, WebP or GIF picture."


async def test_a_picture_that_only_claims_its_kind_is_refused() -> None:
    tiff = _save(_quarters(16, 16), "TIFF")
    for magic in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x00\x00\x00\x00WEBP"):
        assert "damaged" in await _refuse(magic)
        assert "damaged" in await _refuse(magic + tiff)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _claim(width: int, height: int) -> Iterator[bytes]:
    """Yield files of a few bytes, in each kind, that claim to be this large."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    yield (
        b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", zlib.compress(b"\x00" * 1000)) + _chunk(b"IEND", b"")
    )
    jpeg = bytearray(_save(Image.new("RGB", (8, 8)), "JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", height, width)
    yield bytes(jpeg)
    gif = bytearray(_save(Image.new("RGB", (8, 8)), "GIF"))
    gif[6:10] = struct.pack("<HH", width, height)
    yield bytes(gif)


@pytest.mark.parametrize(("width", "height"), [(8000, 5001), (30_000, 30_000), (65_000, 65_000)])
async def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(width: int, height: int) -> None:
    for content in _claim(width, height):
        assert await _refuse(content) == "This picture has more than 40 megapixels; make it smaller."


async def test_a_large_webp_is_refused_sooner() -> None:
    content = _save(Image.new("L", (5000, 4001)).convert("RGB"), "WEBP", lossless=True, method=0, quality=0)
    assert await _refuse(content) == "This picture has more than 20 megapixels; make it smaller."


async def test_a_jpeg_that_asks_for_endless_work_is_refused() -> None:
    content = _save(_quarters(64, 64), "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xc4") : -2]
    assert (await reencode(content[:-2] + last * 20 + content[-2:], size=64, square=True)).width == 64
    assert "save it anew" in await _refuse(content[:-2] + last * 100 + content[-2:])


async def test_scans_that_are_never_decoded_do_not_count() -> None:
    """A thumbnail in the metadata, and a film after the end as phones put it there."""
    content = _save(_quarters(64, 64), "JPEG", comment=b"\xff\xda\x00\x02" * 200) + b"\xff\xda\x00\x02" * 200
    assert _corners(_open(await reencode(content, size=64, square=True))) == ["red", "green", "blue", "white"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_picture_that_was_cut_off_is_refused(kind: str) -> None:
    noise = Image.effect_noise((64, 64), 80).convert("RGB")
    content = _save(noise, kind)
    for share in (0.1, 0.5, 0.9):
        assert "damaged" in await _refuse(content[: max(12, int(len(content) * share))])


async def test_damage_gives_a_picture_or_a_sentence() -> None:
    chance = random.Random(11)
    exif = Image.Exif()
    exif[0x0112] = 6
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = _quarters(48, 32)
    sources = [
        _save(image, "JPEG", exif=exif, icc_profile=srgb),
        _save(image, "JPEG", progressive=True),
        _save(image, "PNG", exif=exif, icc_profile=srgb),
        _save(image.quantize(8), "PNG", transparency=1),
        _save(image, "WEBP", exif=exif, icc_profile=srgb),
        _save(image, "WEBP", lossless=True),
        _save(image, "GIF", save_all=True, append_images=[Image.new("RGB", (48, 32), RED)]),
    ]
    taken = refused = 0
    for number in range(300):
        damaged = bytearray(sources[number % len(sources)])
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(3, len(damaged))
            match chance.randrange(4):
                case 0:
                    damaged[at] = chance.randrange(256)
                case 1:
                    damaged[at : at + 4] = chance.choice([b"\xff\xff\xff\xff", b"\x00\x00\x00\x00"])
                case 2:
                    del damaged[at : at + chance.randint(1, 20)]
                case 3:
                    damaged[at:at] = chance.randbytes(chance.randint(1, 20))
            damaged = damaged if len(damaged) > 8 else bytearray(sources[0])
        try:
            picture = await reencode(bytes(damaged), size=32, square=True)
        except InvalidError as refusal:
            assert refusal.fields[0][0] == "picture"
            refused += 1
        else:
            assert _open(picture).size[0] <= 32
            taken += 1
    assert taken > 20
    assert refused > 20
