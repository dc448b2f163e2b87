"""`python -m train STAGE`: from drawings to a measured checkpoint."""

from __future__ import annotations

import importlib
import sys

from dalle.config import DalleError

STAGES = {
    "data": ("train.data.cli", "fetch, render and split the drawings"),
    "autoencoder": ("train.autoencoder", "stage 1: the variational autoencoder, with its adversary"),
    "prior": ("train.prior", "stage 2: text and noise to latent"),
    "distill": ("train.distill", "stage 3: few steps, or one, in place of many"),
    "ranker": ("train.ranker", "which picture fits the text best"),
    "classic": ("train.classic", "the textbook's text-conditioned DCGAN: the baseline"),
    "evaluator": ("train.evaluator", "the frozen evaluator, trained on real drawings only"),
    "assemble": ("train.assemble", "put the trained parts together as a checkpoint folder"),
    "reference": ("train.reference", "small drawings of what was taught, for searching and comparing"),
    "history": ("train.history", "the runs' sample grids, to look back on how the model learned"),
    "tune": ("train.tune", "which guidance and how many steps draw best, by the checkpoint's own ranker"),
    "evaluate": ("train.evaluate", "measure a checkpoint, one table"),
    "gallery": ("train.gallery", "the pictures of the docs: contact sheets, paths, failures, snapshots of training"),
}

RESUMABLE = ("autoencoder", "prior", "distill", "ranker", "classic", "evaluator")


def usage() -> str:
    rows = "\n".join(f"  {name:12} {about}" for name, (_, about) in STAGES.items())
    head = "usage: python -m train STAGE [options]\n\nstages, in their order:\n"
    return f"{head}{rows}\n\n`python -m train STAGE --help` lists the options."


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0 if argv else 2
    stage, *rest = argv
    if stage not in STAGES:
        print(f"Unknown stage {stage!r}.\n{usage()}", file=sys.stderr)
        return 2
    try:
        return importlib.import_module(STAGES[stage][0]).main(rest)
    except DalleError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        print(f"Could not read or write{place}: {error.strerror or error}. Files that were finished are whole.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        more = " with --resume" if stage in RESUMABLE else ""
        print(f"Stopped. What was saved is whole: run the same command{more} to go on.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
