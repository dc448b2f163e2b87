"""Stage 3: the target, its times, and the stage as a whole at the tiny preset."""

from __future__ import annotations

import shutil
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from dalle.config import MAX_GUIDANCE, CheckpointError
from dalle.engine import Engine
from dalle.prior import FlowMapPrior, FlowPrior
from dalle.requests import GenerateRequest, Picture
from dalle.sampling import guided, times
from tests.dalle.test_sampling import features
from tests.train.test_training import TINY, log_of, run, stages  # noqa: F401  (a fixture)
from train.distill import STEP_COUNTS, Segments, alpha_at, draw_segments, flow_map_target
from train.prior import load_flow, load_prior


def segments(count: int, t: float = 0.8, r: float = 0.3) -> Segments:
    return Segments(torch.full((count,), t), torch.full((count,), r), torch.linspace(1, 6, count))


def test_segments_are_those_that_sampling_asks_for():
    found = draw_segments(4000, torch.Generator().manual_seed(0))
    ends = {round(r, 5) for number in STEP_COUNTS for r in times(number)}
    assert {round(float(r), 5) for r in found.r} <= ends
    assert ((found.t > found.r) & (found.t <= 1) & (found.r >= 0)).all()
    assert ((found.guidance >= 0) & (found.guidance <= MAX_GUIDANCE)).all()
    assert 0.3 < float(((found.t == 1) & (found.r == 0)).float().mean() / STEP_COUNTS[1]) < 0.7  # half of them whole
    again = draw_segments(4000, torch.Generator().manual_seed(0))
    assert torch.equal(found.t, again.t)


def test_alpha_falls_from_the_teacher_s_share_to_the_last():
    values = [alpha_at(place / 20) for place in range(21)]
    assert values[0] == 1 and values[-1] == pytest.approx(0.1)
    assert all(a >= b for a, b in pairwise(values))


@torch.no_grad()
def test_the_target_with_all_of_the_segment_is_the_guided_velocity(tiny_pipeline):
    teacher, text, z = tiny_pipeline.prior, features(3, 5), torch.randn(3, 8, 16, 16)
    parts = segments(3)
    target = flow_map_target(teacher, None, z, parts, text, 1.0)
    for row in range(3):
        velocity = guided(teacher, text[row : row + 1], float(parts.guidance[row]))
        torch.testing.assert_close(target[row : row + 1], velocity(z[row : row + 1], 0.8, 0.3), atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_the_target_follows_its_formula(tiny_pipeline):
    teacher, text, z = tiny_pipeline.prior, features(2, 5), torch.randn(2, 8, 16, 16)
    parts, alpha = segments(2), 0.4
    student = FlowMapPrior.from_flow(teacher)
    v = flow_map_target(teacher, None, z, parts, text, 1.0)
    d = alpha * 0.5
    onwards = student(z - d * v, torch.full((2,), 0.8 - d), parts.r, text, parts.guidance)
    expected = (d * v + (0.8 - d - 0.3) * onwards) / 0.5
    torch.testing.assert_close(flow_map_target(teacher, student, z, parts, text, alpha), expected, atol=1e-4, rtol=1e-4)


def test_the_exact_average_velocity_is_a_fixed_point():
    """For dz/dt = z the average velocity is known: the target of the exact map is the map itself, as the teacher's step shrinks."""
    z, parts = torch.randn(1, 8, 16, 16), segments(1)

    def teacher(z, t, text, drop):
        return z  # with text and without alike

    def exact(z, t, r, text, weight):
        gap = (t - r).view(-1, 1, 1, 1)
        return z * (1 - torch.exp(-gap)) / gap

    found = [flow_map_target(teacher, exact, z, parts, features(1, 3), alpha) for alpha in (0.2, 0.02)]
    wanted = exact(z, parts.t, parts.r, None, None)
    errors = [float((target - wanted).abs().max()) for target in found]
    assert errors[1] < errors[0] / 5 and errors[1] < 5e-3


@pytest.fixture(scope="module")
def distilled(stages, store_folder, tmp_path_factory):  # noqa: F811
    root = tmp_path_factory.mktemp("distilled")
    common = [
        "distill", *TINY, "--data", store_folder, "--vae", stages / "vae" / "vae", "--teacher", stages / "flow" / "prior",
        "--batch-size", 4, "--cache", 16, "--latents", stages / "flow" / "latents", "--sample-steps", 3,
    ]  # fmt: skip
    assert run(*common, "--run-folder", root / "run", "--steps", 6) == 0
    return SimpleNamespace(root=root, common=common)


def test_it_trains_and_draws_in_few_steps(distilled, stages, store_folder, capsys):  # noqa: F811
    rows = log_of(distilled.root / "run")
    alphas = [row["alpha"] for row in rows if "alpha" in row]
    assert alphas[0] == 1 and alphas[-1] < 0.3
    assert [row["step"] for row in rows if {"val_distance_1", "val_distance_2", "val_distance_4"} <= row.keys()] == [3, 6, 6]
    parts = ["--vae", stages / "vae" / "vae", "--prior", distilled.root / "run" / "prior", "--data", store_folder]
    out = distilled.root / "checkpoint"
    assert run("assemble", *parts, "--teachers", stages / "flow" / "prior", "--out", out) == 0
    card = (out / "README.md").read_text()
    assert "distilled from a flow" in card
    # Its parts can be put together anew, with other ones that were trained on from them; the runs before are still told.
    parts = ["--vae", out / "vae", "--prior", out / "prior", "--teachers", "--data", store_folder, "--before", out]
    assert run("assemble", *parts, "--out", distilled.root / "again") == 0
    story = [line for line in card.splitlines() if line.startswith("| run ")]
    assert story and set(story) <= set((distilled.root / "again" / "README.md").read_text().splitlines())
    assert run("assemble", *parts, "--before", distilled.root, "--out", distilled.root / "again") == 1
    assert "tells of no training" in capsys.readouterr().err
    # What was put together can be distilled further.
    given = list(distilled.common)
    given[given.index("--teacher") + 1] = out / "prior"
    assert run(*given, "--run-folder", distilled.root / "refused", "--steps", 1) == 1  # it is no flow
    engine = Engine(str(out), "cpu")
    engine.load()
    items = list(engine.generate(GenerateRequest("a ball", 1, 1)))
    assert len(items) == engine.default_steps[0] + 1 and isinstance(items[-1], Picture)
    assert engine.wait().prior.kind == "flowmap"


def test_the_same_run_again_gives_the_same_weights_and_not_the_teacher_s(distilled):
    root = distilled.root
    assert run(*distilled.common, "--run-folder", root / "again", "--steps", 6) == 0
    a = FlowMapPrior.from_pretrained(root / "run" / "prior").state_dict()
    b = FlowMapPrior.from_pretrained(root / "again" / "prior").state_dict()
    teacher = FlowPrior.from_pretrained(distilled.common[distilled.common.index("--teacher") + 1]).state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert teacher.keys() < a.keys()
    moved = {name for name, value in teacher.items() if not torch.equal(a[name], value)}
    assert {name for name in teacher if ".blocks." in name and name.endswith("weight")} <= moved


def test_a_run_goes_on_where_it_stopped(distilled):
    root = distilled.root
    shutil.copytree(root / "run", root / "longer")
    assert run(*distilled.common, "--run-folder", root / "longer", "--steps", 8, "--resume") == 0
    steps = [row["step"] for row in log_of(root / "longer") if "alpha" in row]
    assert steps == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("option", ["--first-alpha", "--last-alpha"])
@pytest.mark.parametrize("alpha", [0, -0.1, 1.5])
def test_the_teacher_s_shares_are_checked(distilled, tmp_path, option, alpha, capsys):
    assert run(*distilled.common, "--run-folder", tmp_path / "run", "--steps", 2, option, alpha) == 1
    assert option in capsys.readouterr().err


def test_a_teacher_of_another_latent_space_is_refused(distilled, stages, store_folder, tmp_path, capsys):  # noqa: F811
    shutil.copytree(stages / "flow" / "prior", tmp_path / "other")
    (tmp_path / "other" / "trained_with.json").write_text('{"latent_space": "elsewhere", "text_encoder": "minilm"}')
    given = list(distilled.common)
    given[given.index("--teacher") + 1] = tmp_path / "other"
    assert run(*given, "--run-folder", tmp_path / "run", "--steps", 2) == 1
    assert "elsewhere" in capsys.readouterr().err
    given[given.index("--teacher") + 1] = tmp_path / "nothing"
    assert run(*given, "--run-folder", tmp_path / "run", "--steps", 2) == 1
    assert "python -m train prior" in capsys.readouterr().err


def test_a_flow_is_loaded_from_either_kind(distilled, stages, tmp_path):  # noqa: F811
    plain = load_flow(stages / "flow" / "prior")
    assert isinstance(plain, FlowPrior)
    found = load_flow(distilled.root / "run" / "prior")
    assert isinstance(found, FlowPrior)
    held = load_prior(FlowMapPrior, distilled.root / "run" / "prior").to_flow()
    for name, value in held.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value)
    with pytest.raises(CheckpointError, match="config"):
        load_flow(tmp_path)


def test_only_the_kind_that_is_wanted_is_loaded(stages, tmp_path):  # noqa: F811
    with pytest.raises(CheckpointError, match="FlowMapPrior is wanted"):
        load_prior(FlowMapPrior, stages / "flow" / "prior")
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        load_prior(FlowMapPrior, tmp_path)
