"""The adversary of stage 3, and a student that starts from an older one."""

from __future__ import annotations

import shutil

import pytest
import torch
import torch.nn.functional as F

from dalle.config import CheckpointError
from dalle.prior import FlowMapPrior, FlowPrior, with_refiner
from tests.dalle.test_sampling import features
from tests.train.test_distill import distilled  # noqa: F401  (a fixture)
from tests.train.test_training import TINY, log_of, run, stages  # noqa: F401  (a fixture)
from train.checkpoint import STATE_FILE, load_state
from train.distill import carried
from train.latent_adversary import SIDE, LatentAdversary, LatentDiscriminator, Seen, TeacherEyes, scaled_to
from train.prior import load_prior

TRUNK = {"width": 32, "depth": 4, "heads": 2, "null_tokens": 22}


def flow(seed: int, patch: int = 4, refiner_depth: int = 0) -> FlowPrior:
    """A flow prior whose every weight is random: a fresh one predicts zero."""
    torch.manual_seed(seed)
    prior = FlowPrior(**TRUNK, patch=patch, refiner_width=16, refiner_depth=refiner_depth)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return prior.eval().requires_grad_(False)


@pytest.fixture(params=[2, 4], ids=["patch2", "patch4"])
def adversary(request) -> LatentAdversary:
    eyes = TeacherEyes(flow(0, request.param))
    torch.manual_seed(1)
    return LatentAdversary(eyes, LatentDiscriminator(8, 16, eyes.width, width=16))


def glimpse(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(count, 8, 16, 16, generator=generator)
    return latents, *LatentAdversary.glimpse(latents, generator)


@torch.no_grad()
def test_the_eyes_see_the_latent_what_the_teacher_expects_and_its_states(adversary):
    latents, t, noise = glimpse(3)
    text = features(3, 5)
    seen = adversary.eyes(latents, text, t, noise)
    z, expected, rest = seen.fields.chunk(3, dim=1)
    t4 = t[:, None, None, None]
    torch.testing.assert_close(z, (1 - t4) * latents + t4 * noise)
    torch.testing.assert_close(expected, z - t4 * adversary.eyes.teacher(z, t, text))
    torch.testing.assert_close(rest, z - expected)
    assert seen.states.shape == (3, 2 * TRUNK["width"], SIDE, SIDE)
    # The states tell of the text, and a row of nothing but itself.
    other = adversary.eyes(latents, text[torch.tensor([1, 2, 0])], t, noise)
    assert (other.states - seen.states).abs().max() > 1e-3
    alone = adversary.eyes(latents[1:2], text[1:2], t[1:2], noise[1:2])
    torch.testing.assert_close(alone.states, seen.states[1:2], atol=1e-4, rtol=1e-4)
    assert adversary.discriminator(seen).shape == (3, 1, SIDE, SIDE)


def test_the_push_is_the_slope_of_the_loss_and_leaves_no_gradients(adversary):
    velocity, t, noise = glimpse(4)
    text, z, start = features(4, 5), torch.randn(4, 8, 16, 16), torch.tensor([1.0, 0.7, 0.5, 0.3])
    push, seen, loss = adversary.push(velocity, z, start, text, t, noise)
    drawn = z - start[:, None, None, None] * velocity
    torch.testing.assert_close(seen.fields, adversary.eyes(drawn, text, t, noise).fields)
    assert not push.requires_grad and not seen.fields.requires_grad and not seen.states.requires_grad
    assert all(p.grad is None for p in (*adversary.discriminator.parameters(), *adversary.eyes.teacher.parameters()))
    # Against the push what is drawn looks more like a drawing.
    step = -1e-2 * push / push.norm()
    after = adversary.push(velocity + step, z, start, text, t, noise)[2]
    assert after < loss
    assert float(after - loss) == pytest.approx(float((push * step).sum()), rel=0.1)


def test_the_discriminator_learns_fakes_and_wrong_texts(adversary):
    real, t, noise = glimpse(16)
    text = features(16, 5)
    fake = F.avg_pool2d(real, 3, 1, 1)
    optimizer = torch.optim.AdamW(adversary.discriminator.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(3)
    first = last = None
    for _ in range(120):
        seen_real, wrong = adversary.look(real, text, t, noise)
        _, seen_fake, _ = adversary.push(-fake, torch.zeros_like(fake), torch.ones(16), text, t, noise)
        loss, parts = adversary.loss(seen_real, wrong, seen_fake, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first, last = first or parts, parts
    assert last["d_game"] < 0.7 * first["d_game"]
    assert last["d_real"] > last["d_fake"] + 0.5 and last["d_real"] > last["d_wrong"] + 0.5


def test_wrong_texts_are_never_a_row_s_own(adversary):
    for count in (2, 3, 8):
        real, t, noise = glimpse(count)
        seen, wrong = adversary.look(real, features(count, 5), t, noise)
        torch.testing.assert_close(wrong.fields[:, :8], seen.fields[:, :8])  # the same drawings at the same noise
        assert ((wrong.states - seen.states).abs().flatten(1).max(1).values > 1e-3).all()


def test_half_of_the_glimpses_are_through_much_noise():
    t, noise = LatentAdversary.glimpse(torch.zeros(400, 8, 16, 16), torch.Generator().manual_seed(0))
    assert noise.shape == (400, 8, 16, 16) and float(t.min()) >= 0.02 and float(t.max()) <= 0.95
    assert float((t > 0.5).float().mean()) == pytest.approx(0.5)


def test_the_penalty_is_the_squared_slope(adversary):
    seen = Seen(torch.randn(4, 24, 16, 16), torch.randn(4, adversary.eyes.width, SIDE, SIDE))

    class Plane(torch.nn.Module):
        def forward(self, seen: Seen) -> torch.Tensor:
            return 3 * seen.fields[:, :1, :SIDE, :SIDE] + 4 * seen.states[:, :1]

    adversary.parallel = Plane()
    many = Seen(seen.fields.repeat(100, 1, 1, 1), seen.states.repeat(100, 1, 1, 1))
    loss, parts = adversary.loss(many, many, many, torch.Generator().manual_seed(0))
    assert float(parts["d_slope"]) == pytest.approx(3**2 + 4**2, rel=0.05)
    assert float(loss - parts["d_game"]) == pytest.approx(adversary.penalty * float(parts["d_slope"]), rel=1e-3)


def test_a_push_is_brought_to_the_size_of_its_reference():
    push, reference = torch.randn(3, 8), 5 * torch.randn(3, 8)
    push = push / push.norm(dim=1, keepdim=True)
    scaled = scaled_to(push, reference, 0.5)
    assert float(scaled.norm() / reference.norm()) == pytest.approx(0.5)
    torch.testing.assert_close(scaled / scaled.norm(), push / push.norm())
    assert not scaled_to(torch.zeros(3, 8), reference, 1.0).any()
    # One row does not take all of it.
    push[0] *= 1000
    norms = scaled_to(push, reference, 0.5).norm(dim=1)
    assert float(norms[0] / norms.median()) == pytest.approx(2)


def student_of(teacher: FlowPrior) -> FlowMapPrior:
    student = FlowMapPrior.from_flow(teacher)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return student


def test_what_was_learnt_is_carried_to_a_teacher_trained_further():
    old, new = flow(4, refiner_depth=1), flow(5, refiner_depth=1)
    student = student_of(old)
    again = carried(old, old, student).state_dict()
    for name, value in student.state_dict().items():
        torch.testing.assert_close(again[name], value)
    found, before, after = carried(new, old, student).state_dict(), old.state_dict(), student.state_dict()
    for name, value in new.state_dict().items():
        torch.testing.assert_close(found[name], value + after[name] - before[name])
    assert torch.equal(found["trunk.guidance.0.weight"], after["trunk.guidance.0.weight"])


def test_a_flow_map_that_was_turned_back_into_a_flow_is_carried_to_itself():
    student = student_of(flow(4, refiner_depth=1))
    held = student.to_flow()
    again = carried(held, held, student).state_dict()
    for name, value in student.state_dict().items():
        torch.testing.assert_close(again[name], value)


def test_a_refiner_that_the_old_ones_had_not_is_the_new_teacher_s():
    old = flow(4)
    new = with_refiner(flow(5), 16, 1)
    with torch.no_grad():
        new.trunk.refiner.end.weight.normal_()
    student = student_of(old)
    found = carried(new, old, student).state_dict()
    assert torch.equal(found["trunk.refiner.end.weight"], new.state_dict()["trunk.refiner.end.weight"])
    assert not torch.equal(found["trunk.embed.weight"], new.state_dict()["trunk.embed.weight"])


def test_another_shape_can_not_be_carried():
    for other in (flow(5, patch=2), FlowPrior(**TRUNK | {"depth": 3})):
        wrong = ((other, student_of(other)), (flow(5), student_of(other)), (other, student_of(flow(5))))
        for three in ((flow(4), *old) for old in wrong):
            with pytest.raises(CheckpointError, match="--carry"):
                carried(*three)


@pytest.fixture(scope="module")
def played(distilled):  # noqa: F811
    """A run with an adversary, beside the plain one."""
    given = [*distilled.common, "--batch-size", 12, "--adversarial", 0.5]
    assert run(*given, "--run-folder", distilled.root / "played", "--steps", 4) == 0
    return given


def test_a_run_with_an_adversary_goes_on_with_the_same_discriminator(played, distilled):  # noqa: F811
    root = distilled.root
    shutil.copytree(root / "played", root / "on")
    before, _ = load_state(root / "on" / STATE_FILE)
    assert any(name.startswith("module/discriminator/") for name in before)
    assert run(*played, "--run-folder", root / "on", "--steps", 4, "--resume") == 0  # nothing is left to do
    after, _ = load_state(root / "on" / STATE_FILE)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert run(*played, "--run-folder", root / "on", "--steps", 6, "--resume") == 0
    after, _ = load_state(root / "on" / STATE_FILE)
    names = [name for name in before if name.startswith(("module/discriminator/", "optimizer/discriminator/"))]
    assert all(not torch.equal(before[name], after[name]) for name in names if name.endswith(("weight", "exp_avg", "step")))
    assert all("g_game" in row for row in log_of(root / "on") if "alpha" in row)


def test_a_run_without_an_adversary_does_not_get_one_later(distilled, played, capsys):  # noqa: F811
    shutil.copytree(distilled.root / "run", distilled.root / "late")
    assert run(*played, "--run-folder", distilled.root / "late", "--steps", 8, "--resume") == 1
    assert "resume with the run's own options" in capsys.readouterr().err


def test_the_adversary_waits_at_first_and_then_pulls(played, distilled):  # noqa: F811
    root = distilled.root
    plain = played[: played.index("--adversarial")]
    for name, given in (("plain", plain), ("waiting", played)):
        assert run(*given, "--run-folder", root / f"{name}-1", "--steps", 1) == 0
        assert run(*given, "--run-folder", root / f"{name}-6", "--steps", 6) == 0

    def weights(name: str) -> dict[str, torch.Tensor]:
        return load_prior(FlowMapPrior, root / name / "prior").state_dict()

    one, other = weights("plain-1"), weights("waiting-1")
    assert all(torch.equal(one[name], other[name]) for name in one)
    one, other = weights("plain-6"), weights("waiting-6")
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_a_student_is_carried_by_the_command_line(distilled, stages, capsys):  # noqa: F811
    root = distilled.root
    old = ["--carry", stages / "flow" / "prior", root / "run" / "prior"]
    assert run(*distilled.common, *old, "--run-folder", root / "carried", "--steps", 1) == 0
    assert [row["alpha"] for row in log_of(root / "carried") if "alpha" in row] == [0.25]  # it is a flow map already
    student, found = (load_prior(FlowMapPrior, root / name / "prior").state_dict() for name in ("run", "carried"))
    fresh = load_prior(FlowPrior, stages / "flow" / "prior").state_dict()

    def distance(to: dict[str, torch.Tensor]) -> float:
        return sum(float((found[name] - to[name]).pow(2).sum()) for name in fresh)

    assert distance(student) < distance(fresh)
    assert run(*distilled.common, *old, "--init", root / "run" / "prior", "--run-folder", root / "both", "--steps", 1) == 1
    assert "--carry" in capsys.readouterr().err
    for value in (-1, 11, "nan"):
        assert run(*distilled.common, "--adversarial", value, "--run-folder", root / "far", "--steps", 1) == 1
        assert "--adversarial" in capsys.readouterr().err
    given = [*distilled.common[:-1], distilled.common[-1], "--batch-size", 1, "--adversarial", 1]
    assert run(*given, "--run-folder", root / "one", "--steps", 1) == 1
    assert "at least 2" in capsys.readouterr().err
