"""Your own captioned pictures as drawings: `metadata.jsonl` with file_name and text, or NAME.txt beside NAME.png."""

from __future__ import annotations

import json
from pathlib import Path

from train.data.render import Source
from train.data.sources import DataError
from train.data.store import Drawing

ENDINGS = {".png", ".jpg", ".jpeg", ".webp"}


def captions(folder: Path) -> dict[str, str]:
    """File name -> caption.

    Raises:
        DataError: no captions, or a line of metadata.jsonl that can't be read.
    """
    try:
        return _captions(folder)
    except UnicodeDecodeError as error:
        raise DataError(f"The captions in {folder} are not all UTF-8 text: save them as UTF-8.") from error


def _captions(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    metadata = folder / "metadata.jsonl"
    if metadata.exists():
        for number, line in enumerate(metadata.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                if not (isinstance(row["file_name"], str) and isinstance(row["text"], str)):
                    raise TypeError("not text")
                found[row["file_name"]] = row["text"].strip()
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise DataError(f"{metadata}, line {number}: each line needs file_name and text, as JSON.") from error
    else:
        for path in folder.rglob("*.txt"):
            for ending in ENDINGS:
                picture = path.with_suffix(ending)
                if picture.exists():
                    found[str(picture.relative_to(folder))] = path.read_text(encoding="utf-8").strip()
    return {name: text for name, text in found.items() if text}


def folder_sources(folder: Path) -> list[Source]:
    """The pictures of a folder, in order of their names, ready to render.

    Raises:
        DataError: no such folder, no captioned picture in it, or a picture that is named and missing.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.")
    named = captions(folder)
    sources = []
    for name in sorted(named):
        path = (folder / name).resolve()
        if folder.resolve() not in path.parents or path.suffix.lower() not in ENDINGS:
            raise DataError(f"{name}: pictures lie inside the folder and end in {', '.join(sorted(ENDINGS))}.")
        if not path.exists():
            raise DataError(f"{name} has a caption, but there is no such picture in {folder}.")
        record = Drawing(
            set=folder.name or "own",
            version="1",
            licence="own",
            name=name,
            concept=named[name].lower(),
            style="",
            label=named[name],
        )
        sources.append(Source(record, path=str(path)))
    if len(sources) < 10:
        raise DataError(f"{folder} has {len(sources)} captioned pictures; at least 10 are needed to hold some out.")
    return sources
