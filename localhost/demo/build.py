"""Speaks the demo story and packs it as one audiobook: `python -m localhost.demo.build`.

Needs Debian's `flite` and `ffmpeg` and a Chromium, which is why the built book is kept in the
repository: nobody who only runs Aloud needs this file.
"""

import shutil
import subprocess
import sys
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
BOOK = HERE / "books" / "The Saturday Piano.mp3"
TITLE = "The Saturday Piano"
TAGS = {
    "title": TITLE,
    "album": TITLE,
    "artist": "Aloud Originals",
    "album_artist": "Aloud Originals",
    "composer": "Flite (synthetic voice)",
    "date": "2026",
    "genre": "Short Stories",
    "language": "eng",
    "publisher": "Aloud",
    "comment": "A girl follows the smell of fresh bread into an old house, and finds a piano that "
    "nobody plays. Narrated by Flite, a synthetic voice.",
}
VOICE = "rms"
SAMPLE_RATE = 16_000
BYTES_PER_SECOND = SAMPLE_RATE * 2
PARAGRAPH_PAUSE = 0.6
CHAPTER_PAUSE = 1.2
NUMBERS = ("one", "two", "three", "four")


class BuildError(Exception):
    """A program that the build needs is missing, or the speech has an unexpected form."""


@dataclass(frozen=True)
class Chapter:
    """One spoken chapter: its samples are 16-bit mono at SAMPLE_RATE."""

    title: str
    samples: bytes

    @property
    def milliseconds(self) -> int:
        return round(len(self.samples) * 1000 / BYTES_PER_SECOND)


def require(*names: str) -> str:
    """The path of the first of `names` that is installed; raises BuildError if none is."""
    for name in names:
        if found := shutil.which(name):
            return found
    raise BuildError(f"{names[0]} is not installed; on Debian: apt-get install {names[0]}")


def speak(text: str, folder: Path) -> bytes:
    """The samples of `text`, spoken by flite."""
    spoken = folder / "spoken.wav"
    subprocess.run(
        [require("flite"), "-voice", VOICE, "-t", text, "-o", str(spoken)],
        check=True,
    )
    with wave.open(str(spoken)) as speech:
        if (speech.getframerate(), speech.getnchannels(), speech.getsampwidth()) != (SAMPLE_RATE, 1, 2):
            raise BuildError(f"flite's voice {VOICE} does not speak 16-bit mono at {SAMPLE_RATE} Hz")
        samples: bytes = speech.readframes(speech.getnframes())
    return samples


def silence(seconds: float) -> bytes:
    return bytes(round(seconds * SAMPLE_RATE) * 2)


def speak_chapter(index: int, text: str, folder: Path) -> Chapter:
    """One text file as a chapter: the first line is its title, blank lines part its paragraphs."""
    title, *paragraphs = (" ".join(part.split()) for part in text.strip().split("\n\n"))
    opening = f"{TITLE}. " if index == 0 else ""
    parts = [speak(f"{opening}Chapter {NUMBERS[index]}. {title}.", folder), silence(CHAPTER_PAUSE)]
    for paragraph in paragraphs:
        parts += [speak(paragraph, folder), silence(PARAGRAPH_PAUSE)]
    parts.append(silence(CHAPTER_PAUSE - PARAGRAPH_PAUSE))
    return Chapter(title, b"".join(parts))


def describe(chapters: list[Chapter]) -> str:
    """Tags and chapter times in ffmpeg's metadata format."""
    lines = [";FFMETADATA1", *(f"{key}={value}" for key, value in TAGS.items())]
    start = 0
    for chapter in chapters:
        end = start + chapter.milliseconds
        lines += ["[CHAPTER]", "TIMEBASE=1/1000", f"START={start}", f"END={end}", f"title={chapter.title}"]
        start = end
    return "\n".join(lines) + "\n"


def draw_cover(folder: Path) -> Path:
    """The SVG cover as a JPEG, 600 by 600 pixels."""
    picture, cover = folder / "cover.png", folder / "cover.jpg"
    subprocess.run(
        [
            require("chromium", "chromium-browser", "google-chrome"),
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--hide-scrollbars"),
            f"--user-data-dir={folder / 'profile'}",
            "--window-size=1000,1000",
            f"--screenshot={picture}",
            (HERE / "cover.svg").as_uri(),
        ],
        check=True,
        capture_output=True,
    )
    scale = [
        "-i",
        str(picture),
        "-vf",
        "scale=600:600:flags=lanczos,format=yuvj420p",
        "-q:v",
        "4",
        str(cover),
    ]
    subprocess.run([require("ffmpeg"), "-v", "error", "-y", *scale], check=True)
    return cover


def pack(chapters: list[Chapter], cover: Path, folder: Path) -> None:
    """Write BOOK: mono MP3 with ID3 tags, chapters and the cover."""
    speech, tags = folder / "book.wav", folder / "tags.txt"
    with wave.open(str(speech), "wb") as out:
        out.setparams((1, 2, SAMPLE_RATE, 0, "NONE", "not compressed"))
        for chapter in chapters:
            out.writeframes(chapter.samples)
    tags.write_text(describe(chapters), encoding="utf-8")
    subprocess.run(
        [
            *(require("ffmpeg"), "-v", "error", "-y"),
            *("-i", str(speech), "-i", str(tags), "-i", str(cover)),
            *("-map", "0:a", "-map", "2:v", "-map_metadata", "1", "-map_chapters", "1"),
            *("-c:a", "libmp3lame", "-b:a", "32k", "-ac", "1", "-c:v", "copy"),
            *("-disposition:v", "attached_pic", "-metadata:s:v", "comment=Cover (front)"),
            *("-id3v2_version", "3", "-flags", "+bitexact", "-fflags", "+bitexact", str(BOOK)),
        ],
        check=True,
    )


def main() -> int:
    texts = sorted((HERE / "text").glob("*.txt"))
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            chapters = [
                speak_chapter(i, path.read_text(encoding="utf-8"), folder) for i, path in enumerate(texts)
            ]
            pack(chapters, draw_cover(folder), folder)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    seconds = sum(chapter.milliseconds for chapter in chapters) / 1000
    print(f"{BOOK.name}: {len(chapters)} chapters, {seconds:.1f} s, {BOOK.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
