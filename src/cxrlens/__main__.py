"""``python -m cxrlens`` is the command ``cxrlens``."""

from cxrlens.cli import main

main()
