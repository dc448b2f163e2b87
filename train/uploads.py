"""A run's weights on the Hub while it goes on: averaged weights, config, log and samples, from a thread of its own.

Nothing here stops a run: what fails is told once, and the next time it is tried again. What is uploaded is one part of a model,
with a card that says so; `python -m train assemble` and `python -m dalle push` make and publish the whole.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import nn
from tqdm import tqdm

from dalle.card import CARD
from dalle.config import DalleError
from dalle.publish import LAYOUT, Files, PublishError, Remote, api_for, checked_repo, look, may_write, scrubbed, send, told
from train.checkpoint import TRAINED_WITH

LAST_WAIT = 600.0
"""Seconds that a run that is over waits for its last upload, and for the one before it."""
ASIDE = "upload-"
"""Beginning of a folder's name in the run's own, where a copy of the weights waits to be uploaded."""
SAMPLES = 50
"""The latest sample grids are uploaded, so many of them."""

STAGES = {
    "vae": "a variational autoencoder, 256x256 RGBA to 16x16x8 latents",
    "prior": "a transformer that carries noise and text to a latent",
    "ranker": "two towers that tell how well a picture fits a text",
    "generator": "the textbook's text-conditioned generator, the baseline of evaluations",
    "evaluator": "a small picture encoder that evaluations measure with",
}
"""Name of the network that a stage trains -> what it is."""
OF_A_MODEL = ("vae", "prior", "ranker")
"""Those that `python -m train assemble` takes, by options of these names."""

TELLS = """\
---
library_name: diffusers
tags:
- dalle
- training
---
# {repo}: one part, `{name}`

This is one part of what a text-to-picture model is made or measured with, **not a whole one**: {about}.

- `{name}/`: the moving average of the weights in half precision, {state}.
- `log.jsonl`: the run's losses and measurements{measured}.
- `samples/`, where the stage draws: what it made of the same inputs at moments of the training.
"""
ASSEMBLY = """
To make a model of it, put its folder together with those of the other stages, and publish that:

```sh
python -m train assemble --{name} {name} --out checkpoints/mine
python -m dalle push checkpoints/mine {repo}-model
```

What it was trained on, and under which licence that is, stands in the card that `assemble` writes.
"""


def check_login(repo: str) -> None:
    """Raises SettingError or PublishError where this run could not upload to `repo`: before it has begun."""
    checked_repo(repo)
    api = api_for()
    with told(f"Could not ask the Hub about {repo}"):
        may_write(api, repo)
        _check_kind(repo, look(api, repo))


def _check_kind(repo: str, remote: Remote) -> None:
    if "model_index.json" in remote.files:
        raise PublishError(f"{repo} holds a whole model, whose card a run's part would replace: name another with --push-to-hub.")


class Uploads:
    """Uploads of one run. `due`, `start` and `finish` are called by the thread that trains, and raise nothing."""

    def __init__(self, repo: str, run: Path, name: str, minutes: float, public: bool) -> None:
        """
        Args:
            run: the run's folder, with log.jsonl and samples/.
            name: of the network, and so of its folder.
            minutes: between two uploads.
        """
        from huggingface_hub.utils import disable_progress_bars
        from huggingface_hub.utils import logging as hub_logging

        # What matters is told here, beside the run's own bar.
        disable_progress_bars()
        hub_logging.set_verbosity_error()
        logging.getLogger("dalle.hub_errors").setLevel(logging.ERROR)
        self.repo, self.run, self.name, self.public = repo, run, name, public
        self._interval = 60 * minutes
        self._next = time.monotonic() + self._interval
        self._thread: threading.Thread | None = None
        self._failure = ""
        self._over = False
        for left in run.glob(f"{ASIDE}*"):  # by a run that was killed
            shutil.rmtree(left, ignore_errors=True)

    def due(self) -> bool:
        """Whether the next upload's time has come, and the last one is done."""
        return time.monotonic() >= self._next and not self._busy()

    def start(self, network: nn.Module, trained_with: Mapping[str, str], step: int) -> None:
        """Takes a copy of the network's weights as they are, in half precision, and uploads it while the run goes on.

        Args:
            trained_with: what the weights belong to, as the stage exports it (`train.checkpoint.TRAINED_WITH`).
        """

        def write(folder: Path) -> None:
            half = type(network).from_config(network.config)
            half.load_state_dict(network.state_dict())
            half.half().save_pretrained(folder)
            if trained_with:
                (folder / TRAINED_WITH).write_text(json.dumps(trained_with, indent=2) + "\n", encoding="utf-8")

        self._next = time.monotonic() + self._interval
        self._begin(write, step)

    def finish(self, out: Path, step: int) -> None:
        """Uploads what the run has exported, and waits for it, within bounds."""
        self._over = True
        self._wait()
        if not self._busy():
            self._failure = ""
            self._begin(lambda folder: shutil.copytree(out, folder), step)
            self._wait()
        if self._busy():
            self._failure = f"It is not done after {LAST_WAIT / 60:.0f} minutes, and is given up."
        if self._failure:
            tell(
                f"The run is over, and its last upload to {self.repo} failed. {self._failure} The weights are in {out}; the same "
                "command with --resume uploads them again."
            )

    def _busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _wait(self) -> None:
        if self._thread is not None:
            self._thread.join(LAST_WAIT)

    def _begin(self, write: Callable[[Path], object], step: int) -> None:
        """Has the weights written into a folder of their own, which is removed when they are uploaded."""
        folder = None
        try:
            self.run.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=ASIDE, dir=self.run))
            write(folder / self.name)
            files = self._files(folder / self.name, step)
        except Exception as error:  # a full disk, say: the run goes on
            self._fail(error)
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            return
        self._thread = threading.Thread(target=self._upload, args=(folder, files, step), name="upload", daemon=True)
        self._thread.start()

    def _files(self, weights: Path, step: int) -> Files:
        """What is uploaded, as it is now: the run writes on in its log."""
        files: dict[str, Path | bytes] = {}
        for path in sorted(weights.iterdir()):
            if path.suffix in (".json", ".safetensors"):
                files[f"{self.name}/{path.name}"] = path
        config = json.loads((weights / "config.json").read_text(encoding="utf-8"))
        config.pop("_name_or_path", None)  # a folder of this machine
        files[f"{self.name}/config.json"] = (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()
        log = self.run / "log.jsonl"
        rows = log.read_bytes() if log.exists() else b""
        if rows:
            files[log.name] = rows
        for path in sorted((self.run / "samples").glob("step-*.png"))[-SAMPLES:]:
            files[f"samples/{path.name}"] = path
        return files | {CARD: self._card(step, rows).encode()}

    def _card(self, step: int, rows: bytes) -> str:
        measured = [row for row in map(json.loads, rows.splitlines()) if any(key.startswith("val_") for key in row)]
        last = ", ".join(f"{key} {value:.4f}" for key, value in (measured or [{}])[-1].items() if key.startswith("val_"))
        card = TELLS.format(
            repo=self.repo,
            name=self.name,
            about=STAGES[self.name],
            state=f"after all {step:,} steps" if self._over else f"after step {step:,} of a run that goes on",
            measured=f"; last {last} after step {measured[-1]['step']:,}" if last else "",
        )
        return card + ASSEMBLY.format(repo=self.repo, name=self.name) if self.name in OF_A_MODEL else card

    def _upload(self, folder: Path, files: Files, step: int) -> None:
        try:
            api = api_for()
            with told(f"Could not ask the Hub about {self.repo}"):
                remote = look(api, self.repo)
            _check_kind(self.repo, remote)
            visible = None if remote.exists else not self.public
            ours = [f"{self.name}/{name}" for name in LAYOUT.get(self.name, ())]
            send(api, self.repo, files, message=f"Step {step}", private=visible, ours=ours, remote=remote, tell=lambda _: None)
            if self._failure:
                self._failure = ""
                tell(f"Uploaded to {self.repo} again.")
        except Exception as error:
            self._fail(error)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _fail(self, error: Exception) -> None:
        """Told once, until it has worked again; of the last upload `finish` tells."""
        told_already = bool(self._failure) or self._over
        self._failure = str(error) if isinstance(error, DalleError) else f"{type(error).__name__}: {scrubbed(str(error))}"
        if not told_already:
            tell(f"The run goes on without an upload; in {self._interval / 60:g} minutes it is tried again. {self._failure}")


def tell(message: str) -> None:
    """A line above the run's bar."""
    tqdm.write(message, file=sys.stderr)
