"""The command line: verbs only. Each parses, calls one function, and says what it wrote.

Nothing heavy is imported before a verb runs, so that ``--help`` answers at once.
"""

import sys

from cxrlens.cli.app import app
from cxrlens.cli.say import fault
from cxrlens.errors import CxrlensError, missing


def main() -> None:
    """Run the command line; a fault of the user's input ends with its sentence and exit code 2."""
    try:
        app()
    except CxrlensError as error:
        fault(str(error))
        sys.exit(2)
    except ModuleNotFoundError as error:
        lacking = missing(error.name or "")
        if lacking is None:
            raise
        fault(str(lacking))
        sys.exit(2)
