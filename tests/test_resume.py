"""A run stopped and gone on with is the run never stopped."""

import numpy as np
import pytest
from small_runs import arrays, random_batch, rows, run, steps_on


def test_same_seed_repeats_a_run_with_dropout_and_another_does_not():
    first, losses = steps_on(1, 16, 0.5, random_batch(16))
    again, same = steps_on(1, 16, 0.5, random_batch(16))
    assert losses == same
    for name, value in arrays(first.parameters).items():
        np.testing.assert_array_equal(value, again.parameters[name])


@pytest.fixture(scope="module", params=[1, 2])
def never_stopped(request, npz_path, tmp_path_factory):
    """Settings, folder and state of a class-conditional run of 17 steps."""
    settings = {"nr_gpu": request.param, "num_labels": 3, "class_conditional": True}
    folder = tmp_path_factory.mktemp("whole")
    return settings, folder, run(npz_path, folder, max_steps=17, **settings)


@pytest.mark.parametrize("stop", [4, 10])
def test_run_stopped_and_gone_on_with_is_the_run_never_stopped_bit_for_bit(
    never_stopped, npz_path, tmp_path, stop
):
    # 40 images in batches of 4: an epoch is 10 steps on one replica and 5 on two, so
    # step 10 ends one and step 4 lies within one.
    settings, folder, whole = never_stopped
    run(npz_path, tmp_path, max_steps=stop, **settings)
    parts = run(npz_path, tmp_path, True, max_steps=17, **settings)
    for group, variables in whole.groups().items():
        for name, value in arrays(variables).items():
            if name != "rows":  # The test row of a stop within an epoch is one more.
                np.testing.assert_array_equal(value, parts.groups()[group][name], name)

    def facts(save_dir):
        """All rows but the test row of a stop within an epoch; speeds left out."""
        found = [tuple(row.values())[:5] for row in rows(save_dir)]
        return [row for row in found if row[0] != "4"]

    assert facts(tmp_path) == facts(folder)
