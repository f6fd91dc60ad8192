"""A chat's answer as any service gives it: one message, why it ended, and what it used up."""

from typing import Annotated

from pydantic import BeforeValidator

from core.ai.client import Answer
from core.ai.refusals import label
from core.errors import ModelRefusedError, ModelUnavailableError

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

        Raises ModelUnavailableError where there is no answer, ModelRefusedError where it was withheld.
        """
        if not self.choices:
            raise ModelUnavailableError(label("The AI gave no answer", request_id))
        choice = self.choices[0]
        if choice.message.refusal or choice.finish_reason.startswith(_FILTERED):
            reason = choice.message.refusal or f"its content filter ({choice.finish_reason})"
            raise ModelRefusedError(label(f"The AI refused: {reason[:300]}", request_id))
        return choice.message.content or ""
