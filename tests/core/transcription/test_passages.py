"""A person's changes leave everything else as it was heard: words, speakers, gaps."""

import json

from core.ids import new_id, now
from core.tasks.models import Prompt, Task
from core.transcription.passages import write_passages
from core.transcription.transcript import Gap, Segment, Transcript, Word, to_json


def heard() -> bytes:
    segments = [
        Segment(
            index=index,
            start_seconds=start,
            end_seconds=start + 2,
            text=text,
            timing="model",
            words=(Word(start, start + 1, text),),
            speaker="1.A",
        )
        for index, (start, text) in enumerate(((0.0, "First."), (2.0, "Second."), (6.0, "Last.")))
    ]
    transcript = Transcript(
        language="en",
        duration_seconds=20,
        timing="model",
        coverage=0.6,
        gaps=(
            Gap(start_seconds=8, end_seconds=12, reason="Refused."),
            Gap(start_seconds=14, end_seconds=18, reason="Refused."),
        ),
        segments=tuple(segments),
    )
    return "".join(to_json(transcript)).encode()


def task() -> Task:
    at = now()
    return Task(
        id=new_id(), owner_id=new_id(), name="Talk", duration_seconds=20, created_at=at, updated_at=at
    )


def said(index: int, start: float, end: float, text: str) -> Prompt:
    return Prompt(index=index, start_seconds=start, end_seconds=end, text=text)


def test_what_nobody_has_changed_stays_as_it_was_heard() -> None:
    prompts = [
        said(0, 0, 2, "First."),
        said(1, 2, 4, "The second."),
        said(2, 6, 7.5, "Last."),
        said(3, 15, 16, "Found."),
    ]
    written = json.loads(write_passages(task(), prompts, heard(), "json"))
    shown = [(s["text"], s["timing"], len(s["words"]), s.get("speaker")) for s in written["segments"]]
    assert shown == [
        ("First.", "model", 1, "1.A"),
        ("The second.", "model", 0, "1.A"),
        ("Last.", "estimated", 0, None),
        ("Found.", "estimated", 0, None),
    ]
    assert [gap["start_seconds"] for gap in written["gaps"]] == [8], "the other one has been filled"
    assert (written["timing"], written["coverage"]) == ("mixed", 0.8)
    assert b"The second." in write_passages(task(), prompts, heard(), "vtt")


def test_passages_that_were_never_heard_are_a_transcript_too() -> None:
    written = json.loads(write_passages(task(), [said(7, 3, 5, "B"), said(9, 1, 2, "A")], None, "json"))
    assert [(s["index"], s["text"]) for s in written["segments"]] == [(0, "A"), (1, "B")]
    assert (written["timing"], written["coverage"], written["gaps"]) == ("estimated", 1, [])
