"""What labels stand for, and whether two who use them mean the same."""

import dataclasses

from wae_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Classes:
    """What the labels 0..count-1 stand for.

    Attributes:
        count: how many classes there are.
        names: one per class, or None where only numbers are known.
        whose: who numbers them so, for messages: "train of folder", "the checkpoint runs/1".
    """

    count: int
    names: tuple[str, ...] | None
    whose: str


def check_same_classes(found: Classes, known: Classes) -> None:
    """Makes sure that a label means the same to both; names only where both have some.

    Raises:
        UserError: the classes differ; it tells the first that does.
    """
    if found.count != known.count:
        raise UserError(
            f"{found.whose} has {found.count} classes, and {known.whose} has {known.count}"
        )
    for number, (ours, theirs) in enumerate(
        zip(found.names or (), known.names or (), strict=False)
    ):
        if ours != theirs:
            raise UserError(
                f"labels of {found.whose} and of {known.whose} mean different things: class "
                f"{number} is {ours!r} in the one and {theirs!r} in the other"
            )
