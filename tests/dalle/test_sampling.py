import math
from itertools import chain, pairwise

import pytest
import torch

from dalle.interpolation import Route, mix_noise, mix_text, slerp
from dalle.prior import GaussianPrior, rotary_table, rotate
from dalle.sampling import draw_noise, euler_steps, guided, times
from dalle.text import TextFeatures


def features(batch: int, length: int, seed: int = 0) -> TextFeatures:
    g = torch.Generator().manual_seed(seed)
    pooled = torch.nn.functional.normalize(torch.randn(batch, 384, generator=g), dim=-1)
    return TextFeatures(torch.randn(batch, length, 384, generator=g), torch.zeros(batch, length), pooled)


def test_times_run_from_noise_to_data():
    assert times(4, shift=1.0) == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert times(4, shift=3.0) == pytest.approx([1.0, 0.9, 0.75, 0.5, 0.0])
    for steps in (1, 7, 100):
        grid = times(steps)
        assert len(grid) == steps + 1 and grid[0] == 1 and grid[-1] == 0
        assert all(a > b for a, b in pairwise(grid))


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_euler_is_exact_on_a_straight_path(steps):
    """If every trajectory is a straight line to one point, any number of steps lands on it."""
    target, noise = torch.randn(2, 8, 16, 16), torch.randn(2, 8, 16, 16)
    found = list(euler_steps(lambda z, t, r: (z - target) / t, noise, steps))
    assert len(found) == steps
    torch.testing.assert_close(found[-1], target, atol=1e-4, rtol=1e-4)


def test_guidance_follows_its_formula_inside_its_interval_only(monkeypatch):
    monkeypatch.setattr("dalle.sampling.GUIDANCE_INTERVAL", 0.7)
    calls = []

    def network(z, t, text, drop=None):
        calls.append(len(z))
        return z * 0 + (1.0 if drop is None else torch.where(drop, 2.0, 3.0)[:, None, None, None])

    z = torch.zeros(2, 8, 16, 16)
    velocity = guided(network, features(2, 3), 4.0)
    assert velocity(z, 0.5, 0.4).unique().tolist() == [2 + 4 * (3 - 2)]
    assert velocity(z, 0.9, 0.8).unique().tolist() == [1.0]
    assert calls == [4, 2]
    calls.clear()
    guided(network, features(2, 3), 1.0)(z, 0.5, 0.4)
    assert calls == [2]


def test_one_generator_a_picture():
    together = draw_noise([torch.Generator().manual_seed(s) for s in (3, 4, 5)])
    alone = draw_noise([torch.Generator().manual_seed(4)])
    assert torch.equal(together[1], alone[0])
    assert not torch.equal(together[0], together[1])


def test_noise_is_the_same_while_another_model_is_opened():
    usual = draw_noise([torch.Generator().manual_seed(4)])
    torch.set_default_dtype(torch.bfloat16)  # as libraries do meanwhile
    try:
        found = draw_noise([torch.Generator().manual_seed(4)])
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == torch.float32 and found.equal(usual)


def test_rotary_embedding_keeps_length_and_sees_only_differences():
    table = rotary_table(8, 32)
    x = torch.randn(1, 1, 1, 32).expand(1, 1, 64, 32)
    turned = rotate(x, table)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    scores = (turned @ turned.transpose(-1, -2))[0, 0].view(8, 8, 8, 8)
    torch.testing.assert_close(scores[0, 0, 2, 3], scores[4, 3, 6, 6], atol=1e-4, rtol=1e-4)


def test_prior_ignores_padding_and_sees_text(tiny_pipeline):
    prior = tiny_pipeline.prior
    text = features(2, 5)
    padded = TextFeatures(
        torch.cat([text.tokens, torch.full((2, 3, 384), 7.0)], 1),
        torch.cat([text.bias, torch.full((2, 3), -torch.inf)], 1),
        text.pooled,
    )
    z, t = torch.randn(2, 8, 16, 16), torch.tensor([0.2, 0.8])
    with torch.no_grad():
        torch.testing.assert_close(prior(z, t, text), prior(z, t, padded), atol=1e-5, rtol=1e-4)
        assert not torch.allclose(prior(z, t, text), prior(z, t, features(2, 5, seed=1)), atol=1e-4)


def test_dropped_rows_forget_their_text(tiny_pipeline):
    prior = tiny_pipeline.prior
    z, t = torch.randn(1, 8, 16, 16).expand(2, -1, -1, -1), torch.tensor([0.5, 0.5])
    with torch.no_grad():
        v = prior(z, t, features(2, 5), torch.tensor([True, True]))
    torch.testing.assert_close(v[0], v[1], atol=1e-5, rtol=1e-4)


def test_batch_equals_loop(tiny_pipeline):
    prior = tiny_pipeline.prior
    z, t, text = torch.randn(3, 8, 16, 16), torch.rand(3), features(3, 6)
    with torch.no_grad():
        together = prior(z, t, text)
        for row in range(3):
            alone = prior(z[row : row + 1], t[row : row + 1], text[slice(row, row + 1)])
            torch.testing.assert_close(alone[0], together[row], atol=1e-4, rtol=1e-4)


def test_gaussian_prior_is_the_same_interface():
    torch.manual_seed(0)
    prior = GaussianPrior(width=64, depth=1, heads=2).eval()
    text, noise = features(2, 4), torch.randn(2, 8, 16, 16)
    with torch.no_grad():
        mean, logvar = prior(text)
        (sample,) = prior.trajectory(noise, text, 12, 3.0)
    torch.testing.assert_close(sample, mean + (0.5 * logvar).exp() * noise)


# Interpolation


def test_slerp_ends_norm_and_near_parallel():
    a, b = torch.randn(4, 384), torch.randn(4, 384)
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)
    unit = [torch.nn.functional.normalize(x, dim=-1) for x in (a, b)]
    middle = slerp(*unit, 0.5)
    torch.testing.assert_close(middle.norm(dim=-1), torch.ones(4))
    near = slerp(unit[0], unit[0] * (1 + 1e-7), 0.3)
    torch.testing.assert_close(near, unit[0])


def test_slerp_turns_evenly():
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    angles = [math.atan2(*slerp(a, b, p)[0].flip(0).tolist()) for p in (0.0, 0.25, 0.5, 0.75, 1.0)]
    gaps = [y - x for x, y in pairwise(angles)]
    assert all(abs(gap - math.pi / 8) < 1e-5 for gap in gaps)


def test_noise_mixture_keeps_unit_variance_and_ends():
    a, b = (draw_noise([torch.Generator().manual_seed(s)]) for s in (1, 2))
    torch.testing.assert_close(mix_noise([a, b], (1.0, 0.0)), a)
    assert abs(float(mix_noise([a, b], (0.5, 0.5)).std()) - 1) < 0.03
    torch.testing.assert_close(mix_noise([a, a], (0.3, 0.7)), a, atol=1e-5, rtol=1e-5)


def test_text_mixture_ends_at_the_prompts_and_keeps_a_prompt(tiny_pipeline):
    prior = tiny_pipeline.prior
    a, b = features(1, 4, seed=1), features(1, 7, seed=2)
    z, t = torch.randn(1, 8, 16, 16), torch.tensor([0.5])
    with torch.no_grad():
        for weights, end in (((1.0, 0.0), a), ((0.0, 1.0), b)):
            torch.testing.assert_close(prior(z, t, mix_text([a, b], weights)), prior(z, t, end), atol=1e-4, rtol=1e-3)
        same = prior(z, t, mix_text([a, a], (0.5, 0.5)))
        torch.testing.assert_close(same, prior(z, t, a), atol=1e-4, rtol=1e-3)
        middle = prior(z, t, mix_text([a, b], (0.5, 0.5)))
    assert not torch.allclose(middle, prior(z, t, a), atol=1e-4)


@pytest.mark.parametrize("frames", [2, 5, 17, 33, 40])
def test_coarse_to_fine_visits_each_frame_once(frames):
    order = list(chain.from_iterable(Route((frames - 1,)).levels()))
    assert sorted(order) == list(range(frames))
    assert set(order[:2]) == {0, frames - 1}


def test_coarse_to_fine_is_complete_at_each_level():
    order = list(chain.from_iterable(Route((32,)).levels()))
    for count in (5, 9, 17):
        assert sorted(order[:count]) == list(range(0, 33, 32 // (count - 1)))
