"""The command line: verbs only. Each parses, calls one function, and says what it wrote.

Nothing heavy is imported before a verb runs, so that ``--help`` answers at once.
"""

import sys

from cxrlens.cli.app import app
from cxrlens.cli.say import fault
from cxrlens.errors import CxrlensError


def main() -> None:
    """Run the command line; a fault of the user's input ends with its sentence and exit code 2."""
    try:
        app()
    except CxrlensError as error:
        fault(str(error))
        sys.exit(2)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in TRAINING:
            raise
        fault(
            f"this verb needs the extra 'train' ({error.name} is missing): "
            "pip install -c constraints.txt -e '.[train]'"
        )
        sys.exit(2)


TRAINING = {"lightning", "safetensors", "sklearn", "timm", "torch", "torchmetrics"}
"""What the extra ``train`` brings."""
