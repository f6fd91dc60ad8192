"""Pictures that people upload: believed only once decoded, and never stored as they came.

What the largest that are taken cost on one core while they become 512 pixels: 40 megapixels as JPEG 0.2 s
and 20 MB (progressive: 0.4 to 0.8 s, 240 MB), as PNG 1 to 2 s and 320 MB; 20 megapixels as WebP 0.5 s
and 310 MB.
"""

import asyncio
import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from core.errors import InvalidError

if TYPE_CHECKING:
    from PIL.Image import Image

PictureType = Literal["image/webp", "image/jpeg"]

_MOST_MEGAPIXELS = {"JPEG": 40, "PNG": 40, "GIF": 40, "WEBP": 20}
_MOST_SCANS = 64  # of a progressive JPEG; encoders make about ten
_LONGEST_PROFILE = 16 * 1024  # a colour profile without lookup tables
_MAGIC = {
    "JPEG": (0, (b"\xff\xd8\xff",)),
    "PNG": (0, (b"\x89PNG\r\n\x1a\n",)),
    "GIF": (0, (b"GIF87a", b"GIF89a")),
    "WEBP": (8, (b"WEBP",)),
}
_one_at_a_time = asyncio.Lock()


@dataclass(frozen=True)
class Picture:
    """A picture as we made it, without a trace of the file it came in but its pixels."""

    content: bytes
    content_type: PictureType
    width: int
    height: int


async def reencode(
    content: bytes, *, size: int, square: bool, content_type: PictureType = "image/webp"
) -> Picture:
    """Decode a JPEG, PNG, WebP or GIF (its first frame) and encode it anew: in sRGB, upright, no metadata.

    No side is longer than `size` pixels, none is stretched; `square` cuts out the centre. WebP (quality
    82) keeps transparency, JPEG (quality 85) shows it white. Runs in a thread, one picture at a time.
    Raises InvalidError, with a sentence for people, for anything that is no usable picture.
    """
    async with _one_at_a_time:
        return await asyncio.to_thread(_reencode, content, size, square, content_type)


def _reencode(content: bytes, size: int, square: bool, content_type: PictureType) -> Picture:
    from PIL import Image

    kind = _kind(content)
    if kind == "JPEG" and _count_scans(content) > _MOST_SCANS:
        raise _invalid("This picture cannot be read; save it anew and try again.")
    try:
        with Image.open(io.BytesIO(content), formats=[kind]) as opened:
            if opened.width * opened.height > _MOST_MEGAPIXELS[kind] * 1_000_000:
                raise _too_large(kind)
            image = _upright(_shrink(opened, size, square))
    except Image.DecompressionBombError:
        raise _too_large(kind) from None
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error):
        raise _invalid("This picture is damaged; save it anew and try again.") from None
    return _encode(_in_srgb(image), content_type)


def _kind(content: bytes) -> str:
    for kind, (at, magics) in _MAGIC.items():
        if content.startswith(magics, at):
            return kind
    raise _invalid("Choose a JPEG, PNG, WebP or GIF picture.")


def _count_scans(jpeg: bytes) -> int:
    """Count the passes over the whole picture that a file asks for: a few bytes each, and 25 ms of work.

    Follows the markers, since a thumbnail or a film inside the file has scans that are never decoded.
    """
    at, scans = 2, 0
    while (at := jpeg.find(b"\xff", at)) >= 0 and at + 4 <= len(jpeg) and scans <= _MOST_SCANS:
        marker = jpeg[at + 1]
        if marker == 0xD9:
            break
        if marker == 0xFF:
            at += 1
        elif marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            at += 2
        else:
            scans += marker == 0xDA
            at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return scans


def _shrink(opened: "Image", size: int, square: bool) -> "Image":
    """Decode no more than is needed, in RGB or RGBA."""
    from PIL.Image import Resampling

    whole = opened.size
    scale = min(1.0, size / (min(whole) if square else max(whole)))
    opened.draft(None, (int(whole[0] * scale * 2) or 1, int(whole[1] * scale * 2) or 1))
    opened.load()
    width, height = opened.size
    side = min(width, height)
    left, top = ((width - side) // 2, (height - side) // 2) if square else (0, 0)
    box = (left, top, left + side, top + side) if square else (0, 0, width, height)
    target = tuple(max(1, round(whole[i] * scale)) for i in (0, 1))
    if square:
        target = (min(target),) * 2
    mode = "RGBA" if opened.has_transparency_data else "RGB"
    image: Image = opened.point(lambda value: value / 256, "L") if opened.mode == "I;16" else opened
    image = image if image.mode == mode else image.convert(mode)
    return image.resize((target[0], target[1]), Resampling.LANCZOS, box=box, reducing_gap=3.0)


def _upright(image: "Image") -> "Image":
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def _in_srgb(image: "Image") -> "Image":
    """Convert the colours of a picture with a simple RGB profile; any other is taken for sRGB."""
    profile = image.info.get("icc_profile") or b""
    if profile[16:20] != b"RGB " or len(profile) > _LONGEST_PROFILE:
        return image
    from PIL import ImageCms

    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"))
    except (OSError, ImageCms.PyCMSError):
        return image
    return converted or image


def _encode(image: "Image", content_type: PictureType) -> Picture:
    from PIL import Image

    image.info.clear()
    output = io.BytesIO()
    if content_type == "image/webp":
        image.save(output, "WEBP", quality=82, method=4)
    else:
        if image.mode == "RGBA":
            paper = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(paper, image).convert("RGB")
        image.save(output, "JPEG", quality=85, optimize=True, progressive=True)
    return Picture(output.getvalue(), content_type, image.width, image.height)


def _too_large(kind: str) -> InvalidError:
    return _invalid(f"This picture has more than {_MOST_MEGAPIXELS[kind]} megapixels; make it smaller.")


def _invalid(sentence: str) -> InvalidError:
    return InvalidError("This picture cannot be used.", fields=(("picture", sentence),))
