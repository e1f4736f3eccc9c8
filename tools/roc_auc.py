"""ROC-AUC of two files of scores: how well they tell unusual images from usual.

`python tools/roc_auc.py --usual=A.csv --unusual=B.csv` reads what
`evaluate.py --scores_csv` wrote. 1: every unusual image has more bits/dim than every
usual one; 0.5: no better than a coin; below: the unusual ones tend to have fewer.
With `--column=log_likelihood_ratio`, 1: every unusual image has a lower ratio.
"""

import csv
import sys

import numpy as np
from absl import app, flags

flags.DEFINE_string("usual", None, "Scores of images like those trained on.")
flags.DEFINE_string("unusual", None, "Scores of other images, by the same model.")
flags.DEFINE_string(
    "reference",
    None,
    "Scores of training images: measures besides how far from their median the "
    "scores are, up or down.",
)
# 1 where a high score is unusual, −1 where a low one is; the name and unit.
COLUMNS = {
    "bits_per_dim": (1, "bits/dim", "bits/dim"),
    "log_likelihood_ratio": (-1, "log-likelihood ratio", "nats"),
}
flags.DEFINE_enum(
    "column",
    "bits_per_dim",
    list(COLUMNS),
    "Which scores: high bits/dim are unusual, and low ratios. The ratio is that of "
    "evaluate.py --background_dir.",
)
FLAGS = flags.FLAGS


def roc_auc(usual: np.ndarray, unusual: np.ndarray) -> float:
    """Share of pairs whose unusual score is the higher, a tie counting half."""
    usual = np.sort(usual)
    lower, not_higher = (
        np.searchsorted(usual, unusual, side) for side in ("left", "right")
    )
    return float((lower + not_higher).sum() / (2 * len(usual) * len(unusual)))


def read_scores(flag: str, path: str | None, column: str) -> np.ndarray:
    """A column of a file, float64 [N]; ValueError for a file without."""
    if path is None:
        raise ValueError(f"--{flag}: give a file of evaluate.py --scores_csv.")
    command = "evaluate.py --scores_csv"
    if column == "log_likelihood_ratio":
        command += " --background_dir"
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        try:
            scores = [float(row[column]) for row in csv.DictReader(file)]
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise ValueError(
                f"--{flag}={path}: is no file of {command}; give one."
            ) from error
    if not scores or not np.isfinite(scores).all():
        raise ValueError(
            f"--{flag}={path}: holds no scores, or some that are not finite; write it "
            "anew with evaluate.py --scores_csv."
        )
    return np.array(scores)


def main(argv):
    try:
        if len(argv) > 1:
            raise ValueError(
                f"unexpected argument {argv[1]!r}; every setting is a flag."
            )
        usual = read_scores("usual", FLAGS.usual, FLAGS.column)
        unusual = read_scores("unusual", FLAGS.unusual, FLAGS.column)
        reference = FLAGS.reference and read_scores(
            "reference", FLAGS.reference, FLAGS.column
        )
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    sign, name, unit = COLUMNS[FLAGS.column]
    print(f"{name}: usual {usual.mean():.3f}, unusual {unusual.mean():.3f}")
    print(f"ROC-AUC of {name}: {roc_auc(sign * usual, sign * unusual):.3f}")
    if reference is not None:
        middle = np.median(reference)
        auc = roc_auc(abs(usual - middle), abs(unusual - middle))
        print(f"ROC-AUC of the distance from {middle:.3f} {unit}: {auc:.3f}")


if __name__ == "__main__":
    app.run(main)
