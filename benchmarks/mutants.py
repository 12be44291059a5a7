"""Mutation testing of splits, metrics and calibration: small faults that the tests would not see.

    python -m benchmarks mutants [--most 80] [--seed 0] [--only WORD] [--again | --untried]

Each mutant is one change of one place: a comparison, an operator, a number, a truth value, a condition. The
tests named beside each file run against it in a fork that loads the file with that change; those of a room's
fast tests are named that need no training. A mutant that no test fails on has survived: the table names it, and
`EQUAL` says of those that were looked at why they change nothing that could be tested.
"""

from __future__ import annotations

import argparse
import ast
import importlib.abc
import importlib.util
import os
import random
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pandas as pd

from record import RESULTS, keep, kept, machine, markdown, stamp

HOUSE = Path(__file__).parents[1]
LIMIT = 120
"""Processor seconds after which a mutant counts as killed: the slowest tests take a sixth."""

TARGETS: dict[str, tuple[tuple[str, ...], list[str]]] = {
    "collections.combine": (
        ("split", "fold", "_deal"),
        ["tests/collections/test_splits.py", "tests/test_properties.py", "-k", "split or fold or patient"],
    ),
    "evaluation.metrics": (
        (),
        ["tests/evaluation/test_metrics.py", "tests/evaluation/test_abstention.py", "tests/test_properties.py", "-k", "not boxes and not copies and not lungs"],
    ),
    "evaluation.calibrate": (
        ("fit_site", "_refuse_few", "_shares", "_threshold", "_missed", "_below", "_told", "_order_statistic", "_clopper", "films_for", "_half", "beta_quantile", "_screened", "_rates", "_bound"),
        ["tests/evaluation/test_calibrate.py", "-k", "not become and not corrects"],
    ),
    "prediction.calibration": (
        (),
        ["tests/prediction/test_trust.py", "tests/reports/test_curves.py"],
    ),
}  # fmt: skip
"""Modules, the functions looked at (all where none is named), and what pytest is asked to run."""

EVEN = "folds have equal shares: whatever they are, the same fold lacks most"
COUNTED = "each class is there, as the function says: the least length changes nothing"
EQUAL = {
    "collections.combine.fold: `1 / folds` → `1 * folds`": EVEN,
    "collections.combine.fold: `1` → `2`": EVEN,
    "collections.combine._deal: `9` → `10`": "where to round sums of a few shares: any place does",
    "collections.combine._deal: `shares * len(films)` → `shares / len(films)`": "parts that lack alike have shares alike, and then what they hold decides",
    "evaluation.metrics.measure: `1` → `2`": "0 divided by 1 or by 2: a class with one film in all that was not found",
    "prediction.calibration: `True` → `False`": "frozen guards against a slip of ours, it is no behaviour",
    "prediction.calibration.fit_calibration: `diseases + 1` → `diseases - 1`": COUNTED,
    "prediction.calibration.fit_calibration: `1.0` → `1.6`": "where Newton's step is first tried: it is halved until it helps",
    "prediction.calibration.fit_calibration: `loss(found - size * step) > before` → `loss(found - size * step) >= before`": "a step that changes nothing ends the search either way",
    "evaluation.calibrate.films_for: `1` → `2`": "where the search begins: it grows until it is wide enough",
    "evaluation.calibrate.beta_quantile: `60` → `61`": "halvings past what a number holds",
    "evaluation.calibrate.films_for: `2` → `3`": "how fast the search grows: halving then finds the same",
    "evaluation.calibrate.fit_site: `True` → `False`": "zip of two lists that have one length: strict guards against a slip of ours",
}
"""Survivors that were looked at, and why they are no fault."""

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.MatMult: ast.Mult,
}  # fmt: skip


SKIPPED = {"annotation", "returns", "decorator_list", "bases"}


class Mutator(ast.NodeTransformer):
    """Change the place of a number, counted through the file; without one only count.

    Annotations, names, sentences and what is raised stay: tests of wording are no part of this.
    """

    def __init__(self, functions: tuple[str, ...], chosen: int = 0) -> None:
        self.functions, self.chosen = functions, chosen
        self.seen, self.where, self.what = 0, "", ""
        self.within: list[str] = []

    def visit(self, node: ast.AST) -> ast.AST:
        """Change a node, or what lies below it."""
        if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr):
            return node
        other = changed(node) if self.within or not self.functions else None
        if other is not None:
            self.seen += 1
            if self.seen == self.chosen:
                self.where = ".".join(self.within)
                self.what = f"`{ast.unparse(node)}` → `{ast.unparse(other)}`"
                return ast.copy_location(other, node)
        named = isinstance(node, ast.FunctionDef | ast.ClassDef)
        if named and not self.within and self.functions and node.name not in self.functions:
            return node
        self.within += [node.name] if named else []
        for name, value in ast.iter_fields(node):
            if name in SKIPPED:
                continue
            if isinstance(value, list):
                value[:] = [self.visit(one) if isinstance(one, ast.AST) else one for one in value]
            elif isinstance(value, ast.AST):
                setattr(node, name, self.visit(value))
        del self.within[len(self.within) - named :]
        return node


def changed(node: ast.AST) -> ast.expr | None:
    """Give the change of one place; None where there is nothing to change."""
    match node:
        case ast.Compare(left, [op, *ops], right) if type(op) in SWAPS:
            return ast.Compare(left, [SWAPS[type(op)](), *ops], right)
        case ast.BinOp(left, op, right) if type(op) in SWAPS:
            return ast.BinOp(left, SWAPS[type(op)](), right)
        case ast.BoolOp(op, values):
            return ast.BoolOp(SWAPS[type(op)](), values)
        case ast.Constant(bool(value)):
            return ast.Constant(not value)
        case ast.Constant(int(value)):
            return ast.Constant(value + 1)
        case ast.Constant(float(value)):
            return ast.Constant(1.5 * value + 0.1)
        case ast.IfExp(test, body, orelse):
            return ast.IfExp(test, orelse, body)
        case ast.UnaryOp(_, operand):
            return operand
    return None


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Load one module from a changed tree."""

    def __init__(self, module: str, tree: ast.Module, path: Path) -> None:
        self.module, self.tree, self.path = module, tree, path

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        """Answer for that module."""
        return importlib.util.spec_from_loader(name, self) if name == self.module else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed tree."""
        exec(compile(ast.fix_missing_locations(self.tree), str(self.path), "exec"), vars(module))


def tested(name: str, chosen: int, asked: Sequence[str]) -> tuple[str, str, str, float]:
    """Run the tests against a mutant: where, what, how it ended, and processor seconds."""
    path = HOUSE / "src" / "cxrlens" / f"{name.replace('.', '/')}.py"
    tree, mutator = ast.parse(path.read_text()), Mutator(TARGETS[name][0], chosen)
    mutator.visit(tree)
    child = os.fork()
    if not child:
        code = 70
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT))
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            sys.meta_path.insert(0, Changed(f"cxrlens.{name}", tree, path))
            import pytest

            options = ("-x", "-q", "-p", "no:cacheprovider", "-o", "addopts=", "-m", "not slow")
            code = int(pytest.main([*options, *asked]))
        finally:
            os._exit(code)
    _, status, used = os.wait4(child, 0)
    ended = {0: "survived", 1: "a test failed", -24: "never ended", -9: "never ended"}
    code = os.waitstatus_to_exitcode(status)
    return mutator.where, mutator.what, ended.get(code, "did not load"), used.ru_utime


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--most", type=int, default=80, help="mutants of a module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="modules whose name has this word")
    parser.add_argument("--again", action="store_true", help="only those that survived before")
    parser.add_argument("--untried", action="store_true", help="only those not tried before")
    options = parser.parse_args()
    os.chdir(HOUSE)
    sys.path.insert(0, str(HOUSE))
    # What every fork needs and no mutant changes is loaded once.
    import cv2  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import onnxruntime  # noqa: F401
    import pydicom  # noqa: F401
    import pytest  # noqa: F401
    import scipy.stats  # noqa: F401
    import sklearn.metrics  # noqa: F401

    for name, (functions, asked) in TARGETS.items():
        if options.only not in name:
            continue
        if "did" in (whole := tested(name, 0, asked)[2]) or "failed" in whole:
            raise SystemExit(f"the tests of {name} fail without a change")
        counter = Mutator(functions)
        counter.visit(ast.parse((HOUSE / f"src/cxrlens/{name.replace('.', '/')}.py").read_text()))
        every = range(1, counter.seen + 1)
        chosen = sorted(random.Random(options.seed).sample(every, min(options.most, counter.seen)))
        old = {one["number"]: one for one in found().get(name, [])}
        if options.again:
            chosen = [n for n in chosen if old.get(n, {}).get("ended") == "survived"]
        if options.untried:
            chosen = [n for n in chosen if n not in old]
        for number in chosen:
            where, what, ended, seconds = tested(name, number, asked)
            one = {"number": number, "where": where, "what": what, "ended": ended, "seconds": round(seconds, 1)}  # fmt: skip
            old[number] = one
            print(name, one, flush=True)
            # Read anew: another process may have finished another module's meanwhile.
            write({**found(), name: [old[number] for number in sorted(old)]}, options.seed)


def found() -> dict[str, list[dict[str, object]]]:
    return kept("mutants").get("mutants", {})


def write(mutants: dict[str, list[dict[str, object]]], seed: int) -> None:
    rows, left = [], []
    for name, ones in mutants.items():
        ended = pd.Series([str(one["ended"]) for one in ones]).value_counts()
        survived = [one for one in ones if one["ended"] == "survived"]
        of = [f"{name}.{one['where']}".rstrip(".") + f": {one['what']}" for one in survived]
        rows.append(
            {
                "module": name,
                "mutants": len(ones),
                "a test failed": ended.get("a test failed", 0),
                "did not load or never ended": ended.get("did not load", 0) + ended.get("never ended", 0),
                "survived": len(survived),
                "of them no fault": sum(one in EQUAL for one in of),
            }
        )  # fmt: skip
        left += [{"survived": one, "looked at": EQUAL.get(one, "not yet")} for one in of]
    keep("mutants", {"seed": seed, "mutants": mutants})
    text = (
        f"Written by `python -m benchmarks mutants`, seed {seed}.\n\n{markdown(pd.DataFrame(rows))}\n\n"
        f"{markdown(pd.DataFrame(left)) if left else 'None survived.'}\n\n{stamp(machine())}\n"
    )
    (RESULTS / "mutants.md").write_text(text)


if __name__ == "__main__":
    main()
