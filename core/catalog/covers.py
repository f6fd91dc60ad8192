"""Covers: decoded, and encoded anew in the sizes and formats that pages and feeds ask for."""

from contextlib import suppress

from core.catalog.models import MediaFile
from core.errors import NotFoundError
from core.pictures import PictureType, reencode
from core.storage.blobs import Container

SIZES = (320, 1024)
_LARGEST = max(SIZES)
_FORMATS: dict[PictureType, str] = {"image/webp": "webp", "image/jpeg": "jpg"}
MAX_COVER_BYTES = 10 * 1024 * 1024


async def write_cover(media: Container, folder: str, content: bytes) -> MediaFile:
    """Store a picture under `folder`, a file for each size and format; return the largest JPEG.

    Raises InvalidError if it is no usable picture; nothing is stored then.
    """
    pictures = {
        (size, suffix): await reencode(content, size=size, square=False, content_type=kind)
        for size in SIZES
        for kind, suffix in _FORMATS.items()
    }
    for (size, suffix), picture in pictures.items():
        await media.write(f"{folder}/{size}.{suffix}", picture.content, picture.content_type)
    largest = pictures[_LARGEST, "jpg"]
    return MediaFile(blob=f"{folder}/{_LARGEST}.jpg", content_type="image/jpeg", size=len(largest.content))


def own_folder(book_id: str, cover_id: str) -> str:
    """Return where the cover goes that a person has chosen."""
    return f"{book_id}/covers/{cover_id}"


async def read_cover(media: Container, cover: MediaFile, size: int, webp: bool) -> tuple[bytes, str]:
    """Return the smallest file of a cover that is not smaller than `size` pixels, and its content type.

    A cover that did not come from `write_cover` has one file only. Raises NotFoundError.
    """
    folder, _, name = cover.blob.rpartition("/")
    if name != f"{_LARGEST}.jpg":
        return await media.read(cover.blob), cover.content_type
    wanted = next((known for known in SIZES if known >= size), _LARGEST)
    kind: PictureType = "image/webp" if webp else "image/jpeg"
    return await media.read(f"{folder}/{wanted}.{_FORMATS[kind]}"), kind


async def delete_cover(media: Container, cover: MediaFile) -> None:
    """Remove the files of a cover."""
    folder, _, name = cover.blob.rpartition("/")
    if name == f"{_LARGEST}.jpg":
        await media.delete_prefix(f"{folder}/")
    else:
        with suppress(NotFoundError):
            await media.delete(cover.blob)
