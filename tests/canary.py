"""A word in every name at a hospital: of people, folders, files and columns, and in what scans and tables say."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nibabel

WORD = "Qx7f3a9c1e5b2d8046"  # the same every time: who trains is drawn by names


def plant(folder: Path) -> None:
    """Call whatever can be called something in a BIDS dataset by the word."""
    for path in sorted(folder.rglob("sub-*"), key=lambda path: -len(path.parts)):
        path.rename(path.with_name(path.name.replace("sub-", f"sub-{WORD}")))
    table = folder / "participants.tsv"
    lines = table.read_text().replace("sub-", f"sub-{WORD}").splitlines()
    had = "scanner" in lines[0].split("\t")
    more = (f"\t{WORD}", f"\t{WORD}") if had else (f"\tscanner\t{WORD}", f"\t{WORD} 3T\t{WORD}")
    table.write_text("\n".join([f"{lines[0]}{more[0]}", *(f"{line}{more[1]}" for line in lines[1:])]))
    (folder / "dataset_description.json").write_text(json.dumps({"Name": WORD, "BIDSVersion": "1.10.0"}))
    for path in folder.glob("sub-*/anat/*.nii.gz"):
        image = nibabel.load(path)
        image.header["descrip"] = WORD.encode()
        nibabel.save(image, path)
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps({"PatientName": WORD}))


def told(folder: Path) -> Iterator[Path]:
    """Files below a folder that have the word in their name or content, what is compressed without that."""
    for path in sorted(folder.rglob("*")):
        if WORD in str(path.relative_to(folder)) or (path.is_file() and any(_in(each) for each in _contents(path))):
            yield path


def _in(content: bytes) -> bool:
    spellings = WORD.encode(), WORD.encode("utf-16-le"), WORD.lower().encode()
    return any(spelling in content for spelling in spellings)


def _contents(path: Path) -> Iterator[bytes]:
    content = path.read_bytes()
    yield content
    if content.startswith(b"\x1f\x8b"):
        yield gzip.decompress(content)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name) for name in archive.namelist())
