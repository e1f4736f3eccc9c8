"""A run that is stopped and resumed equals the uninterrupted run."""

import numpy as np
import pytest
from small_runs import arrays, random_batch, rows, run, steps_on

# 40 images in batches of 4: an epoch is 10 steps on one replica and 5 on two.
SETTINGS = {"field": "11x5", "num_labels": 3, "class_conditional": True}
SETTINGS |= {"max_steps": 13, "jit_compile": False}
SETTINGS |= {"mutation_rate": 0.3, "weight_decay": 0.1}


@pytest.mark.slow
def test_same_seed_repeats_a_run_with_dropout():
    first, losses = steps_on(1, 16, 0.5, random_batch(16), field="11x5")
    again, same = steps_on(1, 16, 0.5, random_batch(16), field="11x5")
    assert losses == same
    for name, value in arrays(first.parameters).items():
        np.testing.assert_array_equal(value, again.parameters[name])


@pytest.fixture(scope="module")
def uninterrupted(npz_path, tmp_path_factory):
    """Folder and state of a run, by its number of replicas."""
    found = {}

    def get(replicas):
        if replicas not in found:
            folder = tmp_path_factory.mktemp("uninterrupted")
            state = run(npz_path, folder, nr_gpu=replicas, **SETTINGS)
            found[replicas] = folder, state
        return found[replicas]

    return get


def rows_without_speed(save_dir):
    return [list(row.values())[:5] for row in rows(save_dir)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "replicas, stop",
    [(1, 10), (2, 8)],
    ids=["at the end of an epoch", "within one, on two replicas"],
)
def test_run_resumed_from_its_end_equals_the_uninterrupted_run_bit_for_bit(
    replicas, stop, uninterrupted, npz_path, tmp_path
):
    folder, whole = uninterrupted(replicas)
    settings = SETTINGS | {"nr_gpu": replicas}
    run(npz_path, tmp_path, **settings | {"max_steps": stop})
    resumed = run(npz_path, tmp_path, True, **settings)
    for group, variables in whole.groups().items():
        for name, value in arrays(variables).items():
            if name != "rows":  # The test row of a stop within an epoch is one more.
                ours = resumed.groups()[group][name]
                np.testing.assert_array_equal(value, ours, name)
    within_an_epoch = stop * replicas % 10 != 0
    found = rows_without_speed(tmp_path)
    assert [row for row in found if row[0] != str(stop) or not within_an_epoch] == (
        rows_without_speed(folder)
    )
