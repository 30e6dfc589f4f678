"""Where a data set comes from, and its identity: the content counts, the path does not."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from gatebench.bench.data import toolbox
from gatebench.bench.data.pairs import Draw
from gatebench.bench.errors import UserError
from gatebench.bench.store.files import sha256_of

TOOLBOX = "builtin:toolbox"
HUB, ROWS = "hub:", "rows:"  # start the content of what lies on the hub, and of what is known by its rows
MOST_DATA_FILES = 10_000  # of one data set
CHANGED = "it was changed or moved after the suite was planned with it; run the suite again, on what it holds now"
ROWS_A_STEP = 8  # of a data set that is cut for a few steps


@dataclass(frozen=True)
class DataSource:
    """A data set of a suite, resolved. Paths stay out of the stage keys; `content` stands for them."""

    content: str
    train: int | None
    test: int | None
    probes: int
    train_split: str = "train"
    test_split: str = "test"
    max_dropped: float = 0.05
    columns: tuple[tuple[str, str], ...] = field(default=(), metadata={"key": "given"})  # ours, the data set's
    transcripts: str = field(default="text", metadata={"key": "given"})
    path: str = field(default="", metadata={"key": False})
    subset: str | None = field(default=None, metadata={"key": False})
    revision: str | None = field(default=None, metadata={"key": False})
    test_path: str | None = field(default=None, metadata={"key": False})
    probes_path: str | None = field(default=None, metadata={"key": False})
    draw: Draw | None = field(default=None, metadata={"key": "given"})
    copy_of: str = field(default="", metadata={"key": False})  # the hub name whose local copy this is

    def shortened(self, steps: int) -> DataSource:
        """What a few steps need, to be timed: all stages of one size read the same rows."""
        return replace(self, train=steps * ROWS_A_STEP, probes=steps, max_dropped=1.0, draw=None)

    def probes_among(self, pairs: int) -> int:
        """Probes of both splits, of a data set with so many training pairs."""
        return min(self.probes, pairs) + min(self.probes, self.test or self.probes)

    @property
    def name(self) -> str:
        """What a sentence calls it: the file's or data set's own name."""
        return Path(self.path).name

    @property
    def is_on_hub(self) -> bool:
        """Whether its rows come by a name of the hub's, not from files that were named."""
        return self.content.startswith((HUB, ROWS)) and not Path(self.path).exists()

    @property
    def is_one_file(self) -> bool:
        """Whether the held-out rows are those after the training rows of the same file."""
        return self.test_path is None and Path(self.path).is_file()


def data_content_of(path: str, subset: str | None, revision: str | None, *more: str | None) -> str:
    """A digest of what the data are: bytes of local files, the name and revision of a hub data set."""
    if path == TOOLBOX:
        own = f"{TOOLBOX}@{toolbox.VERSION}"
    elif Path(path).exists():
        own = file_digest(path) if subset is None else f"{file_digest(path)}/{subset}"
    else:
        own = f"{HUB}{path}/{subset or ''}@{revision or 'main'}"
    return "+".join([own, *(file_digest(extra) for extra in more if extra)])


def check_unchanged(source: DataSource) -> None:
    """Raise UserError where what a data set's files hold is not what its content stands for."""
    found = data_content_of(
        source.path, source.subset, source.revision, *filter(None, (source.test_path, source.probes_path))
    )
    if found != source.content:
        raise UserError(f"{source.path}: {CHANGED}")


def file_digest(path: str) -> str:
    """sha256 of a file, or of a folder's files in the order of their names. Raises UserError where one cannot be read,
    and for a folder of more files than a data set has."""
    root = Path(path)
    return digest_of_files(
        {str(file.relative_to(root)): file for file in ([root] if root.is_file() else files_of(root))}
    )


def digest_of_files(files: Mapping[str, Path]) -> str:
    """sha256 of files by the names they go by. Raises UserError where one cannot be read."""
    total = hashlib.sha256()
    for name, file in files.items():
        try:
            total.update(f"{name}\0{sha256_of(file)}\n".encode())
        except OSError as error:
            raise UserError(
                f"{error.filename or file}: cannot be read ({error.strerror}); expected data files"
            ) from None
    return total.hexdigest()


def files_of(folder: Path) -> list[Path]:
    """The files below a folder. Raises UserError for more of them than a data set has."""
    files: list[Path] = []
    for file in folder.rglob("*"):
        if file.is_file():
            files.append(file)
        if len(files) > MOST_DATA_FILES:
            raise UserError(
                f"{folder}: more than {MOST_DATA_FILES:,} files, which is no data set; name the folder of its own files"
            )
    return sorted(files)
