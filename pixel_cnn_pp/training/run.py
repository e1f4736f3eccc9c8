"""A training run: checked, then started or resumed."""

import contextlib
import dataclasses
import hashlib
import math
import os

import tensorflow as tf

from pixel_cnn_pp import checkpoint, distribution, memory, openai_checkpoint
from pixel_cnn_pp import images as image_ops
from pixel_cnn_pp.checks import listed
from pixel_cnn_pp.config import Config
from pixel_cnn_pp.files import FolderLock, check_folder_writable
from pixel_cnn_pp.images import ImageSet
from pixel_cnn_pp.prng import INITIALIZATION
from pixel_cnn_pp.training.loop import Loop
from pixel_cnn_pp.training.metrics import METRICS, read_metrics, say
from pixel_cnn_pp.training.optimizer import start_ema
from pixel_cnn_pp.training.resume import changes_since, check_same_run
from pixel_cnn_pp.training.state import TrainState, seed_for

# Settings that each worker may have for itself: where the images are, its GPUs, and how
# long to wait.
OF_A_WORKER = (
    "data_set",
    "data_dir",
    "official_checkpoint",
    "nr_gpu",
    "worker_timeout",
)


def initialize(state: TrainState, config: Config, train: ImageSet) -> None:
    """Data-dependent initialisation on the first images of the first epoch's order."""
    examples = train.examples(0, config.seed).batch(config.init_batch_size)
    batch = next(iter(examples))
    state.model.initialize(
        image_ops.to_float(batch["image"], config.model.num_levels),
        batch.get("label"),
        seed_for(config, INITIALIZATION),
    )
    start_ema(state.ema_parameters, state.parameters)


def initialize_from_official(state: TrainState, prefix: str) -> None:
    """Starts from an official checkpoint: parameters, EMA and Adam's moments.

    The learning rate is the one of the official run at that step, never resumed.
    """
    openai_checkpoint.load(state.model, prefix, averaged=False)
    openai_checkpoint.load(state.ema_model, prefix, averaged=True)
    t = openai_checkpoint.load_adam(state.adam.v, state.adam.mg, prefix)
    state.counters["step"].assign(t - 1)


def start(state: TrainState, config: Config, train: ImageSet) -> None:
    """Starts from the images, or from the official checkpoint."""
    if not config.official_checkpoint:
        initialize(state, config, train)
        return
    initialize_from_official(state, config.official_checkpoint)
    step = state.count("step")
    if config.max_steps is not None and config.max_steps <= step:
        raise ValueError(
            f"--max_steps={config.max_steps}: steps are counted from the {step} of "
            f"{config.official_checkpoint}; give more."
        )


def check_save_dir(save_dir: str, load_params: bool) -> None:
    """Raises ValueError if the folder holds a run already, or none to resume, or cannot
    be made or written to."""
    has_run = os.path.exists(os.path.join(save_dir, checkpoint.CONFIG))
    has_run = has_run or bool(checkpoint.list_checkpoints(save_dir))
    if has_run and not load_params:
        raise ValueError(
            f"--save_dir={save_dir}: holds a run; give --resume to resume it, or "
            "another --save_dir."
        )
    if load_params and not has_run:
        raise ValueError(
            f"--resume: --save_dir={save_dir} holds no run to resume; give the folder "
            "of one, or remove --resume to start one."
        )
    check_folder_writable("save_dir", save_dir)


def check_image_sets(
    config: Config, train: ImageSet, held_out: ImageSet, replicas: int
) -> None:
    """Raises ValueError if the images do not fill a batch or do not match."""
    batch = config.step_images(replicas)
    if train.num_images < batch:
        accumulate = f" --accumulate={config.accumulate}" * (config.accumulate > 1)
        raise ValueError(
            f"--batch_size={config.batch_size}{accumulate}: a step takes {batch} "
            f"images on all devices, and the training set has {train.num_images}; give "
            "a smaller one."
        )
    if train.num_images < config.init_batch_size:
        raise ValueError(
            f"--init_batch_size={config.init_batch_size}: the training set has "
            f"{train.num_images} images; give a smaller one."
        )
    if held_out.image_shape != train.image_shape:
        raise ValueError(
            f"{config.held_out} images {held_out.image_shape}: must have the training "
            f"images' shape, {train.image_shape}."
        )


def check_memory(config: Config, image_shape: tuple, replicas: int) -> None:
    """Raises ValueError if the model, a batch or the samples cannot fit in memory."""
    model = dataclasses.replace(config.model, image_shape=image_shape)
    at_a_time = config.batch_size * replicas
    memory.check_parameters(model, copies=4)
    memory.check_batch("init_batch_size", config.init_batch_size, model)
    memory.check_batch("batch_size", at_a_time, model, training=True)
    memory.check_samples(config.num_samples, memory.image_bytes(model), at_a_time)


def run_id(config: Config) -> int:
    """Number of a run: the same for runs that compute the same."""
    names = "fingerprint images_per_step init_batch_size learning_rate lr_decay seed"
    names += " polyak_decay polyak_warmup mutation_rate weight_decay"
    settings = [getattr(config, name) for name in names.split()]
    digest = hashlib.sha256(repr([config.model, settings]).encode())
    return int(digest.hexdigest()[:15], 16)


def check_no_rows(save_dir: str) -> None:
    """Raises ValueError if the metrics of a run are there, but no checkpoint."""
    header, *rows = read_metrics(os.path.join(save_dir, METRICS)) or [[]]
    if header is None:
        raise ValueError(
            f"--save_dir={save_dir}: its {METRICS} is not of a run; give another "
            "folder."
        )
    if whole := [row for row in rows if row]:
        raise ValueError(
            f"--save_dir={save_dir}: {METRICS} has rows up to step {whole[-1][0]}, but "
            f"there is no checkpoint; put {checkpoint.FOLDER}/ back (is a disk not "
            "mounted?), or train in another folder."
        )


def prepare(
    config: Config,
    train_images: ImageSet,
    held_out_images: ImageSet,
    save_dir: str,
    load_params: bool = False,
    strategy: tf.distribute.Strategy | None = None,
) -> Loop:
    """A run ready to go, its checks done, nothing but its lock written yet.

    `held_out_images` are scored after each epoch: test images, or with a
    `validation_share` in the config the images that were held out for validation.

    `strategy` is that of `distribution.make_strategy`, which several machines have to
    call before they load images.

    With `load_params` it resumes from the newest intact checkpoint under `save_dir`,
    exactly as an uninterrupted run. Raises ValueError if settings, images and folder do
    not fit.
    """
    strategy = strategy or distribution.make_strategy(config.nr_gpu)
    replicas = strategy.num_replicas_in_sync
    check_save_dir(save_dir, load_params)
    check_image_sets(config, train_images, held_out_images, replicas)
    check_memory(config, train_images.image_shape, replicas)
    train_images, held_out_images = (
        image_ops.quantized(images, config.model.num_levels)
        for images in (train_images, held_out_images)
    )
    is_chief = distribution.is_chief(strategy)
    lock = FolderLock(save_dir) if is_chief else contextlib.nullcontext()
    with (
        distribution.naming_lost_workers(strategy),
        strategy.scope(),
        contextlib.ExitStack() as unless_ready,
    ):
        config = with_images(config, train_images, held_out_images, strategy)
        if is_chief:
            print_images(config, train_images, held_out_images, save_dir, strategy)
        if load_params:
            unless_ready.enter_context(lock)
        config, changes = with_run_id(config, save_dir if load_params else None)
        state = TrainState(config, strategy)
        if is_chief:
            print_model(state)
        step = None
        if load_params:
            step = checkpoint.read_newest(save_dir, state.groups(), config.run_id)
        if step is None:
            check_no_rows(save_dir)
            start(state, config, train_images)
        if is_chief and load_params:
            print_resumed(step, changes)
        if distribution.is_multi_worker(strategy):
            distribution.broadcast_from_chief(state.groups(), strategy)
        unless_ready.pop_all()
        return Loop(
            config, state, train_images, held_out_images, save_dir, lock, strategy
        )


def with_images(
    config: Config,
    train: ImageSet,
    held_out: ImageSet,
    strategy: tf.distribute.Strategy,
) -> Config:
    """The config with what follows from the images and the number of replicas.

    Raises ValueError, on all workers, where they have read different images or have
    other settings.
    """
    of_images = {
        "num_images": train.num_images,
        "class_names": train.class_names,
        "fingerprint": image_ops.fingerprint(train, config.seed),
        "held_out_fingerprint": image_ops.fingerprint(held_out),
    }
    if distribution.is_multi_worker(strategy):
        check_workers_are_alike(config, of_images, strategy)
    images_per_step = config.step_images(strategy.num_replicas_in_sync)
    return dataclasses.replace(config, images_per_step=images_per_step, **of_images)


def check_workers_are_alike(
    config: Config, of_images: dict, strategy: tf.distribute.Strategy
) -> None:
    """Raises ValueError, on all workers, where their images or settings differ."""
    settings = config.settings()
    names = sorted(set(settings) - set(OF_A_WORKER))
    texts = {"images": repr(of_images)} | {n: repr(settings[n]) for n in names}
    differing = distribution.differing(strategy, texts)
    if "images" in differing:
        raise ValueError(
            f"--data_dir={config.data_dir}: another worker of TF_CONFIG has other "
            "images there; give all of them the same."
        )
    if differing:
        raise ValueError(
            f"{listed(differing, settings, '--')}: another worker of TF_CONFIG has "
            "another value; give all of them the same."
        )


def with_run_id(config: Config, resumed: str | None) -> tuple[Config, list[str]]:
    """The config with the id of the run in the folder `resumed`, or of a new one; and
    what it changes. ValueError if it does not fit the run."""
    if resumed is None:
        return dataclasses.replace(config, run_id=run_id(config)), []
    saved = checkpoint.load_config(resumed)
    check_same_run(config, saved, images_are_known=True)
    config = dataclasses.replace(config, run_id=saved.run_id)
    return config, changes_since(saved, config)


def print_images(
    config: Config,
    train: ImageSet,
    held_out: ImageSet,
    save_dir: str,
    strategy: tf.distribute.Strategy,
) -> None:
    """Prints what a run trains on, and where to."""
    say(f"devices: {distribution.devices_text(strategy)}")
    where = f" in {config.data_dir}" if config.data_dir else ""
    say(
        f"data: {config.data_set}{where}, {train.num_images} training and "
        f"{held_out.num_images} {config.held_out} images, "
        f"{size_text(train.image_shape)}"
    )
    if config.class_names:
        labels = [f"{i} {name}" for i, name in enumerate(config.class_names)]
        say(f"labels: {', '.join(labels):.500}")
    say(f"folder: {save_dir}")


def print_model(state: TrainState) -> None:
    model = state.model
    kind = "unconditional" if model.num_labels is None else f"{model.num_labels} labels"
    num = sum(math.prod(p.shape) for p in state.parameters.values())
    say(f"model: {num:,} parameters, images {size_text(model.image_shape)}, {kind}")


def size_text(image_shape: tuple[int, int, int]) -> str:
    """Such as '32×32×3'."""
    return "×".join(map(str, image_shape))


def print_resumed(step: int | None, changes: list[str]) -> None:
    """Prints from where a run resumes, and what it changes."""
    if step is None:
        say("no checkpoint was written yet: starting over")
        return
    with_changes = f" with {', '.join(changes)}" if changes else ""
    say(f"resuming from step {step}{with_changes}")
