"""Stage 3, `python -m train distill`: the flow prior as a flow map, so that a few steps, or one, draw what took many.

The student predicts the average velocity u(z_t, t, r) of the *guided* flow, with the guidance weight as an input. Its target
joins a short step of the frozen, guided teacher with the student's own map over the rest (Lee et al. 2025, arXiv:2510.24474;
consistency in the discrete form of Song et al. 2023, arXiv:2303.01469):

    v  = v_u + w (v_c - v_u),   d = alpha (t - r)
    u* = [d v + (t - d - r) sg u(z_t - d v; t - d -> r)] / (t - r)

With alpha = 1 that is the teacher's velocity; alpha falls, so that more and more comes from the student. The times are those
that sampling asks for: a number of steps is drawn, then one of its segments, then a place within it.

Where a segment ends in a drawing (r = 0) an adversary may pull it towards real ones (`train.latent_adversary`), so that the map
is not bound to be as blurred as its teacher.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dalle.config import DEFAULT_GUIDANCE, MAX_GUIDANCE, CheckpointError, SettingError
from dalle.hub import WEIGHTS
from dalle.prior import PRIOR_SETTINGS, FlowMapPrior, FlowPrior, with_refiner
from dalle.sampling import times
from dalle.text import TextFeatures
from train.latent_adversary import LatentAdversary, LatentDiscriminator, TeacherEyes, scaled_to
from train.latents import LatentBatch, check_trained_with
from train.loop import Loop, step_generator
from train.prior import LatentTask, Material, add_latent_arguments, gather_latents, load_flow, load_prior

STEP_COUNTS = {1: 0.35, 2: 0.25, 4: 0.2, 8: 0.1, 16: 0.1}
"""How often a training pair comes from a trajectory of so many steps."""
LEAST_TIME = 0.25
"""The adversary looks at what is drawn from times of at least this; below, the drawing is there already."""
GUIDANCE_JUDGED = (1.0, 5.0)
"""And at these weights only: what a strong guidance exaggerates would give every one of its drawings away."""
MEASURED_STEPS = (1, 2, 4)
"""Few steps whose distance to the teacher is logged."""


@dataclass
class Segments:
    """Times t (B,), where the step ends r (B,), and guidance weights (B,)."""

    t: Tensor
    r: Tensor
    guidance: Tensor


def draw_segments(count: int, generator: torch.Generator) -> Segments:
    """Segments of the trajectories that sampling takes; half of them whole, from the others a part up to their end.

    Half of the guidance weights lie around the default, the others anywhere in the range that is allowed.
    """
    steps = torch.tensor(list(STEP_COUNTS))[
        torch.multinomial(torch.tensor(list(STEP_COUNTS.values())), count, replacement=True, generator=generator)
    ]
    place = (torch.rand(count, generator=generator) * steps).long()
    grids = {number: torch.tensor(times(number)) for number in STEP_COUNTS}
    start = torch.stack([grids[int(n)][p] for n, p in zip(steps, place, strict=True)])
    end = torch.stack([grids[int(n)][p + 1] for n, p in zip(steps, place, strict=True)])
    inside = torch.where(torch.rand(count, generator=generator) < 0.5, 0.0, torch.rand(count, generator=generator))
    wide = MAX_GUIDANCE * torch.rand(count, generator=generator)
    near = DEFAULT_GUIDANCE + 2 * (2 * torch.rand(count, generator=generator) - 1)
    weight = torch.where(torch.rand(count, generator=generator) < 0.5, wide, near)
    return Segments((start - inside * (start - end)).float(), end.float(), weight)


@torch.no_grad()
def flow_map_target(
    teacher: nn.Module, student: nn.Module, z: Tensor, segments: Segments, text: TextFeatures, alpha: float
) -> Tensor:
    """u* of the module's docstring: (B, C, S, S)."""
    t, r, weight = segments.t, segments.r, segments.guidance
    count = len(z)
    drop = torch.tensor([False, True], device=z.device).repeat(count)
    both = teacher(z.repeat_interleave(2, dim=0), t.repeat_interleave(2), text.repeat(2), drop).float()
    with_text, without = both[0::2], both[1::2]
    v = without + weight[:, None, None, None] * (with_text - without)
    d = alpha * (t - r)
    if alpha >= 1:
        return v
    onwards = student(z - d[:, None, None, None] * v, t - d, r, text, weight).float()
    return alpha * v + (1 - alpha) * onwards  # d / (t - r) = alpha


def alpha_at(progress: float, first: float = 1.0, last: float = 0.1) -> float:
    """The share of a segment that the teacher takes: even at first, then falling geometrically until three quarters of the run.

    A student that is a flow map already has to start low: with 1 its target is the teacher's velocity at the segment's start, and
    it would unlearn the average.
    """
    return first * (last / first) ** min(1.0, max(0.0, (progress - 0.05) / 0.7))


def carried(teacher: FlowPrior, old_teacher: FlowPrior, old_student: FlowMapPrior) -> FlowMapPrior:
    """A student for a teacher that was trained further: what distilling once changed in the old weights, added to the new ones.

    Task arithmetic (Ilharco et al. 2023, arXiv:2212.04089). With the old teacher it is the old student again. A refiner that the
    old ones had not is the new teacher's.

    Raises:
        CheckpointError: the three are not of one shape.
    """
    for name in PRIOR_SETTINGS:
        if not name.startswith("refiner") and not teacher.config[name] == old_teacher.config[name] == old_student.config[name]:
            raise CheckpointError(f"--carry: the teachers and the student must be of one shape, and their {name} differs.")
    made = FlowMapPrior.from_flow(teacher)
    new, before, after = teacher.state_dict(), old_teacher.state_dict(), old_student.state_dict()
    weights = made.state_dict()
    for name in weights.keys() & after.keys():
        if name not in new:  # only flow maps have it
            weights[name] = after[name]
        elif name in before:
            weights[name] = new[name] + after[name] - before[name]
    made.load_state_dict(weights)
    return made


class DistillTask(LatentTask):
    """The student is averaged, sampled and exported; the teacher is frozen."""

    def __init__(
        self,
        material: Material,
        *,
        teacher: FlowPrior,
        init: Path | None = None,
        carry: tuple[Path, Path] | None = None,
        matrix_rate: float = 0.01,
        other_rate: float = 5e-4,
        first_alpha: float | None = None,
        last_alpha: float = 0.1,
        adversarial: float = 0.0,
        adversary_rate: float = 5e-4,
    ) -> None:
        """
        Args:
            init: a student to start from, in place of the teacher's weights.
            carry: an old teacher and its student: what the student learnt is carried over to this teacher. Where this teacher began
                as the flow of a flow map (`load_flow`), both are that flow map.
            first_alpha: by default 1 for a fresh student, and near the last for one that is a flow map already.
            adversarial: the adversary's pull in units of the distillation's own, 0 for none.
        """
        super().__init__(material)
        if first_alpha is None:
            first_alpha = 1.0 if init is None and carry is None else min(1.0, 2.5 * last_alpha)
        self.first_alpha, self.last_alpha, self.adversarial = first_alpha, last_alpha, adversarial
        self.teacher = teacher.to(self.accelerator.device).eval().requires_grad_(False)
        torch.manual_seed(self.config.seed)
        if carry is not None:
            for old in carry:
                check_trained_with(old, self.trained_with)
            student = carried(teacher, load_flow(carry[0]), load_prior(FlowMapPrior, carry[1]))
        else:
            student = load_prior(FlowMapPrior, init) if init else FlowMapPrior.from_flow(teacher)
        if teacher.config.refiner_depth and not student.config.refiner_depth:
            student = with_refiner(student, teacher.config.refiner_width, teacher.config.refiner_depth)
        self.prepare(student.requires_grad_(True), matrix_rate, other_rate)
        if adversarial > 0:
            eyes, settings = TeacherEyes(self.teacher), teacher.config
            network = LatentDiscriminator(settings.latent_channels, settings.latent_size, eyes.width)
            optimizer = torch.optim.AdamW(network.parameters(), lr=adversary_rate, betas=(0.5, 0.95), weight_decay=0.01)
            parallel, optimizer = self.accelerator.prepare(network, optimizer)
            self.modules["discriminator"], self.optimizers["discriminator"] = network, optimizer
            self.adversary = LatentAdversary(eyes, network, parallel)

    def _loss(
        self, batch: LatentBatch, network: nn.Module, generator: torch.Generator, alpha: float, weight: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error of the average velocity relative to its target, a mean, and what the adversary logs.

        With the adversary's `weight` above 0 the loss carries its gradient too, and nothing of its value.
        """
        device = self.accelerator.device
        latents, text = batch.latents.to(device), batch.text.to(device)
        count = len(latents)
        segments = draw_segments(count, generator)
        segments = Segments(*(part.to(device) for part in (segments.t, segments.r, segments.guidance)))
        noise = torch.randn(latents.shape, generator=generator).to(device)
        t4 = segments.t[:, None, None, None]
        z = (1 - t4) * latents + t4 * noise
        with self.accelerator.autocast():
            target = flow_map_target(self.teacher, self.prior, z, segments, text, alpha)
        # A context of its own: autocast may keep the copies of weights that it made without gradients (pytorch #112583).
        with self.accelerator.autocast():
            found = network(z, segments.t, segments.r, text, segments.guidance)
        error = found.float() - target
        # A strong guidance makes large targets and large errors: relative to the target's own size they count alike.
        size = target.pow(2).flatten(1).mean(1) + 0.1
        loss = (error.pow(2).flatten(1).mean(1) / size).mean()
        low, high = GUIDANCE_JUDGED
        if not self.adversarial:
            return loss, {}
        judged = (segments.r == 0) & (segments.t >= LEAST_TIME) & (segments.guidance >= low) & (segments.guidance <= high)
        # Two at least, whatever was drawn: a neighbour is needed, and every process has to take part.
        rows = judged.float().topk(max(2, int(judged.sum()))).indices.sort().values
        velocity = found[rows].float()
        moves = velocity.detach(), z[rows], segments.t[rows]
        push, parts = self._play(latents[rows], moves, text[rows], generator)
        # Gradients at the velocities: the adversary's is brought to the size of the distillation's own, and to less while it can
        # hardly tell drawings from drawn.
        own = (2 * error / size[:, None, None, None] / error.numel()).detach()[rows]
        weight *= float((parts["d_real"] - parts["d_fake"]).clamp(0, 1))
        if weight > 0:
            loss = loss + (scaled_to(push, own, weight) * (velocity - velocity.detach())).sum()
        return loss, parts | {"pull": weight}

    def _play(
        self, real: Tensor, moves: tuple[Tensor, Tensor, Tensor], text: TextFeatures, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """A step of the discriminator; -> what its verdict before that asks of the velocities, and its losses.

        Args:
            moves: velocities, the latents and the times from which they lead to drawings.
        """
        glimpse = self.adversary.glimpse(real, generator)
        with self.accelerator.autocast():
            push, seen_fake, g_game = self.adversary.push(*moves, text, *glimpse)
        with self.accelerator.autocast():
            seen, wrong = self.adversary.look(real, text, *glimpse)
            loss, parts = self.adversary.loss(seen, wrong, seen_fake, generator)
        optimizer = self.optimizers["discriminator"]
        optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        optimizer.step()
        return push, {"g_game": g_game} | parts

    def step(self, step: int, progress: float) -> dict[str, Tensor | float]:
        accelerator, config = self.accelerator, self.config
        index = step * accelerator.num_processes + accelerator.process_index
        generator = step_generator(config.seed, step, accelerator.process_index)
        alpha = alpha_at(progress, self.first_alpha, self.last_alpha)
        # The discriminator learns alone at first, then its part grows.
        weight = self.adversarial * min(1.0, max(0.0, (progress - 0.1) / 0.1))
        loss, parts = self._loss(self.source.batch(index, config.batch_size), self.wrapped, generator, alpha, weight)
        return self.update(loss) | {"alpha": alpha} | parts

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """How far few steps land from the guided teacher's sixteen, as mean squared differences, on held-out captions."""
        batch = self.validation[0]
        device = self.accelerator.device
        count = min(32, len(batch.latents))
        text = batch.text[:count].to(device)
        noise = torch.randn((count, *batch.latents.shape[1:]), generator=step_generator(97, 0)).to(device)
        with self.accelerator.autocast():
            if not hasattr(self, "_wanted"):
                *_, self._wanted = self.teacher.trajectory(noise, text, self.teacher.default_steps, DEFAULT_GUIDANCE)
            found = {}
            for steps in MEASURED_STEPS:
                *_, latents = self.prior.trajectory(noise, text, steps, DEFAULT_GUIDANCE)
                found[f"val_distance_{steps}"] = float((latents - self._wanted).pow(2).mean())
        return found


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m train distill", description=__doc__.splitlines()[0])
    add_latent_arguments(parser, "distill", batch_size=128, sample_steps=200, log_steps=10)
    parser.add_argument("--teacher", type=Path, default=Path("runs/prior/prior"), help="weights of stage 2")
    parser.add_argument("--matrix-rate", type=float, default=0.01, help="learning rate of Muon")
    parser.add_argument("--learning-rate", type=float, default=5e-4, help="learning rate of AdamW")
    first = "share of a step that the teacher takes at first (default: 1, or 2.5 times the last for a student that is a flow map)"
    parser.add_argument("--first-alpha", type=float, help=first)
    parser.add_argument("--last-alpha", type=float, default=0.1, help="share of a step that the teacher takes in the end")
    old = "a teacher before it was trained further, or a flow map if it began as one, and its student: where this one starts"
    parser.add_argument("--carry", type=Path, nargs=2, metavar=("TEACHER", "STUDENT"), help=old)
    parser.add_argument("--adversarial", type=float, default=0.0, help="pull of the adversary; 1: as strong as the distillation")
    parser.add_argument("--adversary-rate", type=float, default=5e-4, help="learning rate of the discriminator")
    arguments = parser.parse_args(argv)
    if arguments.carry and arguments.init:
        raise SettingError("--init and --carry both say where to start: give one of them.")
    if not 0 <= arguments.adversarial <= 10:
        raise SettingError("--adversarial must lie between 0 and 10.")
    if arguments.adversarial and arguments.batch_size < 2:
        raise SettingError("--adversarial wants a --batch-size of at least 2: a drawing with another's text is a part of it.")
    for name in ("first_alpha", "last_alpha"):
        if (value := getattr(arguments, name)) is not None and not 0 < value <= 1:
            raise SettingError(f"--{name.replace('_', '-')} must lie above 0 and be at most 1.")
    if not (arguments.teacher / WEIGHTS).exists():
        raise CheckpointError(f"No flow prior at {arguments.teacher}: run `python -m train prior` first, or name --teacher.")
    teacher = load_prior(FlowPrior, arguments.teacher)
    task = DistillTask(
        gather_latents(arguments, arguments.teacher),
        teacher=teacher,
        init=arguments.init,
        carry=tuple(arguments.carry) if arguments.carry else None,
        adversarial=arguments.adversarial,
        adversary_rate=arguments.adversary_rate,
        matrix_rate=arguments.matrix_rate,
        other_rate=arguments.learning_rate,
        first_alpha=arguments.first_alpha,
        last_alpha=arguments.last_alpha,
    )
    Loop(task, task.config, task.accelerator).fit()
    return 0
