"""Which dropped files are one book: those of one folder, in the order in which a person would count them."""

import re
from pathlib import PurePosixPath

_DISC = re.compile(r"(cd|dis[ck]|disque|teil|part|vol(ume)?)[\s._-]*\d+", re.IGNORECASE)
# What comes along with recordings and is none.
_COMPANIONS = re.compile(
    r"\.(jpe?g|png|gif|webp|bmp|txt|nfo|md|pdf|epub|opf|json|xml|html?|rtf|docx?|m3u8?|pls|cue|log|sfv|md5|ini|db|"
    r"url|zip|torrent|srt|vtt|lrc)",
    re.IGNORECASE,
)


def folder_of(blob_name: str) -> str | None:
    """Return the folder, with a slash at its end, whose files are one book; None for a file at the top.

    A folder that is named like a disc belongs to the one around it.
    """
    folder, slash, _ = blob_name.rpartition("/")
    if not slash or not folder.strip("/"):
        return None
    around, slash, own = folder.rpartition("/")
    if slash and around.strip("/") and _DISC.fullmatch(own.strip()):
        folder = around
    return f"{folder}/"


def is_companion(blob_name: str) -> bool:
    """Tell whether a file of a folder, by its name, is a picture, a text or a list, or hidden."""
    path = PurePosixPath(blob_name)
    return _COMPANIONS.fullmatch(path.suffix) is not None or path.name.startswith(".")


def natural_key(blob_name: str) -> list[list[tuple[int, int, str]]]:
    """Return a key that sorts 2 before 10, and letters whatever their case."""
    return [
        [
            (0, int(run), "") if run.isdigit() and run.isascii() else (1, 0, run)
            for run in re.split(r"(\d+)", part)
        ]
        for part in blob_name.casefold().split("/")
    ]
