"""Explaining methods on the command line, read from their registry when help or a shell asks for them."""

from typing import Any

from typer.core import TyperCommand

OPTION = "method"
"""The parameter of the verb that names a method."""


def complete(incomplete: str) -> list[tuple[str, str]]:
    """Offer a shell the methods whose names begin so, with what they show."""
    from cxrlens.explanation.methods import METHODS

    return [(name, method.about) for name, method in METHODS.items() if name.startswith(incomplete)]


class ExplainCommand(TyperCommand):
    """The verb explain, whose help says what each method shows."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help with the names of the methods, and their words, in it."""
        told = complete("")
        for option in self.params:
            if option.name == OPTION:
                listed = "; ".join(f"{name}: {about}" for name, about in told)
                option.metavar = "|".join(name for name, _ in told)
                option.help = (  # type: ignore[attr-defined]
                    f"How to explain (default: the first that suits the model). {listed}."
                )
        super().format_help(ctx, formatter)
