"""The drawing sets: which packages, at which version, under which licence, in which style."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dalle.config import DalleError

if TYPE_CHECKING:
    from train.data.store import SpriteStore

HERE = Path(__file__).resolve().parent


class DataError(DalleError):
    """The drawings can't be fetched or read."""


@dataclass(frozen=True)
class DrawingSet:
    """One npm package of drawings."""

    package: str
    licence: str
    style: str
    credit: str
    weight: float = 1.0

    @property
    def name(self) -> str:
        return self.package.split("/")[-1] if "3d" not in self.package else "fluent-emoji-3d"

    @property
    def version(self) -> str:
        return json.loads((HERE / "package.json").read_text(encoding="utf-8"))["dependencies"][self.package]


SETS = (
    DrawingSet("@iconify-json/twemoji", "CC-BY-4.0", "flat", "Twemoji by Twitter, Inc and other contributors"),
    DrawingSet("@iconify-json/noto", "Apache-2.0", "soft", "Noto Emoji by Google Inc"),
    DrawingSet("@iconify-json/noto-v1", "Apache-2.0", "blob", "Noto Emoji (v1) by Google Inc"),
    DrawingSet("@iconify-json/fluent-emoji", "MIT", "glossy", "Fluent Emoji by Microsoft Corporation"),
    DrawingSet("@iconify-json/fluent-emoji-flat", "MIT", "modern", "Fluent Emoji Flat by Microsoft Corporation"),
    DrawingSet("@iconify-json/emojione", "CC-BY-4.0", "classic", "Emoji One (Colored) by Emoji One"),
    DrawingSet("@iconify-json/fxemoji", "Apache-2.0", "bold", "Firefox OS Emoji by Mozilla"),
    DrawingSet("@lobehub/fluent-emoji-3d", "MIT", "3d", "Fluent Emoji 3D by Microsoft Corporation, LobeHub"),
    DrawingSet(
        "@iconify-json/fluent-emoji-high-contrast",
        "MIT",
        "outline",
        "Fluent Emoji High Contrast by Microsoft Corporation",
        0.3,
    ),
    DrawingSet("@iconify-json/streamline-emojis", "CC-BY-4.0", "icon", "Streamline Emojis by Streamline", 0.6),
    DrawingSet("@iconify-json/flat-color-icons", "MIT", "icon", "Flat Color Icons by Icons8", 0.3),
    DrawingSet("@iconify-json/fluent-color", "MIT", "icon", "Fluent UI Color Icons by Microsoft Corporation", 0.3),
    DrawingSet("@iconify-json/streamline-ultimate-color", "CC-BY-4.0", "icon", "Ultimate Color by Streamline", 0.2),
    DrawingSet("@iconify-json/streamline-plump-color", "CC-BY-4.0", "icon", "Plump Color by Streamline", 0.2),
    DrawingSet("@iconify-json/meteocons", "MIT", "icon", "Meteocons by Bas Milius", 0.3),
    DrawingSet("@iconify-json/marketeq", "MIT", "icon", "Marketeq by Marketeq", 0.2),
    DrawingSet("@iconify-json/circle-flags", "MIT", "icon", "Circle Flags by HatScripts", 0.2),
)
"""Permissive licences and attribution only; share-alike sets stay out of weights that are shipped."""

LABELS = "emojibase-data"


def lock_hash() -> str:
    return hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()


def fetch(folder: Path) -> Path:
    """Installs the pinned packages below `folder` with the npm client, which verifies each against its integrity hash.

    Returns:
        The folder `node_modules`. A second call with the same lock file does nothing.

    Raises:
        DataError: no npm, or no network; says what is missing and what to do.
    """
    modules, stamp = folder / "node_modules", folder / "fetched.sha256"
    wanted = [*(drawings.package for drawings in SETS), LABELS]

    def missing() -> list[str]:
        return [package for package in wanted if not (modules / package / "package.json").exists()]

    if stamp.exists() and stamp.read_text(encoding="utf-8") == lock_hash() and not missing():
        return modules
    npm = shutil.which("npm")
    if npm is None:
        raise DataError(
            f"The drawings are fetched with npm, and there is no npm here. Install Node.js (it brings npm), then run "
            f"`python -m train data` again. Missing: {', '.join(missing())}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(HERE / name, folder / name)
    # A killed install is repeated from npm's own cache: what is there is not downloaded twice.
    options = ["--ignore-scripts", "--omit=dev", "--omit=peer", "--no-audit", "--no-fund", "--loglevel=error"]
    command = [npm, "ci", "--prefer-offline", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["npm gave no reason"])[-1]
        raise DataError(
            "The drawings could not be fetched: is there a network? Run `python -m train data` again once there is; "
            f"npm keeps what it has. Missing: {', '.join(missing()) or 'nothing, but the check failed'}. "
            f"npm says: {reason}"
        )
    stamp.write_text(lock_hash(), encoding="utf-8")
    return modules


def attribution(store: SpriteStore) -> str:
    """A Markdown table of every set that the store holds, for a model card."""
    rows = ["| set | version | licence | drawings | by |", "| --- | --- | --- | --- | --- |"]
    credits = {drawings.name: drawings.credit for drawings in SETS}
    seen: dict[tuple[str, str, str], int] = {}
    for record in store.records:
        key = (record.set, record.version, record.licence)
        seen[key] = seen.get(key, 0) + 1
    for (name, version, licence), count in sorted(seen.items()):
        rows.append(f"| {name} | {version} | {licence} | {count:,} | {credits.get(name, 'your own')} |")
    return "\n".join(rows)
