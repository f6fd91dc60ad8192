"""Finds out what a file is, and says it in plain words where it is no recording."""

import math
from collections.abc import Iterator

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from core.errors import RejectedAudioError
from core.transcription.audio import Chapter, Probe
from core.transcription.blocks import Source
from core.transcription.comments import check_comments
from core.transcription.decoding import (
    CONTAINERS,
    UnreadableError,
    decode_packet,
    open_audio,
    open_container,
    packets,
)

KINDS = "Aloud reads mp3, m4b/m4a, flac, ogg, opus and wav."
CODECS = {"mp3", "aac", "alac", "flac", "opus", "vorbis"}
PICTURE_CODECS = {"mjpeg", "png", "webp", "gif", "bmp"}
CONTENT_TYPES = {
    "mp3": "audio/mpeg",
    "mp4": "audio/mp4",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "wav": "audio/wav",
}
MAX_CHAPTERS = 1_000
MAX_TAG_CHARACTERS = 4_000
MAX_COVER_BYTES = 10_000_000

_HEAD_BYTES = 4_096
_SAMPLE_SECONDS = 10.0
# What multiplexers write about themselves tells a reader nothing.
_TECHNICAL_TAGS = {
    "major_brand",
    "minor_version",
    "compatible_brands",
    "encoder",
    "handler_name",
    "vendor_id",
    "creation_time",
}
_TAG_NAMES = {"albumartist": "album_artist", "organization": "publisher", "year": "date"}
_PROTECTED_TAGS = {"drms", "aavd", "enca"}
# Programs that write a wav to a pipe put this size, or nearly, for one they cannot know.
_UNKNOWN_WAV_BYTES = 0xFFFF_0000
_NO_SOUND = "There is no sound in this file that can be played."
# Compared with the lower-cased start of the file.
_FOREIGN = {
    "a web page": (b"<!doctype html", b"<html", b"<head", b"<body"),
    "a text file": (b"<?xml", b"<svg", b"{", b"["),
    "a JPEG picture": (b"\xff\xd8\xff",),
    "a PNG picture": (b"\x89png",),
    "a GIF picture": (b"gif8",),
    "a PDF document": (b"%pdf",),
    "an archive": (b"pk\x03\x04", b"rar!", b"7z\xbc\xaf", b"\x1f\x8b"),
    "a video": (b"\x1ae\xdf\xa3",),
}


def probe(source: Source) -> Probe:
    """See core.transcription.audio.probe."""
    head = source.read(_HEAD_BYTES)
    if not head:
        raise RejectedAudioError("The file is empty.")
    check_comments(source)
    try:
        with open_audio(source, within=(0, _SAMPLE_SECONDS)) as (opened, stream):
            return _read(opened, stream, _declared_growth(source, head))
    except UnreadableError as error:
        raise RejectedAudioError(_explain(source, head)) from error


def _read(opened: InputContainer, stream: AudioStream, growth: float) -> Probe:
    container = CONTAINERS[opened.format.name]
    codec = stream.codec_context.codec.canonical_name
    pictures = [s for s in opened.streams.video if s.disposition & Disposition.attached_pic]
    _check(opened, stream, codec)
    seconds = (opened.duration or 0) / av.time_base * growth
    covers, heard = _sample(opened, stream, pictures)
    if not heard:
        raise RejectedAudioError(_NO_SOUND)
    cover, cover_type = next(((c, kind) for c in covers if (kind := picture_type(c))), (None, None))
    return Probe(
        duration_seconds=seconds,
        container=container,
        codec=codec,
        sample_rate=heard[0].sample_rate,
        channels=heard[0].layout.nb_channels,
        bit_rate=opened.bit_rate or stream.bit_rate or 0,
        chapters=tuple(_chapters(opened)),
        tags=_tags(stream.metadata) | _tags(opened.metadata),
        cover=cover,
        cover_type=cover_type,
        content_type=CONTENT_TYPES[container],
    )


def _declared_growth(source: Source, head: bytes) -> float:
    """Tell how many times longer a wav should be by its header: libav tells only what is there."""
    declared = int.from_bytes(head[4:8], "little") + 8
    if not head.startswith(b"RIFF") or declared >= _UNKNOWN_WAV_BYTES:
        return 1.0
    return max(1.0, declared / source.seek(0, 2))


def _check(opened: InputContainer, stream: AudioStream, codec: str) -> None:
    if _codec_tag(stream) in _PROTECTED_TAGS:
        raise RejectedAudioError("This file is copy-protected; Aloud reads only unprotected recordings.")
    for video in opened.streams.video:
        name = video.codec_context.name if video.codec_context else "unknown"
        if not video.disposition & Disposition.attached_pic and name not in PICTURE_CODECS:
            raise RejectedAudioError(f"This is a video. {KINDS}")
    if codec not in CODECS and not codec.startswith("pcm_"):
        raise RejectedAudioError(f"The sound in this file is stored as {codec}. {KINDS}")


def _codec_tag(stream: AudioStream) -> str:
    try:
        return stream.codec_context.codec_tag
    except UnicodeDecodeError:
        return ""


def _explain(source: Source, head: bytes) -> str:
    """Say why a file that libav refuses is no recording, as far as its first bytes tell."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for kind, magics in _FOREIGN.items():
        if start.startswith(magics):
            return f"This is {kind}, not audio."
    if not head.strip(b"\0"):
        return "The file holds nothing but zeros; it was probably damaged when it was copied."
    if head[4:8] == b"ftyp":
        return _explain_mp4(source)
    if head.startswith((b"RIFF", b"RF64", b"fLaC", b"OggS", b"ID3")):
        return _NO_SOUND
    return f"This is not a recording. {KINDS}"


def _explain_mp4(source: Source) -> str:
    try:
        with open_container(source) as opened:
            return f"This is a video without sound. {KINDS}" if opened.streams.video else _NO_SOUND
    except UnreadableError:
        return "The recording is incomplete: its table of contents is missing."


def _chapters(opened: InputContainer) -> Iterator[Chapter]:
    marks = [
        (float(c["start"] * c["time_base"]), float(c["end"] * c["time_base"]), c["metadata"].get("title"))
        for c in opened.chapters()[:MAX_CHAPTERS]
        if c["time_base"]
    ]
    marks.sort(key=lambda mark: mark[0])
    starts = [start for start, _, _ in marks[1:]] + [math.inf]
    for (start, end, title), following in zip(marks, starts, strict=False):
        first, last = round(max(0.0, start), 3), round(min(end, following), 3)
        if last > first:
            yield Chapter(_clean(title or "") or None, first, last)


def _clean(text: str) -> str:
    printable = "".join(c if c.isprintable() or c == "\n" else " " for c in text.replace("\r\n", "\n"))
    return printable.strip()[:MAX_TAG_CHARACTERS]


def _tags(metadata: dict[str, str]) -> dict[str, str]:
    tags = {}
    for key, value in metadata.items():
        name = _TAG_NAMES.get(key.lower(), key.lower())
        text = _clean(value)
        if text and name not in _TECHNICAL_TAGS and not (name == "language" and text == "und"):
            tags[name] = text
    return tags


def _sample(
    opened: InputContainer, stream: AudioStream, pictures: list[VideoStream]
) -> tuple[list[bytes], list[AudioFrame]]:
    """Read the pictures, which libav gives first, and decode to the first frame of sound."""
    covers: list[bytes] = []
    for packet in packets(opened, stream, *pictures):
        if packet.stream in pictures:
            if 0 < packet.size <= MAX_COVER_BYTES:
                covers.append(bytes(packet))
            continue
        heard = [frame for frame in decode_packet(packet) if frame.samples]
        if heard:
            return covers, heard
    return covers, []


def picture_type(content: bytes) -> str | None:
    """Tell a picture's media type by its first bytes; None where browsers should not be shown it."""
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "image/webp"
    return None
