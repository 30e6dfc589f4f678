"""Our win rates of AlpacaEval's own published annotations beside those of its leaderboard:

    python -m tests.published_judges CHECKOUT      a checkout of github.com/tatsu-lab/alpaca_eval

The difficulty of its questions lies elsewhere; it is read back out of the predictions that it has published for
vicuna-13b-v1.5, whose coefficients it has published too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy
import pandas

from gatebench.bench.metrics import verdicts

OWN = "src/alpaca_eval"
JUDGE, BASELINE, KNOWN = "weighted_alpaca_eval_gpt4_turbo", "gpt4_1106_preview", "vicuna-13b-v1.5"

THEIRS = ["win_rate", "length_controlled_winrate", "lc_standard_error"]


def annotated(file: Path) -> pandas.DataFrame:
    return pandas.DataFrame(json.loads(file.read_text(encoding="utf-8")))


def difficulties(checkout: Path) -> dict[str, float]:
    """By question."""
    place = checkout / OWN / f"metrics/weights/{JUDGE}/length_controlled_v1/baseline_{BASELINE}.csv"
    own = pandas.read_csv(place, index_col=0).loc[KNOWN]
    rows = annotated(checkout / f"results/{KNOWN}/{JUDGE}/{JUDGE}/annotations.json")
    logits = numpy.log(rows["glm_preference"] / (1 - rows["glm_preference"]))
    found = (logits - own["not_gamed_baseline.astype(float)"]) / own["instruction_difficulty"]
    return dict(zip(rows["instruction"], found, strict=True))


def rates(rows: pandas.DataFrame, difficulty: dict[str, float]) -> tuple[float, float, float]:
    """(win rate, at equal length, the standard error of this) in per cent."""
    wins = rows["preference"].astype(float).replace(0.0, 1.5) - 1
    table = pandas.DataFrame({
        "first": wins, "second": wins, "response": rows["output_2"], "opponent_response": rows["output_1"],
        "difficulty": rows["instruction"].map(difficulty),
    })  # fmt: skip
    judged = verdicts.Verdicts(table)
    controlled = verdicts.win_rate_glm(judged)
    assert controlled is not None
    return 100 * float(verdicts.win_rate(judged).mean()), 100 * float(controlled.mean()), 100 * float(controlled.sem())


def main(checkout: Path) -> None:
    difficulty = difficulties(checkout)
    board = pandas.read_csv(checkout / OWN / f"leaderboards/data_AlpacaEval_2/{JUDGE}_leaderboard.csv", index_col=0)
    found = []
    for file in sorted(checkout.glob(f"results/*/{JUDGE}/annotations.json")):
        model, rows = file.parts[-3], annotated(file)
        if model in board.index and model != BASELINE and set(rows["instruction"]) <= difficulty.keys():
            ours, theirs = rates(rows, difficulty), board.loc[model, THEIRS].astype(float)
            found.append((*ours, *theirs))
            print(f"{model:40} win rate {ours[0]:6.2f} ({theirs.iloc[0]:6.2f})  equal length {ours[1]:6.2f} "
                  f"({theirs.iloc[1]:6.2f})")  # fmt: skip
    raw, own, error, their_raw, their_own, their_error = numpy.array(found).T
    print(
        f"{len(found)} models: win rates differ by at most {abs(raw - their_raw).max():.4f}; at equal length by "
        f"{abs(own - their_own).mean():.2f} on average, correlation {numpy.corrcoef(own, their_own)[0, 1]:.3f}, rank "
        f"correlation {pandas.Series(own).corr(pandas.Series(their_own), 'spearman'):.3f}; the win rate itself is "
        f"{abs(raw - their_own).mean():.2f} away; their standard errors are at most "
        f"{numpy.nanmax(their_error / error):.2f} of ours, where they have some"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
