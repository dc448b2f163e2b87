"""The flow map's network, and even pacing."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from dalle.config import PRESETS
from dalle.interpolation import Pace, even_positions, mix_text, pace
from dalle.prior import FlowMapPrior, FlowPrior, build_prior, with_refiner
from dalle.sampling import euler_steps, truncate
from dalle.text import TextFeatures
from tests.dalle.test_sampling import features


@pytest.fixture(scope="module")
def flow_map(tiny_pipeline):
    return FlowMapPrior.from_flow(tiny_pipeline.prior).eval()


@torch.no_grad()
def test_it_begins_as_the_flow_it_was_made_of(tiny_pipeline, flow_map):
    z, t, text = torch.randn(3, 8, 16, 16), torch.tensor([0.2, 0.7, 1.0]), features(3, 5)
    for weight in (1.0, 7.0):
        found = flow_map(z, t, t, text, torch.full((3,), weight))
        torch.testing.assert_close(found, tiny_pipeline.prior(z, t, text))
    assert not torch.allclose(flow_map(z, t, t / 2, text, torch.ones(3)), tiny_pipeline.prior(z, t, text), atol=1e-4)


@torch.no_grad()
def test_the_flow_that_a_map_holds_is_the_map_where_r_is_t(tiny_pipeline):
    acting = FlowMapPrior.from_flow(tiny_pipeline.prior).eval()
    for name, parameter in acting.named_parameters():
        if "guidance" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    z, t, text = torch.randn(3, 8, 16, 16), torch.tensor([0.2, 0.7, 1.0]), features(3, 5)
    held = acting.to_flow().eval()
    torch.testing.assert_close(held(z, t, text), acting(z, t, t, text, torch.ones(3)), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(held(z, t, text), tiny_pipeline.prior(z, t, text), atol=1e-3)  # the guidance's share is in it


# The refiner, which all priors may have


def bent(prior):
    """The prior, with a refiner that does something."""
    torch.nn.init.normal_(prior.trunk.refiner.end.weight, std=0.1, generator=torch.Generator().manual_seed(3))
    return prior.eval()


@torch.no_grad()
def test_a_fresh_refiner_changes_nothing_and_a_trained_one_goes_into_the_flow_map(tmp_path):
    plain = build_prior(dataclasses.replace(PRESETS["tiny"].prior, refiner_depth=0)).eval()
    torch.nn.init.normal_(plain.trunk.out.weight, std=0.1)
    z, t, text = torch.randn(3, 8, 16, 16), torch.tensor([0.2, 0.7, 1.0]), features(3, 5)
    refined = with_refiner(plain, 16, 2).eval()
    assert torch.equal(refined(z, t, text), plain(z, t, text))
    bent(refined)
    found = refined(z, t, text)
    assert not torch.allclose(found, plain(z, t, text), atol=1e-3)
    made = FlowMapPrior.from_flow(refined).eval()
    torch.testing.assert_close(made(z, t, t, text, torch.ones(3)), found)
    made.save_pretrained(tmp_path / "map")
    again = FlowMapPrior.from_pretrained(tmp_path / "map").eval()
    assert (again.config.refiner_width, again.config.refiner_depth) == (16, 2)
    torch.testing.assert_close(again(z, t, t, text, torch.ones(3)), found)


@torch.no_grad()
def test_weights_from_before_the_refiner_load_as_they_are(tmp_path):
    plain = build_prior(dataclasses.replace(PRESETS["tiny"].prior, refiner_depth=0)).eval()
    plain.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for name in ("refiner_width", "refiner_depth"):
        config.pop(name)
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = FlowPrior.from_pretrained(tmp_path).eval()
    assert again.trunk.refiner is None
    z, t, text = torch.randn(2, 8, 16, 16), torch.tensor([0.2, 0.7]), features(2, 5)
    assert torch.equal(again(z, t, text), plain(z, t, text))


@torch.no_grad()
def test_a_flow_map_s_refiner_sees_both_times():
    prior = FlowMapPrior.from_flow(bent(build_prior(dataclasses.replace(PRESETS["tiny"].prior, refiner_depth=1)))).eval()
    told = []
    prior.trunk.refiner.register_forward_pre_hook(lambda module, given: told.append(given[2]))
    z, text, guidance = torch.randn(1, 8, 16, 16), features(1, 5), torch.ones(1)
    for t, r in ((1.0, 0.0), (0.5, 0.0), (1.0, 0.5)):
        prior(z, torch.tensor([t]), torch.tensor([r]), text, guidance)
    first, less_noise, other_end = told
    assert not torch.allclose(first, less_noise, atol=1e-4) and not torch.allclose(first, other_end, atol=1e-4)


def test_the_refiner_sees_the_time_and_its_neighbours():
    prior = bent(build_prior(dataclasses.replace(PRESETS["tiny"].prior, refiner_depth=1)))
    refiner = prior.trunk.refiner
    for modulation in refiner.modulations:
        torch.nn.init.normal_(modulation.weight, std=0.3)
    fields, local = torch.randn(1, 16, 16, 16, requires_grad=True), torch.randn(1, 16, 16, 16)
    found = refiner(fields, local, torch.zeros(1, 64))
    assert not torch.allclose(found, refiner(fields, local, torch.ones(1, 64)), atol=1e-4)
    found[0, :, 3, 4].sum().backward()
    seen = fields.grad.abs().sum((0, 1))
    # Neighbours on both sides of the edges of its patch (2x2 here); a group norm sees everything a little.
    assert seen[3, 3] > 20 * seen[12, 12] and seen[5, 6] > 20 * seen[12, 12]


@torch.no_grad()
def test_the_guidance_weight_is_an_input(tiny_pipeline):
    acting = FlowMapPrior.from_flow(tiny_pipeline.prior).eval()
    acting.trunk.guidance[-1].weight.normal_(0, 0.5)
    z, t, text = torch.randn(1, 8, 16, 16), torch.ones(1), features(1, 5)
    one, other = (acting(z, t, 0 * t, text, torch.tensor([weight])) for weight in (1.0, 5.0))
    assert not torch.allclose(one, other, atol=1e-4)


@torch.no_grad()
def test_a_batch_is_the_rows_alone(flow_map):
    noise, text = torch.randn(3, 8, 16, 16), features(3, 5)
    *_, together = flow_map.trajectory(noise, text, 3, 5.0)
    for row in range(3):
        *_, alone = flow_map.trajectory(noise[row : row + 1], text[row : row + 1], 3, 5.0)
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_one_evaluation_a_step(flow_map, monkeypatch):
    calls = []
    forward = flow_map.forward

    def counted(z, t, r, *rest):
        calls.append([len(z), float(t), float(r)])
        return forward(z, t, r, *rest)

    monkeypatch.setattr(flow_map, "forward", counted)
    assert len(list(flow_map.trajectory(torch.randn(1, 8, 16, 16), features(1, 4), 4, 5.0))) == 4
    expected = [[1, 1.0, 0.9], [1, 0.9, 0.75], [1, 0.75, 0.5], [1, 0.5, 0.0]]
    assert np.allclose(calls, expected)


def test_average_velocities_land_exactly_where_the_flow_does():
    """On a curved path, z(t) = a + b t^2, any number of steps with the average velocity b (t + r) lands on a."""
    a, b = torch.randn(1, 8, 16, 16), torch.randn(1, 8, 16, 16)
    for steps in (1, 2, 5):
        *_, found = euler_steps(lambda z, t, r: b * (t + r), a + b, steps)
        torch.testing.assert_close(found, a, atol=1e-5, rtol=1e-4)
    *_, euler = euler_steps(lambda z, t, r: 2 * b * t, a + b, 2)
    assert not torch.allclose(euler, a, atol=0.1)


def test_truncation_is_a_factor():
    noise = torch.randn(2, 8, 16, 16)
    assert truncate(noise, 1.0) is noise
    torch.testing.assert_close(truncate(noise, 0.5), noise / 2)


def test_every_kind_of_prior_can_be_built():
    import dataclasses

    for kind in ("flow", "flowmap", "gaussian"):
        assert build_prior(dataclasses.replace(PRESETS["tiny"].prior, kind=kind)).kind == kind


@torch.no_grad()
def test_stacked_texts_are_the_texts_alone(tiny_pipeline):
    parts = [features(1, 3), features(2, 7, seed=1), mix_text([features(1, 3), features(1, 4, seed=2)], (0.3, 0.7))]
    stacked = TextFeatures.stack(parts)
    assert len(stacked) == 4 and stacked.tokens.shape[1] == 7
    z, t = torch.randn(4, 8, 16, 16), torch.full((4,), 0.6)
    together = tiny_pipeline.prior(z, t, stacked)
    row = 0
    for part in parts:
        alone = tiny_pipeline.prior(z[row : row + len(part)], t[: len(part)], part)
        torch.testing.assert_close(together[row : row + len(part)], alone, atol=1e-5, rtol=1e-4)
        row += len(part)


# Pacing


def turning(positions: list[float]) -> torch.Tensor:
    """A path that hardly moves but for a sudden turn at .37."""
    s = torch.tensor(positions, dtype=torch.float64)
    return torch.stack([s * 0.2, torch.sigmoid((s - 0.37) * 150)], dim=1).view(-1, 2, 1, 1)


def uneven(positions: list[float]) -> float:
    gaps = (turning(positions)[1:] - turning(positions)[:-1]).flatten(1).norm(dim=1)
    return float(gaps.max() / gaps.median())


def test_even_pacing_spends_its_frames_where_the_picture_changes():
    raw = np.linspace(0, 1, 33).tolist()
    even = pace(turning, 33)
    assert even == sorted(even) and (even[0], even[-1], len(even)) == (0, 1, 33)
    assert uneven(raw) > 50 and uneven(even) < 3


def test_even_pacing_leaves_an_even_path_alone():
    even = pace(lambda positions: torch.tensor(positions).view(-1, 1, 1, 1), 17)
    assert even == pytest.approx(np.linspace(0, 1, 17).tolist(), abs=1e-3)


def test_a_path_that_does_not_move_is_paced_evenly():
    assert even_positions([0, 0.5, 1], [0, 0], 5) == [0, 0.25, 0.5, 0.75, 1]


def test_positions_follow_the_measured_length():
    assert even_positions([0, 0.5, 1], [3, 1], 5) == pytest.approx([0, 1 / 6, 1 / 3, 0.5, 1], abs=2e-3)


def test_frames_that_are_settled_stay_and_the_others_are_even_between():
    found = even_positions([0, 0.5, 1], [3, 1], 9, {4: 0.5})
    assert found == pytest.approx([0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1])
    assert even_positions([0, 0.5, 1], [0, 0], 5, {1: 0.5}) == pytest.approx([0, 0.5, 2 / 3, 5 / 6, 1])


def test_rough_places_of_the_first_frames_leave_the_others_even():
    looked = Pace(turning)
    first = {place: looked.even(33)[place] for place in (8, 16, 24)}
    looked.refine(33)
    even = looked.even(33, first)
    assert even == sorted(even) and (even[0], even[-1], len(set(even))) == (0, 1, 33)
    assert {place: even[place] for place in first} == first
    gaps = (turning(even)[1:] - turning(even)[:-1]).flatten(1).norm(dim=1)
    for section in gaps.split(8):
        assert float(section.max() / section.median()) < 3
