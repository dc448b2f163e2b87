"""A look inside: the words, the attention that is recorded, and what leaving a word out does."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from dalle.config import Cancelled, PromptError
from dalle.engine import Engine
from dalle.insight import attention_to_text, left_out, recorded_attention, words_of
from dalle.parts import Packed
from dalle.reference import Reference, ReferenceSet
from dalle.requests import GenerateRequest, Picture


@pytest.fixture(scope="module")
def engine(tiny_checkpoint):
    made = Engine(str(tiny_checkpoint), "cpu")
    made.load()
    return made


def picture_of(engine: Engine, request: GenerateRequest) -> Picture:
    return next(item for item in engine.generate(request) if isinstance(item, Picture))


def test_words_have_their_pieces_and_their_places(encoder):
    text = "a T-rex's tyrannosaur, flat style"
    found = words_of(text, encoder.pieces(text), encoder.spans(text))
    assert [word for word, *_ in found] == ["a", "T-rex's", "tyrannosaur", "flat", "style"]
    pieces = encoder.pieces(text)
    assert all(text[first:last] == word for word, first, last, _ in found)
    places = [place for *_, own in found for place in own]
    assert sorted(set(places)) == places  # none twice, in their order
    assert {pieces[place] for place in range(len(pieces)) if place not in places} == {"[CLS]", ",", "[SEP]"}
    assert left_out(text, *found[2][1:3]) == "a T-rex's, flat style"
    assert left_out(text, *found[0][1:3]) == "T-rex's tyrannosaur, flat style"
    assert left_out("cat", 0, 3) == ""


def test_recorded_attention_is_what_the_block_weighs_values_with(tiny_pipeline):
    """With the values of image tokens zero and those of text tokens one-hot, a block's own attention returns its weights."""
    trunk = tiny_pipeline.prior.trunk
    block = trunk.blocks[0]
    text = tiny_pipeline.encode_prompt("a cat to the left of a tree")
    noise = torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(3))
    seen, found = {}, []

    def keep(_, given):
        seen["given"] = given

    hook = block.register_forward_pre_hook(keep)
    with torch.inference_mode(), recorded_attention(trunk.blocks, found):
        trunk(noise, torch.ones(1), text)
    hook.remove()
    assert len(found) == len(trunk.blocks) and found[0].shape[0] == trunk.side**2
    x, states, bias, shared, table = seen["given"]
    given: dict[str, torch.Tensor] = {}
    plain = torch.nn.functional.scaled_dot_product_attention

    def weights(q, k, v, attn_mask=None):
        logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + attn_mask
        given["weights"] = logits.softmax(-1)
        return plain(q, k, v, attn_mask=attn_mask)

    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr("dalle.prior.F.scaled_dot_product_attention", weights)
        block(x, states, bias, shared, table)
        again = attention_to_text(block, x, states, bias, shared, table)
    expected = given["weights"][..., x.shape[1] :].mean(1)
    assert torch.allclose(again, expected, atol=1e-5) and torch.allclose(found[0], expected[0], atol=1e-5)
    count = len(tiny_pipeline.text.pieces("a cat to the left of a tree"))
    assert found[0][:, count:].abs().max() == 0  # padding gets none


def test_nothing_is_recorded_outside(tiny_pipeline):
    blocks = tiny_pipeline.prior.trunk.blocks
    with recorded_attention(blocks, None):
        assert not any(block._forward_pre_hooks for block in blocks)
    with pytest.raises(RuntimeError), recorded_attention(blocks, []):
        raise RuntimeError
    assert not any(block._forward_pre_hooks for block in blocks)


def test_the_look_is_at_the_picture_that_is_drawn(engine):
    request = GenerateRequest("a cat and a dog", 1, 5, num_inference_steps=3, style="flat")
    seen = engine.insight(request)
    picture = picture_of(engine, request)
    assert np.array_equal(np.asarray(seen.picture.image), np.asarray(picture.image))
    assert seen.picture.settings == picture.settings and seen.picture.score == picture.score
    assert seen.text == "a cat and a dog, flat style"
    assert [word.text for word in seen.words] == ["a", "cat", "and", "a", "dog", "flat", "style"]
    assert len(seen.steps) == 4 and len(seen.long) == 9
    assert np.array_equal(np.asarray(seen.steps[-1]), np.asarray(picture.image))
    assert np.array_equal(np.asarray(seen.long[0]), np.asarray(seen.steps[0]))
    eight = picture_of(engine, GenerateRequest("a cat and a dog", 1, 5, num_inference_steps=8, style="flat"))
    assert np.array_equal(np.asarray(seen.long[-1]), np.asarray(eight.image))
    assert seen.channels.shape == (8, 16, 16)
    # Shares of the attention to the text: the special tokens have the rest.
    total = sum(word.attention for word in seen.words)
    assert (total > 0).all() and (total < 1).all()
    # What is drawn without a word is the picture of the prompt without it.
    without = picture_of(engine, GenerateRequest("a and a dog, flat style", 1, 5, num_inference_steps=3))
    far = np.abs(np.asarray(seen.words[1].without).astype(int) - np.asarray(without.image).astype(int)).max()
    assert far <= 3 and seen.words[1].difference.shape == (16, 16)
    assert seen.judgement == engine.judge("a cat and a dog", "flat")


def test_a_single_word_can_not_be_left_out(engine):
    seen = engine.insight(GenerateRequest("cat", 1, 5, num_inference_steps=8))
    assert seen.words[0].without is None and seen.words[0].difference is None and seen.long == ()


def test_a_look_is_checked_and_can_be_stopped(engine):
    with pytest.raises(PromptError):
        engine.insight(GenerateRequest(" ", 1, 5))
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        engine.insight(GenerateRequest("a cat", 1, 5), stop)


def test_the_nearest_drawings_are_told_with_their_distances(engine, monkeypatch):
    request = GenerateRequest("a cat", 1, 5)
    vector = picture_of(engine, request).vector
    assert abs(np.linalg.norm(vector) - 1) < 1e-4
    drawings = [Reference(label, "flat", "a set", "MIT") for label in ("far", "near", "middle")]
    pictures = Packed.of([picture_of(engine, request).image.resize((16, 16))] * 3)
    other = np.roll(vector, 1)
    known = ReferenceSet.build(drawings, pictures, np.stack([-vector, vector, vector + other]), "")
    monkeypatch.setattr(engine.wait(), "reference", known)
    nearest = engine.insight(request).nearest
    assert [known.drawings[row].label for row, _ in nearest] == ["near", "middle", "far"]
    distances = [distance for _, distance in nearest]
    assert distances[0] == pytest.approx(0, abs=0.01) and distances[2] == pytest.approx(2, abs=0.01)
