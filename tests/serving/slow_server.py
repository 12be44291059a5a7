"""A server whose films that begin with ``slow`` are never decoded, for a process of its own.

python slow_server.py RUN
"""

import sys
import time
from typing import Any

from cxrlens.serving import work
from cxrlens.serving.serve import serve

decode = work.decode_film_apart


def slowly(data: bytes, *rest: Any) -> Any:
    if data.startswith(b"slow"):
        time.sleep(120)
    return decode(data, *rest)


if __name__ == "__main__":
    work.decode_film_apart = slowly
    serve(sys.argv[1], port=0)
