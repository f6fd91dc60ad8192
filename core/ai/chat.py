"""A chat's answer as any service gives it: one message, why it ended, and what it used up."""

from typing import Annotated

from pydantic import BeforeValidator

from core.ai.client import Answer
from core.ai.refusals import FILTERED, reference_of
from core.errors import ModelFilteredError, ModelUnavailableError
from core.redaction import redact

# Gemini's compatible endpoint hands some of its own reasons through, in capitals.
_FILTERED = ("content_filter", "safety", "recitation", "blocklist", "prohibited_content", "spii")
_AT_LIMIT = ("length", "max_tokens")


class _Message(Answer):
    content: str | None = None
    refusal: str | None = None


class _Choice(Answer):
    message: _Message
    finish_reason: Annotated[str, BeforeValidator(lambda reason: str(reason or "").lower())] = ""


class _Used(Answer):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class Chat(Answer):
    choices: list[_Choice]
    usage: _Used | None = None

    @property
    def input_tokens(self) -> int:
        return self.usage.prompt_tokens if self.usage else 0

    @property
    def output_tokens(self) -> int:
        """Tokens that were written and are paid; Gemini counts those of its thoughts in the total only."""
        if self.usage is None:
            return 0
        return max(self.usage.completion_tokens, self.usage.total_tokens - self.usage.prompt_tokens)

    @property
    def is_cut_off(self) -> bool:
        """Whether the answer ended at a limit of its length."""
        return bool(self.choices) and self.choices[0].finish_reason in _AT_LIMIT

    def content(self, request_id: str | None) -> str:
        """Return what was written; empty where nothing was.

        Raises ModelUnavailableError where there is no answer, ModelFilteredError where it was withheld.
        """
        reference = reference_of(request_id)
        if not self.choices:
            raise ModelUnavailableError("The AI gave no answer.", reference=reference)
        choice = self.choices[0]
        if choice.message.refusal:
            said = redact(choice.message.refusal)
            raise ModelFilteredError("The AI refuses to answer.", said=said, reference=reference)
        if choice.finish_reason.startswith(_FILTERED):
            raise ModelFilteredError(FILTERED, said=choice.finish_reason[:100], reference=reference)
        return choice.message.content or ""
