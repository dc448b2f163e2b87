"""The training loop that every stage shares: accelerate, schedule, moving average, log, samples, resume.

A stage is a `Task`. All randomness of step n comes from generators seeded with (seed, n, process), so a resumed run sees the
batches and the noise that the uninterrupted one would have seen.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import broadcast
from diffusers.training_utils import EMAModel
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from dalle.config import CheckpointError, SettingError
from dalle.images import write_whole
from train.checkpoint import (
    STATE_FILE,
    load_state,
    optimizer_tensors,
    restore_optimizer,
    save_state,
    with_prefix,
    without_prefix,
)
from train.uploads import Uploads, check_login


@dataclass
class RunConfig:
    """What every stage takes from its command line.

    Attributes:
        run: folder of the run: state, log.jsonl, samples/.
        steps: optimiser steps in all; 0 where `minutes` alone bounds the run.
        minutes: training time in all, summed over resumed sessions; 0 for no bound.
        save_seconds: at most so much work is lost when the run is killed.
        cooldown: share of the run over which the learning rate falls linearly to zero.
        push_to_hub: `user/repo` on the Hub that gets the averaged weights as they become better; "" for none.
        push_every: minutes between two of them.
        push_public: whether a repository that is made for them is one that everybody sees.
    """

    run: Path
    preset: str = "small"
    steps: int = 0
    minutes: float = 0.0
    batch_size: int = 16
    seed: int = 0
    warmup_steps: int = 100
    cooldown: float = 0.3
    clip: float = 1.0
    ema_decay: float = 0.999
    save_seconds: float = 60.0
    sample_steps: int = 500
    log_steps: int = 20
    resume: bool = False
    push_to_hub: str = ""
    push_every: float = 30.0
    push_public: bool = False

    def __post_init__(self) -> None:
        if self.steps <= 0 and self.minutes <= 0:
            raise SettingError("Give the run an end: --steps or --minutes.")
        for name in ("batch_size", "sample_steps", "log_steps"):
            if getattr(self, name) < 1:
                raise SettingError(f"--{name.replace('_', '-')} must be at least 1.")
        if not self.push_every > 0:
            raise SettingError("--push-every must be more than 0 minutes.")


def add_run_arguments(parser: argparse.ArgumentParser, stage: str, **defaults: object) -> None:
    parser.add_argument("--preset", default="small", choices=("tiny", "small", "base"), help="size of the networks")
    parser.add_argument("--run-folder", dest="run", type=Path, default=Path("runs") / stage, help="state, log and samples")
    parser.add_argument("--steps", type=int, default=0, help="optimiser steps in all")
    parser.add_argument("--minutes", type=float, default=0.0, help="training time in all, over resumed sessions too")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--warmup-steps", type=int, default=100)
    parser.add_argument("--cooldown", type=float, default=0.3, help="share of the run with falling learning rate")
    parser.add_argument("--clip", type=float, default=1.0, help="largest gradient norm")
    parser.add_argument("--ema-decay", type=float, default=0.999)
    parser.add_argument("--save-seconds", type=float, default=60.0, help="work lost at most when killed")
    parser.add_argument("--sample-steps", type=int, default=500, help="a sample grid every so many steps")
    parser.add_argument("--log-steps", type=int, default=20)
    parser.add_argument("--resume", action="store_true", help="go on from the run folder's last state")
    parser.add_argument(
        "--push-to-hub",
        default="",
        metavar="USER/REPO",
        help="upload averaged weights, log and samples while training, without stopping it (log in with `hf auth login`)",
    )
    parser.add_argument("--push-every", type=float, default=30.0, metavar="MINUTES", help="default: %(default)g")
    parser.add_argument("--push-public", action="store_true", help="make a new repository public (default: private)")
    parser.set_defaults(**defaults)


def run_config(arguments: argparse.Namespace) -> RunConfig:
    """The run's settings. Whether its weights can be uploaded is asked here, before anything is loaded or trained.

    Raises:
        SettingError: a setting out of its range.
        PublishError: no or a wrong token for the Hub, or no right to write there.
    """
    config = RunConfig(**{name: getattr(arguments, name) for name in RunConfig.__dataclass_fields__})
    if config.push_to_hub and os.environ.get("RANK", "0") == "0":  # of several processes, the one that uploads
        check_login(config.push_to_hub)
    return config


def step_generator(seed: int, step: int, process: int = 0, device: str = "cpu") -> torch.Generator:
    """The generator of one step's noise."""
    mixed = (seed * 1_000_003 + step) * 8_191 + process
    return torch.Generator(device).manual_seed(mixed % 2**63)


class Task(Protocol):
    """One stage: its modules, optimisers and what one step does."""

    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    averaged: str  # name of the module whose moving average is sampled and exported
    out: Path  # where it is exported to

    def step(self, step: int, progress: float) -> dict[str, Tensor | float]:
        """-> losses by their names; `samples` where the batch was not of the configured size."""

    def sample(self) -> Image.Image | None: ...
    def export(self) -> None: ...
    def validate(self) -> dict[str, float]: ...


def make_accelerator() -> Accelerator:
    """bf16 where the processor multiplies it in hardware, else full precision."""
    from dalle.hardware import supports_bf16

    probe = "cuda" if torch.cuda.is_available() else "cpu"
    # The adversarial part freezes the encoder: its parameters then get no gradient in any process.
    parallel = DistributedDataParallelKwargs(find_unused_parameters=True)
    return Accelerator(mixed_precision="bf16" if supports_bf16(probe) else "no", kwargs_handlers=[parallel])


def schedule(step: int, progress: float, config: RunConfig) -> float:
    """Warm-up, constant, linear fall: the factor on every learning rate, 0..1."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    fall = min(1.0, (1.0 - progress) / config.cooldown) if config.cooldown > 0 else 1.0
    return warm * max(0.0, fall)


def agree(sums: Tensor) -> bool:
    """Whether all rows (processes, parameters) are the same up to rounding."""
    return bool(torch.allclose(sums, sums[:1].expand_as(sums), rtol=1e-6, atol=0))


class Loop:
    """Runs a task to its end; `state` is whole on disk at any moment."""

    def __init__(self, task: Task, config: RunConfig, accelerator: Accelerator) -> None:
        self.task, self.config, self.accelerator = task, config, accelerator
        self.run = Path(config.run)
        self.step = 0
        self.seconds = 0.0
        self.samples_seen = 0
        self.base_rates = {name: [g["lr"] for g in opt.param_groups] for name, opt in task.optimizers.items()}
        self.ema = EMAModel(
            self._averaged().parameters(), decay=config.ema_decay, use_ema_warmup=True, inv_gamma=1.0, power=0.75
        )
        self.ema.to(accelerator.device)
        state = self.run / STATE_FILE
        if config.resume:
            self._load(state)
        elif state.exists():
            raise CheckpointError(f"{self.run} already holds a run: add --resume to go on, or name another --run-folder.")
        self.uploads = None
        if config.push_to_hub and accelerator.is_main_process:
            self.uploads = Uploads(config.push_to_hub, self.run, task.averaged, config.push_every, config.push_public)

    def _averaged(self) -> nn.Module:
        return self.accelerator.unwrap_model(self.task.modules[self.task.averaged])

    @property
    def progress(self) -> float:
        """Share of the run that is done, by steps or by the clock, whichever is further."""
        by_steps = self.step / self.config.steps if self.config.steps > 0 else 0.0
        by_clock = self.seconds / (60 * self.config.minutes) if self.config.minutes > 0 else 0.0
        return min(1.0, max(by_steps, by_clock))

    def averaged_weights(self, work: Callable[[], None]) -> None:
        """Does `work` with the moving average in place of the training weights."""
        parameters = list(self._averaged().parameters())
        self.ema.store(parameters)
        self.ema.copy_to(parameters)
        try:
            work()
        finally:
            self.ema.restore(parameters)

    def save(self) -> None:
        if not self.accelerator.is_main_process:
            return
        tensors: dict[str, Tensor] = {}
        for name, module in self.task.modules.items():
            tensors |= with_prefix(f"module/{name}", self.accelerator.unwrap_model(module).state_dict())
        for name, optimizer in self.task.optimizers.items():
            tensors |= with_prefix(f"optimizer/{name}", optimizer_tensors(optimizer))
        tensors |= {f"ema/{index}": tensor for index, tensor in enumerate(self.ema.shadow_params)}
        meta = {
            "step": self.step,
            "seconds": self.seconds,
            "samples_seen": self.samples_seen,
            "ema_step": self.ema.optimization_step,
            "preset": self.config.preset,
            "seed": self.config.seed,
        }
        save_state(self.run / STATE_FILE, tensors, meta)

    def _load(self, path: Path) -> None:
        tensors, meta = load_state(path)
        if (meta["preset"], meta["seed"]) != (self.config.preset, self.config.seed):
            raise CheckpointError(
                f"{path} is of preset {meta['preset']}, seed {meta['seed']}: resume with those, or use another --run-folder."
            )
        try:
            for name, module in self.task.modules.items():
                self.accelerator.unwrap_model(module).load_state_dict(without_prefix(f"module/{name}", tensors))
            for name, optimizer in self.task.optimizers.items():
                restore_optimizer(optimizer, without_prefix(f"optimizer/{name}", tensors))
            shadows = without_prefix("ema", tensors)
            self.ema.shadow_params = [shadows[str(i)].to(self.accelerator.device) for i in range(len(shadows))]
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{path} belongs to another stage, to a network of another shape or to a run with other parts (an adversary): "
                "resume with the run's own options, or use another --run-folder."
            ) from error
        self.ema.optimization_step = meta["ema_step"]
        self.step, self.seconds, self.samples_seen = meta["step"], meta["seconds"], meta["samples_seen"]

    def log(self, row: dict[str, float]) -> None:
        if self.accelerator.is_main_process:
            self.run.mkdir(parents=True, exist_ok=True)
            with open(self.run / "log.jsonl", "a", encoding="utf-8") as handle:
                handle.write(json.dumps(row) + "\n")

    def _sample_and_validate(self) -> None:
        if not self.accelerator.is_main_process:
            return

        def work() -> None:
            grid = self.task.sample()
            if grid is not None:
                folder = self.run / "samples"
                folder.mkdir(parents=True, exist_ok=True)
                buffer = io.BytesIO()
                grid.save(buffer, "PNG")
                write_whole(folder / f"step-{self.step:07d}.png", buffer.getvalue())
            metrics = self.task.validate()
            if metrics:
                self.log({"step": self.step, "minutes": round(self.seconds / 60, 3), **metrics})

        self.averaged_weights(work)

    def _upload(self) -> None:
        trained_with = getattr(self.task, "trained_with", {})  # a first stage has none
        self.averaged_weights(lambda: self.uploads.start(self._averaged(), trained_with, self.step))

    def _agreed(self, seconds: float) -> float:
        """The main process's clock, so that all processes end after the same step."""
        if self.accelerator.num_processes == 1:
            return seconds
        return float(broadcast(torch.tensor(seconds, device=self.accelerator.device)))

    def _check_agreement(self) -> None:
        """Raises CheckpointError where the processes hold different weights; the last state file is from before that."""
        if self.accelerator.num_processes == 1:
            return
        modules = [self.accelerator.unwrap_model(module) for module in self.task.modules.values()]
        sums = torch.stack([p.detach().double().abs().sum() for module in modules for p in module.parameters()])
        if not agree(self.accelerator.gather(sums[None])):
            raise CheckpointError("The processes' weights have drifted apart: they were not trained as one model.")

    def fit(self) -> None:
        """Trains to the end, then exports the averaged weights."""
        config, task = self.config, self.task
        bar = tqdm(
            total=config.steps or None,
            initial=self.step,
            disable=not self.accelerator.is_main_process,
            unit="step",
            mininterval=2,
        )
        saved = last = time.monotonic()
        sums: dict[str, float] = {}
        since, seen, began = 0, 0, time.monotonic()
        while self.progress < 1.0:
            factor = schedule(self.step, self.progress, config)
            for name, optimizer in task.optimizers.items():
                for group, rate in zip(optimizer.param_groups, self.base_rates[name], strict=True):
                    group["lr"] = rate * factor
            metrics = task.step(self.step, self.progress)
            self.ema.step(self._averaged().parameters())
            self.step += 1
            count = int(metrics.pop("samples", config.batch_size)) * self.accelerator.num_processes
            self.samples_seen += count
            seen += count
            now = time.monotonic()
            self.seconds = self._agreed(self.seconds + now - last)
            last = now
            since += 1
            for name, value in metrics.items():
                sums[name] = sums.get(name, 0.0) + float(value)
            bar.update(1)
            if self.step % config.log_steps == 0:
                rate = seen / max(1e-9, now - began)
                means = {name: total / since for name, total in sums.items()}
                row = {"step": self.step, "minutes": round(self.seconds / 60, 3), "samples_per_second": round(rate, 2)}
                self.log(row | {"learning_rate_factor": round(factor, 4)} | {k: round(v, 6) for k, v in means.items()})
                bar.set_postfix({k: f"{v:.4g}" for k, v in list(means.items())[:4]} | {"samples/s": f"{rate:.1f}"})
                sums, since, seen, began = {}, 0, 0, now
            if self.step % config.sample_steps == 0:
                self._sample_and_validate()
                last = time.monotonic()
            if time.monotonic() - saved >= config.save_seconds:
                self.save()
                saved = last = time.monotonic()
            if self.uploads is not None and self.uploads.due():
                self._upload()
                last = time.monotonic()
        bar.close()
        self._check_agreement()
        self.save()
        self._sample_and_validate()
        if self.accelerator.is_main_process:
            self.averaged_weights(task.export)
        if self.uploads is not None:
            self.uploads.finish(task.out, self.step)
