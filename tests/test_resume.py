"""A run that ends early and is resumed equals the uninterrupted run, bit for bit.

test_stopping.py has runs of one replica, within an epoch and at its end.
"""

import numpy as np
import pytest
from small_runs import arrays, rows, run

# 40 images in batches of 4 on two replicas: an epoch is 5 steps.
SETTINGS = {"field": "11x5", "num_labels": 3, "class_conditional": True}
SETTINGS |= {"max_steps": 13, "jit_compile": False, "nr_gpu": 2}
SETTINGS |= {"mutation_rate": 0.3, "weight_decay": 0.1}


def rows_without_speed(save_dir):
    return [list(row.values())[:5] for row in rows(save_dir)]


@pytest.mark.slow
def test_run_of_two_replicas_resumed_within_an_epoch_equals_the_uninterrupted_one(
    npz_path, tmp_path
):
    folder, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole = run(npz_path, folder, **SETTINGS)
    run(npz_path, stopped, **SETTINGS | {"max_steps": 8})
    resumed = run(npz_path, stopped, True, **SETTINGS)
    for group, variables in whole.groups().items():
        for name, value in arrays(variables).items():
            if name != "rows":  # The test row of the stop is one more.
                ours = resumed.groups()[group][name]
                np.testing.assert_array_equal(value, ours, name)
    found = rows_without_speed(stopped)
    assert [row for row in found if row[0] != "8"] == rows_without_speed(folder)
