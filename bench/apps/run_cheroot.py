"""Run the application on cheroot.

Its command line cannot lift the limit of ten kept-alive connections; this can.
"""

import sys
from importlib import import_module

server = import_module("cheroot.wsgi").Server(
    ("127.0.0.1", int(sys.argv[1])),
    import_module("app").app,
    numthreads=4,
    max=4,
    timeout=120,  # also the keep-alive time: idle connections must live through the measurement
    request_queue_size=2048,
)
server.keep_alive_conn_limit = 20_000
server.safe_start()
