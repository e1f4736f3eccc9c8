"""ROC-AUC of two files of scores: how well they tell out-of-distribution (OOD) images
from those of the distribution that the model was trained on.

`python tools/roc_auc.py --in_distribution=A.csv --ood=B.csv` reads what
`evaluate.py --scores_csv` wrote. 1: every OOD image has more bits/dim than every
in-distribution one; 0.5: no better than a coin; below: OOD images tend to have fewer.
With `--column=log_likelihood_ratio`, 1: every OOD image has a lower ratio.
"""

import csv
import sys

import numpy as np
from absl import app, flags

flags.DEFINE_string("in_distribution", None, "Scores of the test images.")
flags.DEFINE_string("ood", None, "Scores of other images, by the same model.")
flags.DEFINE_string(
    "reference",
    None,
    "Scores of training images: measures besides how far from their median the "
    "scores are, up or down.",
)
# Of each column: 1 where OOD images should score high, −1 where low; name and unit.
COLUMNS = {
    "bits_per_dim": (1, "bits/dim", "bits/dim"),
    "log_likelihood_ratio": (-1, "log-likelihood ratio", "nats"),
}
flags.DEFINE_enum(
    "column",
    "bits_per_dim",
    list(COLUMNS),
    "Which scores: OOD images are to have high bits/dim, low ratios. The ratio is by "
    "evaluate.py --background_dir.",
)
FLAGS = flags.FLAGS


def roc_auc(in_distribution: np.ndarray, ood: np.ndarray) -> float:
    """Share of pairs whose OOD score is the higher, a tie counting half."""
    ordered = np.sort(in_distribution)
    lower, not_higher = (np.searchsorted(ordered, ood, s) for s in ("left", "right"))
    return float((lower + not_higher).sum() / (2 * len(ordered) * len(ood)))


def read_scores(flag: str, path: str | None, column: str) -> np.ndarray:
    """A column of a file, float64 [N]. Raises ValueError where it has none."""
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
        inside = read_scores("in_distribution", FLAGS.in_distribution, FLAGS.column)
        ood = read_scores("ood", FLAGS.ood, FLAGS.column)
        reference = None
        if FLAGS.reference is not None:
            reference = read_scores("reference", FLAGS.reference, FLAGS.column)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    sign, name, unit = COLUMNS[FLAGS.column]
    print(f"{name}: in-distribution {inside.mean():.3f}, OOD {ood.mean():.3f}")
    print(f"ROC-AUC of {name}: {roc_auc(sign * inside, sign * ood):.3f}")
    if reference is not None:
        middle = np.median(reference)
        auc = roc_auc(abs(inside - middle), abs(ood - middle))
        print(f"ROC-AUC of the distance from {middle:.3f} {unit}: {auc:.3f}")


if __name__ == "__main__":
    app.run(main)
