"""A plan in lines, for people."""

from keras_vit.training.plans import Plan


def table(made: Plan, notes: tuple[str, ...] = ()) -> str:
    """A plan in lines: what differs from the plainest run, and what was worked out."""
    settings = made.settings
    rows = [
        ("recipe", f"{made.recipe}: {made.title}"),
        ("source", made.source),
        *((choice, value) for choice, value in made.choices.items()),
        ("data", f"{made.train_size:,} images, {settings.batch_size} a step"),
        ("run", f"{made.epochs} epochs, {made.steps:,} steps, {made.warmup_steps:,} of warm-up"),
        (
            "learning rate",
            f"{made.learning_rate:.3g}, {settings.schedule} to {settings.end_rate:g}",
        ),
    ]
    plainest = type(settings)()
    told = {"epochs", "steps", "batch_size", "learning_rate", "learning_rate_batch", "schedule"}
    told |= {"learning_rate_scaling", "warmup_steps", "warmup_epochs", "end_rate"}
    for name, value in vars(settings).items():
        if name not in told and (value != getattr(plainest, name) or name == "optimizer"):
            rows.append((name.replace("_", " "), str(value)))
    augmentation = made.augmentation
    changed = [
        f"{name}={value}"
        for name, value in augmentation.to_dict().items()
        if value != type(augmentation)().to_dict()[name]
    ]
    rows.append(("augmentation", ", ".join(changed) or "none"))
    wanted = ", ".join(f"{name}={value}" for name, value in made.model_arguments.items())
    rows += [("model", f"loaded with {wanted}")] if wanted else []
    rows += [("note", note) for note in notes]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
