"""Surroundings: what the evaluation harness asks of a model beside answers: processes and chats."""

from typing import TYPE_CHECKING, Any

from lm_eval.api.model import LM
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Surroundings(LM):
    """The base of [`ardm.harness.ARDMHarness`], which knows its rank and its tokenizer."""

    tokenizer: "PreTrainedTokenizerBase"
    _template: str | None = None  # the one of several that was asked for

    # ------------------------------------------------------------------------ several processes
    def all_gather(self, tensor: Tensor) -> Tensor:
        """All processes' tensors, one after another; scalars become a vector."""
        from accelerate.utils import gather

        return gather(tensor)

    def gather_object(self, obj: Any, dst: int = 0) -> list[Any] | None:
        """All processes' objects on process `dst`, None on the others."""
        from accelerate.utils import gather_object

        objects = gather_object([obj])
        return objects if self._rank == dst else None

    def barrier(self) -> None:
        """Waits for all processes."""
        from accelerate import PartialState

        PartialState().wait_for_everyone()

    # ------------------------------------------------------------------------------------ chats
    @property
    def tokenizer_name(self) -> str:
        """What the tokenizer is called in the harness' caches of requests."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The template that is used for chats.

        Args:
            chat_template: True = the tokenizer's own, a name = one of several, False = none.

        Returns:
            The template, None if none is asked for.

        Raises:
            ValueError: if the tokenizer has none, or none of that name.
        """
        if chat_template is False or chat_template is None:
            return None
        if chat_template is True:
            return self.tokenizer.get_chat_template()
        # transformers would take an unknown name for a template
        templates = self.tokenizer.chat_template
        known = sorted(templates) if isinstance(templates, dict) else []
        if chat_template not in known:
            raise ValueError(
                f"chat_template is {chat_template!r}; expected True or one of {known}."
            )
        self._template = self.tokenizer.get_chat_template(chat_template)
        return self._template

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """A chat as one text.

        Args:
            chat_history: messages with "role" and "content".
            add_generation_prompt: whether the model's answer is to begin behind it; else the last
                message goes on.

        Returns:
            The text, with the special tokens' names in it.
        """
        text = self.tokenizer.apply_chat_template(
            chat_history,
            chat_template=self._template,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        return str(text)
