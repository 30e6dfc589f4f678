"""A data source -> what the stages read: train and held-out pairs, probes, and a corpus. Bad rows are dropped and
counted, or refused in one sentence; what is read is what was planned with, or that is refused."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from gatebench.bench.data import probes, toolbox
from gatebench.bench.data.contents import check_content
from gatebench.bench.data.conversation import BadRow
from gatebench.bench.data.pairs import Draw, Dropped, Pair, PreferenceData, Probe, plain, plain_response
from gatebench.bench.data.readers import RawRows, file_rows, read_rows
from gatebench.bench.data.rows import to_pair, to_probe
from gatebench.bench.data.source import TOOLBOX, DataSource
from gatebench.bench.errors import UserError

TOOLBOX_DEFAULTS = (500, 200)
TOOLBOX_CORPUS = 20_000
MOST_DRAWN_FROM = 100_000  # rows, where a seed draws those that are trained on
MOST_HELD_OUT = 20_000  # rows, where a suite names no number
MOST_OF_A_CORPUS = 100_000  # rows, beside those that are trained on
T = TypeVar("T", Pair, Probe)


@lru_cache(maxsize=8)
def load(source: DataSource) -> PreferenceData:
    """A data set by its source; kept in memory so that the cells of a warm process share it.

    Read as far as its rows are used. Held-out rows that equal a training row are left out. Raises UserError for a
    missing, empty or changed file, where more than max_dropped of the rows are bad, and where a side that was asked for
    has no row.
    """
    if source.path == TOOLBOX:
        if source.draw:
            _check_drawn(source, source.draw, _toolbox_counts(source)[0])
        return toolbox.load_toolbox(*_toolbox_counts(source), draw=source.draw)
    check_content(source)
    dropped: list[Dropped] = []
    most = MOST_HELD_OUT if source.test is None else source.test
    more = (most if source.is_one_file else 0) + (MOST_DRAWN_FROM if source.draw else 0)
    wanted = None if source.train is None else source.train + more
    rows = _collect(read_rows(source, source.path, source.train_split), _pair_of(source), source, dropped, wanted)
    train_rows, held_out = rows[: source.train], rows[source.train :] if source.train else []
    if source.draw:
        held_out, others = (held_out[:most], held_out[most:]) if source.is_one_file else ([], held_out)
        train_rows = _drawn(source, source.draw, train_rows, others)
    if not source.is_one_file:
        read = read_rows(source, source.test_path or source.path, source.test_split)
        held_out = _collect(read, _pair_of(source), source, dropped, most)
    _check_counts(source, len(rows), len(train_rows), len(held_out))
    test_rows, leaked = _unseen(held_out, train_rows)
    if source.probes_path:
        # the probing set is laid over training prompts; held-out probes are made from the test rows
        probing = file_rows(Path(source.probes_path))
        train_probes = _collect(probing, _probe_of(source), source, dropped, source.probes)
    else:
        train_probes = list(probes.from_rows(train_rows[: source.probes], train_rows, test_rows, "train"))
    test_probes = probes.from_rows(test_rows[: source.probes], train_rows, test_rows, "test")
    check_content(source)
    cautions = [*_cautions(source, train_rows, test_rows, leaked, dropped)]
    if source.test is None and len(held_out) == MOST_HELD_OUT:
        cautions.append(
            f"data set {source.name}: the first {MOST_HELD_OUT} held-out rows are used; `test` names another number"
        )
    return PreferenceData(
        tuple(train_rows), tuple(test_rows), {"train": tuple(train_probes), "test": test_probes}, tuple(dropped),
        tuple(cautions),
    )  # fmt: skip


@lru_cache(maxsize=2)
def load_corpus(source: DataSource) -> tuple[str, ...]:
    """The texts that built-in models are pre-trained on: both sides of the training rows and of those that the cells do
    not train on, as many as MOST_OF_A_CORPUS; never held-out ones. Raises UserError as `load`."""
    if source.path == TOOLBOX:
        return toolbox.toolbox_corpus(*_toolbox_counts(source), TOOLBOX_CORPUS)
    check_content(source)
    train, held_out = source.train, source.test if source.is_one_file else 0
    # without a number of held-out rows, all the rest of a file are
    wanted = train if held_out is None or train is None else train + held_out + MOST_OF_A_CORPUS
    rows = _collect(read_rows(source, source.path, source.train_split), _pair_of(source), source, [], wanted)
    kept = rows if train is None or held_out is None else [*rows[:train], *rows[train + held_out :]]
    check_content(source)
    return tuple(
        plain(row.prompt) + plain_response(row.prompt, text) for row in kept for text in (row.chosen, row.rejected)
    )


def _drawn(source: DataSource, draw: Draw, train: Sequence[Pair], others: Sequence[Pair]) -> list[Pair]:
    """As many training rows: the kept ones, and as many of the rest and of the others as are left."""
    _check_drawn(source, draw, len(train))
    if not others:
        raise UserError(
            f"{source.path}: seeds.data draws the training rows, and there are no others than the {len(train)} that "
            "are trained on; lower `train`, or leave seeds.data out"
        )
    pool = [*train[draw.kept :], *others]
    return [*train[: draw.kept], *random.Random(f"rows/{draw.seed}").sample(pool, len(train[draw.kept :]))]


def _check_drawn(source: DataSource, draw: Draw, train: int) -> None:
    if train <= draw.kept:
        raise UserError(
            f"{source.path}: seeds.data draws the training rows that are not probed, and all {train} are; lower "
            "evaluate.dynamics.probes, or leave seeds.data out"
        )


def _toolbox_counts(source: DataSource) -> tuple[int, int, int]:
    return source.train or TOOLBOX_DEFAULTS[0], source.test or TOOLBOX_DEFAULTS[1], source.probes


def _pair_of(source: DataSource) -> Callable[[object, str], Pair]:
    columns = dict(source.columns)

    def convert(row: object, place: str) -> Pair:
        pair = to_pair(row, columns, source.transcripts)
        return Pair(pair.prompt, pair.chosen, pair.rejected, place)

    return convert


def _probe_of(source: DataSource) -> Callable[[object, str], Probe]:
    return lambda row, place: to_probe(row, dict(source.columns), source.transcripts)


def _collect(
    rows: RawRows,
    convert: Callable[[object, str], T],
    source: DataSource,
    dropped: list[Dropped],
    limit: int | None = None,
) -> list[T]:
    found: list[T] = []
    bad: list[Dropped] = []
    while limit is None or len(found) < limit:
        place, row = next(rows, (None, None))
        if place is None:
            break
        try:
            found.append(convert(row, place))
        except BadRow as error:
            bad.append(Dropped(place, error.reason))
    if not found and not bad and limit != 0:
        raise UserError(f"{source.path}: the data set is empty; expected rows with prompt, chosen and rejected")
    refuse_above(source, bad, len(found) + len(bad))
    dropped += bad
    return found


def refuse_above(source: DataSource, bad: Sequence[Dropped], total: int) -> None:
    """Raise UserError where more than max_dropped of the rows have to be left out."""
    if len(bad) > source.max_dropped * total:
        raise UserError(
            f"{bad[0].place}: {bad[0].reason}; {len(bad)} of {total} rows are bad, more than the "
            f"{source.max_dropped:.0%} allowed. Mend the rows or raise the data set's max_dropped"
        )


def _content(pair: Pair) -> tuple[str, ...]:
    """What makes two rows equal, whichever of the responses is the chosen one."""
    sides = (side.strip() if isinstance(side, str) else str(side) for side in (pair.chosen, pair.rejected))
    return plain(pair.prompt), *sorted(sides)


def _unseen(held_out: Iterable[Pair], train: Sequence[Pair]) -> tuple[list[Pair], int]:
    """The held-out rows that equal no training row, and how many do."""
    seen, kept, leaked = {_content(pair) for pair in train}, [], 0
    for pair in held_out:
        if _content(pair) in seen:
            leaked += 1
        else:
            kept.append(pair)
    return kept, leaked


def _check_counts(source: DataSource, rows: int, train: int, test: int) -> None:
    for side, asked, found in (("train", source.train, train), ("test", source.test, test)):
        if asked and not found:
            raise UserError(
                f"{source.path}: {side}: {asked} was asked for and no row is left ({rows} rows that can be used, of "
                f"which {train} train); give train and test that the data set holds"
            )


def _cautions(
    source: DataSource, train: Sequence[Pair], test: Sequence[Pair], leaked: int, dropped: Sequence[Dropped]
) -> Iterable[str]:
    name = f"data set {source.name}"
    for side, asked, found in (("train", source.train, len(train)), ("test", source.test, len(test) + leaked)):
        if asked and found < asked:
            yield f"{name}: {side} asks for {asked} rows, {found} were there and are used"
    if dropped:
        yield f"{name}: {len(dropped)} rows were left out as bad; first: {dropped[0].place}: {dropped[0].reason}"
    if leaked:
        yield f"{name}: {leaked} held-out rows equal training rows and were left out of all held-out figures"
    repeated = sum(count - 1 for count in Counter(map(_content, train)).values())
    if repeated:
        yield f"{name}: {repeated} of {len(train)} training rows repeat another one"
    prompts = {plain(pair.prompt) for pair in train}
    shared = sum(plain(pair.prompt) in prompts for pair in test)
    if shared:
        yield f"{name}: {shared} of {len(test)} held-out rows have the prompt of a training row"
