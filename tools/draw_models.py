"""Draw the four diagrams of docs/models.md as docs/models/NAME.svg; with --check, fail if one is stale.

Each is 800 wide and self-contained: it has no fonts, scripts or pictures from elsewhere, and has colours for light and
dark. The same thing has the same shape in all diagrams: a process is a rounded box, a thread a wavy line, a queue a row
of cells, a socket a circle. A solid arrow is bytes that move; a dashed one is something that is handed over.
"""

import sys
from collections.abc import Callable, Sequence
from xml.sax.saxutils import escape

from tools.written import ROOT, write_or_check

FOLDER = ROOT / "docs" / "models"

WIDTH = 800
CLIENT_X, CLIENT_WIDTH, CLIENT_HEIGHT = 16, 98, 34
KERNEL_X, KERNEL_WIDTH, KERNEL_HEIGHT = 140, 122, 66
PROCESS_X, PROCESS_END = 300, 780
CELL = 24  # side of a queue's cell
LINE = 18  # from one line of text to the next
WAVE = 12  # length of half a wave of a thread

STYLE = """
  text { font: 13px system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; fill: #1f2933; }
  .title { font-size: 17px; font-weight: 600; }
  .name { font-weight: 600; }
  .small { font-size: 12px; fill: #52606d; }
  .middle { text-anchor: middle; }
  .end { text-anchor: end; font-style: italic; }
  .frame { fill: #ffffff; stroke: #9aa5b1; }
  .client { fill: #f0f4f8; stroke: #7b8794; }
  .kernel { fill: #f5f7fa; stroke: #7b8794; stroke-dasharray: 3 3; }
  .process { fill: #eef4fb; stroke: #3f7cac; stroke-width: 1.5; }
  .half { fill: #ffffff; stroke: #3f7cac; }
  .application { fill: #fdf3dc; stroke: #b7791f; }
  .cell { fill: #ffffff; stroke: #7b8794; }
  .thread { fill: none; stroke: #2f855a; stroke-width: 3; stroke-linecap: round; }
  .connected { fill: #c05621; stroke: #c05621; stroke-width: 1.5; }
  .listening { fill: #ffffff; stroke: #c05621; stroke-width: 2; }
  .bytes { fill: none; stroke: #2b6cb0; stroke-width: 2; }
  .given { fill: none; stroke: #6b46c1; stroke-width: 1.75; stroke-dasharray: 5 4; }
  .bytes-head { fill: #2b6cb0; }
  .given-head { fill: #6b46c1; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e7eb; }
    .small { fill: #aab4c0; }
    .frame { fill: #161b22; stroke: #4a5563; }
    .client { fill: #27303b; stroke: #8793a0; }
    .kernel { fill: #1d242d; stroke: #8793a0; }
    .process { fill: #1a2a3a; stroke: #63a4d4; }
    .half { fill: #161b22; stroke: #63a4d4; }
    .application { fill: #3a2f17; stroke: #d9a441; }
    .cell { fill: #161b22; stroke: #8793a0; }
    .thread { stroke: #5fbf8f; }
    .connected { fill: #ed8a4c; stroke: #ed8a4c; }
    .listening { fill: #161b22; stroke: #ed8a4c; }
    .bytes { stroke: #6cb2f0; }
    .given { stroke: #b39af5; }
    .bytes-head { fill: #6cb2f0; }
    .given-head { fill: #b39af5; }
  }
"""

Point = tuple[float, float]


class Drawing:
    """The parts of one diagram, in the order in which they are painted."""

    def __init__(self, title: str, description: str, height: int) -> None:
        self._height = height
        self._parts = [
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(description)}</desc>",
            f"<style>{STYLE}</style>",
            f"<defs>{_head('bytes')}{_head('given')}</defs>",
            f'<rect class="frame" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
        ]
        self.text((20, 32), title, kind="title")
        self._legend()

    def text(self, at: Point, *lines: str, kind: str = "") -> None:
        """Write lines of text, one below the other."""
        for number, line in enumerate(lines):
            x, y = at[0], at[1] + number * LINE
            self._parts.append(f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(line)}</text>')

    def said(self, at: Point, name: str, *lines: str) -> None:
        """Write a name, and below it what it does."""
        self.text(at, name, kind="name")
        self.text((at[0], at[1] + LINE), *lines)

    def box(self, kind: str, at: Point, width: float, height: float, radius: float = 8) -> None:
        """Draw a rounded box from its upper left corner."""
        self._parts.append(
            f'<rect class="{kind}" x="{at[0]:g}" y="{at[1]:g}" width="{width:g}" height="{height:g}" rx="{radius:g}"/>'
        )

    def labelled(self, kind: str, at: Point, width: float, height: float, *lines: str) -> None:
        """Draw a box with lines in its middle."""
        self.box(kind, at, width, height)
        top = at[1] + height / 2 - (len(lines) - 1) * LINE / 2 + 4.5
        self.text((at[0] + width / 2, top), *lines, kind="middle")

    def client(self, y: float, name: str) -> None:
        """Draw a client at the left edge, in the middle of its row."""
        self.labelled("client", (CLIENT_X, y - CLIENT_HEIGHT / 2), CLIENT_WIDTH, CLIENT_HEIGHT, name)

    def thread(self, x: float, top: float, bottom: float) -> None:
        """Draw a thread: a wavy line downwards."""
        waves = max(2, round((bottom - top) / WAVE))
        half = (bottom - top) / waves
        bends = "".join(f" q {6 if number % 2 else -6} {half / 2:g} 0 {half:g}" for number in range(waves))
        self._parts.append(f'<path class="thread" d="M {x:g} {top:g}{bends}"/>')

    def socket(self, at: Point, kind: str = "connected", radius: float = 6) -> None:
        """Draw a socket: filled if it is connected, a ring if it listens."""
        self._parts.append(f'<circle class="{kind}" cx="{at[0]:g}" cy="{at[1]:g}" r="{radius:g}"/>')

    def queue(self, at: Point, cells: int, filled: Sequence[int], of_bytes: bool = False) -> None:
        """Draw a row of cells from its upper left corner. Filled cells hold a connected socket, or bytes."""
        for number in range(cells):
            self.box("cell", (at[0] + number * CELL, at[1]), CELL, CELL, radius=2)
            if number in filled and of_bytes:
                self.box("bytes-head", (at[0] + number * CELL + 5, at[1] + 5), CELL - 10, CELL - 10, radius=2)
            elif number in filled:
                self.socket((at[0] + (number + 0.5) * CELL, at[1] + CELL / 2), radius=4.5)

    def arrow(self, kind: str, *points: Point, both: bool = False) -> None:
        """Draw an arrow along the points. kind: `bytes` or `given`. both: it has a head at each end."""
        path = " ".join(f"{'L' if number else 'M'} {x:g} {y:g}" for number, (x, y) in enumerate(points))
        start = f' marker-start="url(#{kind}-head)"' if both else ""
        self._parts.append(f'<path class="{kind}" d="{path}"{start} marker-end="url(#{kind}-head)"/>')

    def talk(self, y: float, name: str, one_way: bool = False) -> None:
        """Draw a connected client, its socket at the edge of a process, and the bytes between them.

        one_way: bytes only go to the client.
        """
        self.client(y, name)
        self.arrow("bytes", (PROCESS_X - 9, y), (CLIENT_X + CLIENT_WIDTH + 3, y), both=not one_way)
        self.socket((PROCESS_X, y))

    def process(self, height: float) -> None:
        """Draw the one process that contains everything."""
        self.box("process", (PROCESS_X, 56), PROCESS_END - PROCESS_X, height)
        self.text((PROCESS_END - 14, 56 + height - 10), "one process", kind="end")

    def arrival(self, y: float) -> None:
        """Draw the way of a new client: through the kernel's backlog to a listening socket at a process's edge."""
        self.client(y, "newcomer")
        self.box("kernel", (KERNEL_X, y - KERNEL_HEIGHT / 2), KERNEL_WIDTH, KERNEL_HEIGHT)
        self.text((KERNEL_X + KERNEL_WIDTH / 2, y - 13), "kernel: backlog", kind="middle")
        self.queue((KERNEL_X + (KERNEL_WIDTH - 4 * CELL) / 2, y - 3), 4, (2, 3))
        self.arrow("given", (CLIENT_X + CLIENT_WIDTH + 2, y), (KERNEL_X - 3, y))
        self.arrow("given", (KERNEL_X + KERNEL_WIDTH + 1, y), (PROCESS_X - 10, y))
        self.socket((PROCESS_X, y), "listening")

    def _legend(self) -> None:
        y = self._height - 20
        self.arrow("bytes", (20, y), (54, y))
        self.text((61, y + 4), "bytes", kind="small")
        self.arrow("given", (112, y), (146, y))
        self.text((153, y + 4), "made, or passed on", kind="small")
        self.thread(310, y - 11, y + 11)
        self.text((322, y + 4), "thread", kind="small")
        self.socket((388, y))
        self.text((399, y + 4), "connected socket", kind="small")
        self.socket((526, y), "listening")
        self.text((537, y + 4), "listening socket", kind="small")
        self.queue((658, y - CELL / 2), 2, (1,))
        self.text((713, y + 4), "queue", kind="small")

    def render(self) -> str:
        """Return the diagram as SVG."""
        size = f'width="{WIDTH}" height="{self._height}" viewBox="0 0 {WIDTH} {self._height}"'
        body = "\n".join(self._parts)
        return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n{body}\n</svg>\n'


def _head(kind: str) -> str:
    """Return the head of an arrow, as a marker."""
    where = 'viewBox="0 0 8 8" refX="6" refY="4" markerWidth="8" markerHeight="8"'
    shape = f'<path class="{kind}-head" d="M 0 0 L 8 4 L 0 8 z"/>'
    return f'<marker id="{kind}-head" {where} markerUnits="userSpaceOnUse" orient="auto-start-reverse">{shape}</marker>'


def process() -> Drawing:
    """Draw the model `process`."""
    drawing = Drawing(
        "process: a child process for each connection",
        "A new client waits in the kernel's backlog. The parent process accepts it and forks a child, which exchanges "
        "bytes with this one client and runs its own copy of the application.",
        height=450,
    )
    drawing.box("process", (PROCESS_X, 56), PROCESS_END - PROCESS_X, 120)
    drawing.arrival(116)
    drawing.thread(338, 76, 156)
    drawing.said(
        (362, 82), "parent process",
        "accept() returns a connected socket",
        "fork() returns the child's pid: close the connected socket",
        "a child has ended: reap all that have ended",
        "SIGTERM: empty the backlog, wait for the children",
    )  # fmt: skip
    for number, y in enumerate((246, 346), start=1):
        drawing.box("process", (PROCESS_X, y - 42), 392, 84)
        drawing.talk(y, f"client {number}")
        drawing.thread(338, y - 30, y + 30)
        drawing.said(
            (362, y - 22), f"child process {number}",
            "fork() returns 0: close",
            "the listening sockets;",
            "receive, run, send; exit",
        )  # fmt: skip
        drawing.labelled("application", (548, y - 28), 130, 56, "application", "(its own copy)")
    drawing.arrow("given", (736, 176), (736, 246), (695, 246))
    drawing.arrow("given", (736, 246), (736, 346), (695, 346))
    drawing.text((744, 300), "fork()")
    return drawing


def thread() -> Drawing:
    """Draw the model `thread`."""
    drawing = Drawing(
        "thread: a thread for each connection",
        "A new client waits in the kernel's backlog. One thread accepts it and starts a thread for it, which exchanges "
        "bytes with this one client and runs the application, whose memory all threads share.",
        height=462,
    )
    drawing.process(342)
    drawing.arrival(116)
    drawing.thread(338, 86, 146)
    drawing.said(
        (362, 102), "accepting thread",
        "accept() returns a connected socket",
        "start a thread for it; never wait for a client",
    )  # fmt: skip
    for number, y in enumerate((236, 332), start=1):
        drawing.talk(y, f"client {number}")
        drawing.thread(338, y - 34, y + 34)
        drawing.said(
            (362, y - 14), f"thread of client {number}",
            "receive, run, send,",
            "until the connection ends",
        )  # fmt: skip
    drawing.labelled(
        "application", (640, 188), 124, 184, "application", "", "one memory,", "shared by", "all threads"
    )
    drawing.arrow("given", (590, 148), (590, 236), (546, 236))
    drawing.arrow("given", (590, 236), (590, 332), (546, 332))
    drawing.text((598, 174), "starts")
    return drawing


def pool() -> Drawing:
    """Draw the model `pool`."""
    drawing = Drawing(
        "pool: threads made in advance, over a queue of connected sockets",
        "A new client waits in the kernel's backlog. One thread accepts it and puts its socket into a bounded queue. "
        "Each of N threads takes a socket from the queue, exchanges bytes with its client and runs the application; "
        "while others wait, the socket goes back to the end of the queue.",
        height=546,
    )
    drawing.process(428)
    drawing.arrival(116)
    drawing.thread(338, 86, 146)
    drawing.said(
        (362, 102), "accepting thread",
        "accept(), put; never wait",
        "queue full: answer 503",
    )  # fmt: skip
    drawing.queue((398, 196), 8, range(5))
    drawing.text((398, 240), "queue of connected sockets")
    drawing.arrow("given", (532, 116), (578, 116), (578, 191))
    drawing.text((586, 160), "put, at the end")
    drawing.arrow("given", (394, 208), (338, 208), (338, 262))
    drawing.text((346, 201), "take")
    for number, y in enumerate((306, 412), start=1):
        drawing.talk(y, f"client {number}")
        drawing.thread(338, y - 38, y + 38)
        drawing.said(
            (362, y - 14), f"thread {number} of N",
            "receive, run, send; keep the",
            "connection while none waits",
        )  # fmt: skip
    drawing.arrow("given", (574, 306), (602, 306), (602, 208), (595, 208))
    drawing.text((610, 226), "back to the end,", "while others wait")
    drawing.labelled(
        "application", (640, 270), 124, 184, "application", "", "one memory,", "shared by", "all threads"
    )
    return drawing


def proactor() -> Drawing:
    """Draw the model `proactor`."""
    drawing = Drawing(
        "proactor: an engine that owns the sockets, workers that run the application",
        "The engine, one native thread that never holds the GIL, accepts, receives and sends. It puts complete "
        "requests into a bounded queue. N worker threads take them, run the application, and send what the socket "
        "takes at once; the rest of a response goes through an outbox back to the engine.",
        height=496,
    )
    drawing.process(380)
    drawing.box("half", (PROCESS_X, 72), 158, 272)
    drawing.arrival(116)
    drawing.thread(324, 92, 328)
    drawing.said(
        (342, 98), "engine",
        "one native",
        "thread, without",
        "the GIL",
    )  # fmt: skip
    drawing.text((342, 188), "accepts", "receives", "frames", "refuses", "sends", "keeps every", "deadline")
    drawing.talk(216, "client 1")
    drawing.talk(292, "client 2, slow")
    drawing.talk(392, "client 3", one_way=True)
    drawing.box("half", (624, 72), 140, 334)
    drawing.text((638, 94), "N workers", kind="name")
    for x in (654, 694, 734):
        drawing.thread(x, 108, 186)
    drawing.labelled(
        "application", (636, 204), 116, 140, "application", "", "one memory,", "shared by", "all workers"
    )
    drawing.text((638, 366), "it sends what", "the socket takes")
    drawing.queue((476, 124), 5, range(2, 5))
    drawing.text((536, 114), "request queue", kind="middle")
    drawing.text((536, 166), "complete requests", "full: 503", kind="middle")
    drawing.arrow("given", (459, 136), (474, 136))
    drawing.arrow("given", (598, 136), (620, 136))
    drawing.queue((476, 280), 5, range(3), of_bytes=True)
    drawing.text((536, 270), "outbox: the rest", kind="middle")
    drawing.text((536, 322), "memory, then a file", kind="middle")
    drawing.arrow("bytes", (621, 292), (601, 292))
    drawing.arrow("bytes", (475, 292), (461, 292))
    drawing.arrow("bytes", (621, 392), (PROCESS_X + 9, 392))
    drawing.text((460, 384), "at once, by the worker", kind="middle")
    return drawing


DIAGRAMS: dict[str, Callable[[], Drawing]] = {
    "process": process,
    "thread": thread,
    "pool": pool,
    "proactor": proactor,
}


def main(arguments: list[str]) -> int:
    """Write the diagrams, or compare them with the files. Return the exit code."""
    return write_or_check(
        {FOLDER / f"{name}.svg": draw().render() for name, draw in DIAGRAMS.items()}, arguments
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
