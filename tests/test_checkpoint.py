"""Checkpoints: complete, strict, and the newest intact one is used."""

import contextlib
import pathlib
import resource

import numpy as np
import pytest
import tensorflow as tf
from small_runs import SMALL as ANY_SMALL

from pixel_cnn_pp import PixelCNNPP, checkpoint
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.training.state import TrainState

SMALL = ANY_SMALL | {"field": "11x5"}  # The smallest network.


def small_state(**changes):
    config = Config.of(**(SMALL | changes))
    state = TrainState(config, tf.distribute.get_strategy())
    rng = np.random.default_rng(0)
    for variables in state.groups().values():
        for variable in variables.values():
            values = rng.normal(size=variable.shape) * 1000
            variable.assign(tf.cast(values, variable.dtype))
    return config, state


@pytest.fixture
def saved(tmp_path):
    config, state = small_state()
    config.save(str(tmp_path / checkpoint.CONFIG))
    (tmp_path / checkpoint.FOLDER).mkdir()
    for step in (3, 7):
        state.counters["step"].assign(step)
        checkpoint.write(str(tmp_path), step, state.groups())
    return tmp_path, state


@contextlib.contextmanager
def no_room():
    """No file can have more than a part of the bytes that a checkpoint takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def all_values(state):
    return [v.numpy() for group in state.groups().values() for v in group.values()]


def test_every_variable_that_exists_is_in_the_checkpoint():
    created = []

    def record(next_creator, **kwargs):
        variable = next_creator(**kwargs)
        created.append(variable)
        return variable

    with tf.variable_creator_scope(record):
        config = Config.of(**SMALL, num_labels=3)
        state = TrainState(config, tf.distribute.get_strategy())
    saved = {id(v) for group in state.groups().values() for v in group.values()}
    assert {id(v) for v in created} == saved
    parameters = len(state.parameters)
    assert len(saved) == 4 * parameters + len(state.counters)


def test_what_is_read_is_what_was_written(saved):
    folder, state = saved
    _, other = small_state()
    for variables in other.groups().values():
        for variable in variables.values():
            variable.assign(tf.zeros_like(variable))
    assert checkpoint.read_newest(str(folder), other.groups()) == 7
    for ours, theirs in zip(all_values(other), all_values(state), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_only_the_newest_checkpoints_are_kept(saved):
    folder, state = saved
    checkpoint.write(str(folder), 11, state.groups())
    assert [step for step, _ in checkpoint.list_checkpoints(str(folder))] == [11, 7]
    names = {p.name.split(".")[0] for p in (folder / checkpoint.FOLDER).iterdir()}
    assert names == {"ckpt-7", "ckpt-11"}


def test_old_checkpoints_go_from_a_folder_whose_name_looks_like_a_pattern(tmp_path):
    _, state = small_state()
    folder = tmp_path / "run[1]*"
    (folder / checkpoint.FOLDER).mkdir(parents=True)
    for step in (1, 10, 100):
        checkpoint.write(str(folder), step, state.groups())
    assert [step for step, _ in checkpoint.list_checkpoints(str(folder))] == [100, 10]
    assert len(list((folder / checkpoint.FOLDER).iterdir())) == 4


def test_another_architecture_is_rejected_with_what_is_missing_and_left_over(saved):
    folder, _ = saved
    _, wider = small_state(nr_filters=5)
    prefix = checkpoint.list_checkpoints(str(folder))[0][1]
    with pytest.raises(
        ValueError, match=r"of another shape: .*conv2d_0/V \[1, 3, 4, 4\]"
    ):
        checkpoint.read(prefix, wider.groups())
    _, deeper = small_state(nin_blocks=1)
    with pytest.raises(
        ValueError, match="missing: .*conv2d_13/V.* more; unknown: nothing"
    ):
        checkpoint.read(prefix, deeper.groups())
    config, state = small_state()
    partial = state.groups() | {"counters": {"step": state.counters["step"]}}
    with pytest.raises(ValueError, match="unknown: counters/bad_steps, counters/cl"):
        checkpoint.read(prefix, partial)


def truncate(path: pathlib.Path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: pathlib.Path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip, pathlib.Path.unlink])
@pytest.mark.parametrize("part", ["data-00000-of-00001", "index"])
def test_damaged_newest_checkpoint_gives_way_to_the_one_before(saved, damage, part):
    folder, _ = saved
    damage(folder / checkpoint.FOLDER / f"ckpt-7.{part}")
    _, other = small_state()
    assert checkpoint.read_newest(str(folder), other.groups()) == 3
    assert other.count("step") == 3


def test_damaged_checkpoint_that_is_skipped_is_reported(saved, caplog):
    folder, state = saved
    truncate(folder / checkpoint.FOLDER / "ckpt-7.data-00000-of-00001")
    assert checkpoint.read_newest(str(folder), state.groups()) == 3
    (report,) = caplog.messages
    assert f"{folder}/checkpoints/ckpt-7 cannot be used: " in report


def test_only_damaged_checkpoints_are_one_error_not_a_new_start(saved, caplog):
    folder, state = saved
    for step in (3, 7):
        truncate(folder / checkpoint.FOLDER / f"ckpt-{step}.data-00000-of-00001")
    with pytest.raises(ValueError, match="none of its 2 checkpoints"):
        checkpoint.read_newest(str(folder), state.groups())
    assert caplog.messages == []


def test_model_of_a_run_has_its_ema_or_its_raw_parameters(saved):
    folder, state = saved
    for averaged, group in ((True, state.ema_parameters), (False, state.parameters)):
        model, config = checkpoint.load_model(str(folder), averaged)
        assert config == Config.of(**SMALL)
        for name, parameter in model.parameters.items():
            np.testing.assert_array_equal(parameter, group[name])


def test_model_of_a_run_is_made_again_with_initial_weights(saved):
    model, config = checkpoint.load_model(str(saved[0]))
    again = type(model).from_config(model.get_config())
    first = PixelCNNPP(**vars(config.model))
    for name, parameter in first.parameters.items():
        np.testing.assert_array_equal(parameter, again.parameters[name])


def test_folder_without_a_run_is_rejected_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no config.json"):
        checkpoint.load_model(str(tmp_path))
    Config.of(**SMALL).save(str(tmp_path / checkpoint.CONFIG))
    with pytest.raises(FileNotFoundError, match="holds no checkpoint yet"):
        checkpoint.load_model(str(tmp_path))


def test_newest_checkpoint_of_another_model_is_said_not_to_fit(saved):
    folder, _ = saved
    _, other = small_state(nr_filters=5)
    with pytest.raises(checkpoint.DoesNotFit, match="ckpt-7: does not fit this model"):
        checkpoint.read_newest(str(folder), other.groups())


def test_full_disk_ends_in_one_line_and_leaves_the_older_checkpoints_alone(saved):
    folder, state = saved
    before = {p.name: p.read_bytes() for p in (folder / checkpoint.FOLDER).iterdir()}
    with (
        no_room(),
        pytest.raises(OSError, match="ckpt-9: cannot be written .* make room"),
    ):
        checkpoint.write(str(folder), 9, state.groups())
    after = {p.name: p.read_bytes() for p in (folder / checkpoint.FOLDER).iterdir()}
    assert after == before
    assert checkpoint.read_newest(str(folder), state.groups()) == 7


def test_background_writer_writes_what_the_variables_were_when_it_was_asked(saved):
    folder, state = saved
    before = all_values(state)
    writer = checkpoint.BackgroundWriter()
    writer.write(str(folder), 9, state.groups())
    for group in state.groups().values():
        for variable in group.values():
            variable.assign(variable + tf.ones_like(variable))
    writer.wait()
    writer.close()
    assert checkpoint.read_newest(str(folder), state.groups()) == 9
    for value, expected in zip(all_values(state), before, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_torn_index_of_a_full_disk_is_no_checkpoint(tmp_path, monkeypatch):
    _, state = small_state()

    def write_part(_, prefix):
        for ending in (".index", ".data-00000-of-00001"):
            pathlib.Path(prefix + ending).write_bytes(b"torn")
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    (tmp_path / checkpoint.FOLDER).mkdir()
    monkeypatch.setattr(tf.train.Checkpoint, "write", write_part)
    with pytest.raises(OSError, match="ckpt-0: cannot be written"):
        checkpoint.write(str(tmp_path), 0, state.groups())
    assert not list((tmp_path / checkpoint.FOLDER).iterdir())
    assert checkpoint.read_newest(str(tmp_path), state.groups()) is None


def test_background_writer_tells_of_a_full_disk_when_it_is_waited_for(saved):
    folder, state = saved
    writer = checkpoint.BackgroundWriter()
    with no_room():
        writer.write(str(folder), 9, state.groups())
        with pytest.raises(OSError, match="make room"):
            writer.wait()
    writer.wait()


def test_checkpoint_of_the_same_step_is_written_beside_the_one_that_is_there(saved):
    folder, state = saved
    state.counters["epoch"].assign(5)
    prefix = checkpoint.write(str(folder), 7, state.groups())
    assert prefix.endswith("ckpt-7-1")
    state.counters["epoch"].assign(6)
    assert checkpoint.read_newest(str(folder), state.groups()) == 7
    assert state.count("epoch") == 5


def test_damaged_checkpoint_does_not_count_among_those_that_are_kept(saved):
    folder, state = saved
    damaged = pathlib.Path(checkpoint.list_checkpoints(str(folder))[0][1])
    damaged.with_suffix(".data-00000-of-00001").write_bytes(b"")
    assert checkpoint.read_newest(str(folder), state.groups()) == 3
    checkpoint.set_aside_newer(str(folder), 3)
    checkpoint.write(str(folder), 5, state.groups())
    assert [step for step, _ in checkpoint.list_checkpoints(str(folder))] == [5, 3]
