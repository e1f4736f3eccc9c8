"""Which settings and images a run can be resumed with."""

import itertools

from pixel_cnn_pp.checks import listed
from pixel_cnn_pp.config import FROM_DATA, MODEL_SETTINGS, NO_FLAGS, Config

# Settings that cannot be changed: the parameters would have other shapes or another
# beginning, or the images another order. First that which decides on num_labels.
FIXED_SETTINGS = [
    "class_conditional",
    *sorted(MODEL_SETTINGS - {"dropout_p", *FROM_DATA}),
    "official_checkpoint",
    "seed",
    "test_share",
    "tfds_split_test",
    "validation_share",
]


def check_same_run(config: Config, saved: Config, images_are_known: bool) -> None:
    """Raises ValueError that names all with which a run that has the settings `saved`
    cannot be resumed: of the settings, and of the images if they are known."""
    now, then = config.settings(), saved.settings()
    changed = [name for name in FIXED_SETTINGS if now[name] != then[name]]
    problems = []
    if changed:
        given, had = (listed(changed, values, "--") for values in (now, then))
        them = "it" if len(changed) == 1 else "them"
        problems.append(f"{given}: the run in this --save_dir has {had}; remove {them}")
    if images_are_known:
        problems += changed_images(config, saved)
    if problems:
        raise ValueError(f"{'; '.join(problems)}, or give another --save_dir.")


def changed_images(config: Config, saved: Config) -> list[str]:
    """What differs of the images, their classes and the images of a step."""
    now, then = config.settings(), saved.settings()
    changed = [name for name in FROM_DATA if now[name] != then[name]]
    problems = []
    if changed:
        given, had = (listed(changed, values) for values in (now, then))
        problems.append(
            f"images with {given}: the run in this --save_dir has {had}; give the "
            "images it had"
        )
    names = config.class_names or (), saved.class_names or ()
    if all(names) and names[0] != names[1]:
        pairs = enumerate(itertools.zip_longest(*names))
        label, (ours, theirs) = next((i, p) for i, p in pairs if p[0] != p[1])
        problems.append(
            f"class {label} of the images is {ours!r}, and {theirs!r} in the run in "
            "this --save_dir; name the class folders as they were"
        )
    both = config.fingerprint, saved.fingerprint
    if not problems and None not in both and both[0] != both[1]:
        problems.append(
            "--data_dir: the images are not those of the run in this --save_dir, "
            "though as many and of the same shape; give the images it had"
        )
    if config.images_per_step != saved.images_per_step:
        problems.append(
            f"--batch_size={config.batch_size}: a step of all replicas takes "
            f"{config.images_per_step} images, and one of the run in this --save_dir "
            f"{saved.images_per_step}, on which their order depends; give a "
            "--batch_size that makes it so"
        )
    return problems


def changes_since(saved: Config, config: Config) -> list[str]:
    """Settings that differ from the saved run: 'learning_rate=0.001 (was 0.002)'."""
    now, then = config.settings(), saved.settings()
    changed = {
        name: f"{name}={now[name]} (was {then[name]})"
        for name in sorted(now)
        # Versions before this one did not save all that follows from the images.
        if now[name] != then[name] and (then[name] is not None or name not in NO_FLAGS)
    }
    if "held_out_fingerprint" in changed:
        changed["held_out_fingerprint"] = f"other {config.held_out} images than it had"
    return list(changed.values())
