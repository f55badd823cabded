"""The client of test_gil, run as a program: it must keep time while its server's process holds the GIL.

    python gil_client.py PORT

It asks for /hold, which holds the GIL for some seconds from the first byte of its response, does what must go
on during the hold, and prints when each thing happened, in seconds since the hold began, as one JSON object. Only
the standard library is used, and nothing of the server's.
"""

import json
import socket
import sys
import time


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def receive(sock: socket.socket) -> bytes:
    """Return what comes until the end of the head, or of the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            break
        data += piece
    return data


def status(data: bytes) -> int:
    return int(data[9:12]) if data else 0


def main(port: int) -> dict[str, float | int]:
    """Do everything, in an order in which nothing waits for what comes later."""
    half = connect(port)
    half.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-Ha")  # its deadline falls into the hold
    idle = connect(port)
    holder = connect(port)
    holder.sendall(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
    begun = receive(holder)
    since = time.monotonic()
    told: dict[str, float | int] = {"held": status(begun)}

    malformed = connect(port)
    malformed.sendall(b"GET / HTTP/1.1\nHost: a\r\n\r\n")
    told["malformed"] = status(receive(malformed))
    told["malformed_s"] = time.monotonic() - since

    idle.sendall(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999\r\n\r\n")
    told["too_long"] = status(receive(idle))
    told["too_long_s"] = time.monotonic() - since

    told["half"] = status(receive(half))
    told["half_s"] = time.monotonic() - since

    # A new connection whose deadline begins during the hold, and is over before its end.
    late = connect(port)
    late.sendall(b"G")
    told["late"] = status(receive(late))
    told["late_s"] = time.monotonic() - since

    waits = connect(port)
    waits.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    told["waits"] = status(receive(waits))
    told["waits_s"] = time.monotonic() - since
    return told


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
