"""`--only STEP[/OUTPUT]`: which steps, and how far."""

from __future__ import annotations

from collections.abc import Sequence

from ticketcli.recipe.recipe import Recipe


def asked_steps(recipe: Recipe, only: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    """Step -> the outputs to get as far as, none for all of it; in the recipe's order, all steps without `only`.

    Raises:
        UsageError: there is no such step.
    """
    found: dict[str, tuple[str, ...]] = {}
    for word in only or []:
        start, slash, output = word.partition("/")
        for name in recipe.named(start):
            whole = not slash or found.get(name) == ()
            found[name] = () if whole else (*found.get(name, ()), output)
    return {step.name: found.get(step.name, ()) for step in recipe.steps if not only or step.name in found}
