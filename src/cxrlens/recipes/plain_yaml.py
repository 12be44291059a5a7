"""YAML as recipes need it: mappings, lists, words and numbers, and nothing that grows or calls.

Anchors can make 25 MB of 300 bytes, tags name types, and a word such as 2001-99-99 is no date: none of
them is taken. A document has at most `LARGEST` characters and `DEEPEST` levels.
"""

from typing import Any

import yaml

LARGEST = 65_536
DEEPEST = 16

_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class PlainYAMLError(ValueError):
    """What is no plain YAML; its text says where and why, in one line."""


def plain_yaml(text: str) -> Any:
    r"""Read one document.

    Parameters
    ----------
    text
        YAML. What looks like a date is text.

    Raises
    ------
    PlainYAMLError
        If it is no YAML, or more than plain.

    Examples
    --------
    >>> plain_yaml("side: 224\nabout: 2001-02-03")
    {'side': 224, 'about': '2001-02-03'}
    """
    if len(text) > LARGEST:
        raise PlainYAMLError(f"it has more than {LARGEST:,} characters")
    try:
        return yaml.load(text, _Plain)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise PlainYAMLError(f"{where}{_short(error.problem or error.context)}") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # Numbers of 5,000 digits and escapes beyond Unicode fail in int() and chr().
        raise PlainYAMLError(_short(error)) from error


def _short(detail: object) -> str:
    return " ".join(str(detail).split())[:200]


class _Plain(yaml.SafeLoader):
    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        # Without the pattern of dates, whose constructor fails at some of what it matches.
        self.yaml_implicit_resolvers = {
            first: [pair for pair in pairs if pair[0] != _TIMESTAMP]
            for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            self._refuse("anchors and aliases are not taken: write the value out", event)
        if getattr(event, "tag", None) not in (None, "!"):
            self._refuse("tags are not taken: write the plain value", event)
        if self._depth == DEEPEST:
            self._refuse(f"more than {DEEPEST} levels", event)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    @staticmethod
    def _refuse(problem: str, event: Any) -> None:
        raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
