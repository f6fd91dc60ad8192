"""Passages that a person has changed, written as a transcript: what was not changed stays as it was heard."""

from collections.abc import Sequence
from io import BytesIO

from core.catalog.service import TranscriptForm
from core.tasks.models import Prompt, Task
from core.transcription.formats import WRITERS
from core.transcription.transcript import Gap, Segment, Timing, Transcript, from_json, sum_up


def write_passages(task: Task, prompts: Sequence[Prompt], heard: bytes | None, form: TranscriptForm) -> bytes:
    """Return passages in one of the forms of a transcript; their times may overlap.

    `heard` is what the model gave last, as JSON. Passages at times that are in it keep their speakers, and
    the times of their words where the text is the same; what nobody has heard or written stays a gap.
    """
    transcript = _join(task, prompts, None if heard is None else from_json(BytesIO(heard)))
    return "".join(WRITERS[form](transcript)).encode()


def _join(task: Task, prompts: Sequence[Prompt], heard: Transcript | None) -> Transcript:
    known = {(s.start_seconds, s.end_seconds): s for s in heard.segments} if heard else {}
    ordered = sorted(prompts, key=lambda prompt: (prompt.start_seconds, prompt.index))
    segments = tuple(
        _say(index, prompt, known.get((prompt.start_seconds, prompt.end_seconds)))
        for index, prompt in enumerate(ordered)
    )
    gaps = tuple(gap for gap in (heard.gaps if heard else ()) if not _is_filled(gap, ordered))
    last = max((segment.end_seconds for segment in segments), default=0.0)
    duration = max(task.duration_seconds or 0.0, last)
    missing = sum(gap.end_seconds - gap.start_seconds for gap in gaps)
    timings: set[Timing] = {segment.timing for segment in segments}
    return Transcript(
        language=task.language,
        duration_seconds=duration,
        timing=sum_up(timings),
        coverage=max(0.0, 1 - missing / duration) if duration else 1.0,
        gaps=gaps,
        segments=segments,
    )


def _say(index: int, prompt: Prompt, heard: Segment | None) -> Segment:
    if heard is None:
        return Segment(
            index=index,
            start_seconds=prompt.start_seconds,
            end_seconds=prompt.end_seconds,
            text=prompt.text,
            timing="estimated",
        )
    if heard.text == prompt.text:
        return heard.model_copy(update={"index": index})
    return heard.model_copy(update={"index": index, "text": prompt.text, "words": ()})


def _is_filled(gap: Gap, prompts: Sequence[Prompt]) -> bool:
    """Tell whether a person has written what is said in a gap."""
    return any(
        prompt.start_seconds < gap.end_seconds and gap.start_seconds < prompt.end_seconds
        for prompt in prompts
    )
