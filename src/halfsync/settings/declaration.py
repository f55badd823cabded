"""The declarations of all settings. A setting is spelled only here.

Flag, environment variable, TOML key, validation, help text, the output of ``halfsync check`` and docs/settings.md are
all made from a field of ``DeclaredSettings`` and what ``setting()`` says about it. To add a setting, add a field.

This is one table, which users read as a page of the documentation, so it stays whole however long it becomes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from halfsync.settings.kinds import (
    GIB,
    KIB,
    MIB,
    YEAR_S,
    Choice,
    Count,
    Duration,
    FileOwner,
    Flag,
    Function,
    Mode,
    Optional,
    Path,
    Principal,
    RootPath,
    Size,
    Text,
)
from halfsync.settings.lists import Addresses, Binds, Mounts
from halfsync.settings.setting import (
    APPLICATION,
    AT_START,
    CONCURRENCY,
    DEADLINES,
    FILES,
    LOGGING,
    MEMORY,
    OPEN_SOCKETS,
    PROCESSES,
    PROXIES,
    REQUESTS,
    SOCKETS,
    Setting,
    setting,
)

EXA = 2**60  # a bound for values that only must fit the engine's 64-bit counters


# Without the methods that dataclass would write: compiling them for so many fields takes a megabyte and milliseconds.
@dataclass(frozen=True, slots=True, kw_only=True, init=False, repr=False, eq=False)
class DeclaredSettings:
    """The fields of ``Settings``, which has the methods."""

    # fmt: off
    bind: tuple[str, ...] = setting(
        ("127.0.0.1:8000",), Binds(), SOCKETS, short="b", convention=("PORT", "0.0.0.0:{}"),
        doc="Listen on HOST:PORT, :PORT (all interfaces), unix:PATH, unix:@NAME, fd://N, or the sockets that systemd "
            "passes: systemd (all of them) or systemd:NAME; repeatable.",
        reason="Nothing is open to the network until somebody says so. Sockets that systemd passes are used unasked.")
    backlog: int = setting(
        2048, Count(1, 65535), SOCKETS, reload=OPEN_SOCKETS,
        doc="Connections the kernel holds for each listener until they are accepted.",
        reason="Room for a burst; the kernel lowers it to net.core.somaxconn.")
    max_connections: int = setting(
        16384, Count(1, 1_000_000), SOCKETS,
        doc="Open connections in one process, idle ones included; the limit on open files may lower it. Past it the "
            "one that has idled longest is closed for a newcomer, then one that has been silent for a second; if "
            "there is none, newcomers wait in the backlog.",
        reason="An idle connection costs a few kilobytes, so this bounds memory and not work.")
    max_connections_per_client: int = setting(
        0, Count(0, 1_000_000), SOCKETS,
        doc="Open connections of one client in one process, idle ones included; past it a newcomer is answered 503. A "
            "client is an IPv4 address, or the /64 network of an IPv6 address (IPv4 in IPv6 counts as IPv4); peers on "
            "unix sockets are not counted. With proxy_protocol the client is the one that the header tells. Fields "
            "like X-Forwarded-For come too late: behind a proxy that sends them, all clients are one. 0: no limit.",
        reason="Many people may share an address (an office, a mobile network), and a proxy lends its own to all.")
    unix_mode: int = setting(
        0o666, Mode(), SOCKETS, reload=OPEN_SOCKETS,
        doc="Permissions of the unix sockets that are made, in octal; who may write to one may connect.",
        reason="A proxy runs as another user; so any local user may connect, as to a port of 127.0.0.1.")
    unix_owner: str | None = setting(
        None, FileOwner(), SOCKETS, reload=OPEN_SOCKETS,
        doc="User and group that own the unix sockets that are made: user, user:group or :group.",
        reason="They belong to whoever runs the server, which needs no privilege.")
    poller: str = setting(
        "auto", Choice("auto", "epoll", "poll"), SOCKETS,
        doc="The system call that waits for the sockets.",
        reason="Takes the best one that the system has.")

    forwarded_allow_ips: tuple[str, ...] = setting(
        ("127.0.0.1", "::1", "unix"), Addresses(), PROXIES, convention=("FORWARDED_ALLOW_IPS", "{}"),
        doc='Peers whose X-Forwarded- and Forwarded fields are believed: addresses, networks, unix (unix sockets), '
            '"*" (all) or none. From others these fields are left out.',
        reason="A proxy on this machine works as it is, and no client elsewhere can give itself another address.")
    proxy_protocol: bool = setting(
        False, Flag(), PROXIES,
        doc="Each connection begins with a header of the PROXY protocol, version 1 or 2, that tells the client.",
        reason="Browsers and most proxies send none, and with it nobody else can connect.")
    proxy_allow_ips: tuple[str, ...] = setting(
        ("127.0.0.1", "::1", "unix"), Addresses(), PROXIES,
        doc="With proxy_protocol: peers that may connect, written like forwarded_allow_ips; others are closed.",
        reason="Who connects may call itself any client, so nobody elsewhere may until somebody says so.")
    root_path: str = setting(
        "", RootPath(), PROXIES,
        doc="Path that the application is mounted at: SCRIPT_NAME, taken off the paths that begin with it.",
        reason="Most applications are served at the root.")

    model: str = setting(
        "proactor", Choice("process", "thread", "pool", "proactor"), CONCURRENCY,
        doc="How many clients are served at once: who moves the bytes and who runs the application.",
        reason="Only here can no slow client hold a worker.")
    threads: int = setting(
        4, Count(1, 1024, auto=True), CONCURRENCY,
        doc="Worker threads of the models proactor and pool, in each process: how many turns run at once. auto: 8 for "
            "each processor that a process can use, which with the GIL is one.",
        reason="Blocking calls overlap, and few threads contend for the GIL.")
    max_children: int = setting(
        1024, Count(1, 100_000), CONCURRENCY,
        doc="Child processes of the model `process`, one for each connection; past it the one whose connection has "
            "idled longest ends for a newcomer, then one that has been silent for a second; if there is none, "
            "newcomers wait in the backlog.",
        reason="A child costs one to two megabytes, so these cost a gigabyte or two.")
    queue_size: int = setting(
        2048, Count(1, 1_000_000), CONCURRENCY,
        doc="Complete requests (model pool: connections) that may wait for a worker; past it the answer is 503.",
        reason="Absorbs a burst; a longer queue only makes answers that come too late.")

    workers: int | None = setting(
        None, Optional(Count(1, 1024, auto=True)), PROCESSES, short="w", convention=("WEB_CONCURRENCY", "{}"),
        doc="Serving processes, under a supervisor that replaces those that end. auto: one for each processor that may "
            "be used (affinity, cgroup quota), as far as memory reaches at 128 MiB each; without the GIL one.",
        reason="One process serves by itself, with no supervisor: enough to start with, and no state is shared.")
    preload: bool = setting(
        False, Flag(), PROCESSES, reload=AT_START,
        doc="With workers: load the application once, before the serving processes are forked, which then share its "
            "memory.",
        reason="Each process loads its own, so that a reload can replace it.")
    post_fork: str | None = setting(
        None, Optional(Function()), PROCESSES,
        doc="With workers: called in each serving process once it is forked, before it serves, with an object "
            "that has number (its place, from 1), pid and generation. An error keeps that process from serving.",
        reason="Most applications open what they need when they are imported or first asked.")
    worker_ready: str | None = setting(
        None, Optional(Function()), PROCESSES,
        doc="With workers: called with the same in each serving process when it begins to serve. An error is logged.",
        reason="Few have anything to tell then.")
    worker_exit: str | None = setting(
        None, Optional(Function()), PROCESSES,
        doc="With workers: called with the same in each serving process when it has answered its last request and is "
            "about to end. An error is logged.",
        reason="What a process holds ends with it.")
    pidfile: str | None = setting(
        None, Text("FILE"), PROCESSES,
        doc="Write the number of the process that takes signals to this file, and remove it at the end.",
        reason="systemd, containers and supervisors know the process without; nothing is written unasked.")
    user: str | None = setting(
        None, Optional(Principal("USER")), PROCESSES,
        doc="Serve as this user, by name or number, once the sockets are open; only root may change.",
        reason="Who starts the server also runs the application.")
    group: str | None = setting(
        None, Optional(Principal("GROUP")), PROCESSES,
        doc="Serve as this group, by name or number. Without it: the group that the user has in the password file.",
        reason="Goes with the user.")
    umask: int | None = setting(
        None, Optional(Mode()), PROCESSES,
        doc="Permissions, in octal, that files which are made do not get. unix_mode says those of unix sockets.",
        reason="Whoever starts the server has set one.")
    boot_timeout: float = setting(
        60.0, Duration(), PROCESSES,
        doc="With workers: how long a serving process may take to load the application; past it it is killed, and "
            "counts as failed.",
        reason="The slowest of applications load in less; one that waits for a dead service never does.")
    warmup: str | None = setting(
        None, Text("PATH"), PROCESSES,
        doc="With workers: ask each new process for this path before it is ready; an error keeps it from serving.",
        reason="What an application loads with its first request, only its author knows.")
    max_requests: int = setting(
        0, Count(0, EXA), PROCESSES,
        doc="Replace a serving process after this many requests; 0: never.",
        reason="For an application that leaks and cannot be mended yet.")
    max_requests_jitter: int = setting(
        0, Count(0, EXA), PROCESSES,
        doc="Add up to so many requests, by chance, to max_requests of each process.",
        reason="Processes are replaced one at a time in any case; this spreads it over time.")
    max_lifetime: float = setting(
        0.0, Duration(zero=True, longest_s=YEAR_S), PROCESSES,
        doc="Replace a serving process after this time; 0: never.",
        reason="A process that is well needs no replacing.")
    max_rss: int = setting(
        0, Size(0, EXA), PROCESSES,
        doc="Replace a serving process that has served requests and is larger than this (resident memory); 0: never.",
        reason="How much an application needs is for somebody to say. It is looked at several times a second.")
    admin_bind: tuple[str, ...] = setting(
        (), Binds(optional=True), PROCESSES,
        doc="Answer GET /livez and /readyz here, for orchestrators: HOST:PORT or unix:PATH; repeatable.",
        reason="Nothing of it shall be on the public port.")
    drain_delay: float = setting(
        0.0, Duration(zero=True), PROCESSES,
        doc="On SIGTERM go on serving for so long, each response with Connection: close, before beginning to end.",
        reason="For load balancers that take a moment to hear of it; without one it would only cost time.")

    factory: bool = setting(
        False, Flag(), APPLICATION,
        doc="The target is a function that takes no arguments and returns the application.",
        reason="Most targets are the application itself.")
    stream: bool = setting(
        False, Flag(), APPLICATION,
        doc="The target makes handlers of raw TCP (see StreamHandler), and is no WSGI application.",
        reason="Most of what is served is HTTP.")
    chdir: str | None = setting(
        None, Text("DIR"), APPLICATION,
        doc="Change to this directory before loading the application; relative paths start there.",
        reason="The application is looked for where the command is run.")
    config: str | None = setting(
        None, Text("FILE"), APPLICATION, short="c",
        doc="Read settings from this TOML file.",
        reason="Without it: halfsync.toml in the working directory, else [tool.halfsync] in pyproject.toml.")
    reload: bool = setting(
        False, Flag(), APPLICATION, reload=AT_START,
        doc="For development: load the application anew when its source changes, and show as a page why it cannot be "
            "loaded. Without workers one process serves, under a supervisor. Needs the package watchfiles.",
        reason="It watches files, shows tracebacks to clients and lets requests wait: not for production.")
    server_header: bool = setting(
        True, Flag(), APPLICATION,
        doc='Send "Server: halfsync" with each response that has no Server field of its own.',
        reason="Tells which server answered; it gives no version away.")

    static: tuple[tuple[str, str], ...] = setting(
        (), Mounts(), FILES,
        doc="Serve the files of DIR under PREFIX, without the application; repeatable. The longest prefix counts.",
        reason="Which files are public is for somebody to say.")
    static_symlinks: bool = setting(
        False, Flag(), FILES,
        doc="Follow symbolic links in those directories, wherever they lead.",
        reason="So nothing outside of them can be read by way of them.")
    static_max_age: float = setting(
        0.0, Duration(zero=True, longest_s=YEAR_S), FILES,
        doc="Let caches use those files for so long without asking (Cache-Control: max-age); 0 says nothing to them.",
        reason="Only files whose names change with their content may be kept unasked.")

    access_log: str | None = setting(
        None, Text("-|FILE"), LOGGING,
        doc='Write a line for each request to this file, or to standard output for "-". It is opened before the server '
            'becomes `user`, who gets the file if it is made then; with the rights of `user` if others than root can '
            'replace it.',
        reason="A proxy in front usually writes one already.")
    log_format: str = setting(
        "combined", Choice("combined", "json"), LOGGING,
        doc="The form of an access log line.",
        reason="The form that log readers know.")
    log_level: str = setting(
        "info", Choice("debug", "info", "warning", "error", "critical"), LOGGING,
        doc="The least severe message that the server writes to standard error.",
        reason="Start, stop and trouble; nothing for each request.")

    first_byte_timeout: float = setting(
        30.0, Duration(), DEADLINES,
        doc="How long a new connection may say nothing.",
        reason="Browsers open connections ahead of need; a silent one costs little.")
    head_timeout: float = setting(
        10.0, Duration(), DEADLINES,
        doc="From the first byte of a request to the end of its head; past it the answer is 408.",
        reason="A head is a packet or two: seconds even on a bad link.")
    body_timeout: float = setting(
        30.0, Duration(), DEADLINES,
        doc="The longest gap between two pieces of a request body; past it the answer is 408.",
        reason="Longer than a mobile link drops out for.")
    body_total_timeout: float = setting(
        3600.0, Duration(zero=True), DEADLINES,
        doc="From the first byte of a request to the last of its body; past it the answer is 408. 0: no limit.",
        reason="Time for the largest body, a gigabyte, at 2.4 Mbit/s.")
    min_body_rate: int = setting(
        256, Size(0, GIB), DEADLINES,
        doc="Bytes per second that a client must send of a request body, on average over each rate window, or be "
            "answered 408; 0 asks for none.",
        reason="A tenth of what the slowest mobile link brings; who sends less does it on purpose.")
    write_timeout: float = setting(
        30.0, Duration(), DEADLINES,
        doc="How long a client may take nothing of its response; then the connection is closed.",
        reason="A reader who is merely slow takes something in this time.")
    queue_timeout: float = setting(
        60.0, Duration(zero=True), DEADLINES,
        doc="Model proactor: how long a request may wait for a worker; past it the answer is 503. 0: no limit.",
        reason="As long as nginx waits for an answer: whoever asked has given up by then.")
    request_timeout: float = setting(
        0.0, Duration(zero=True), DEADLINES,
        doc="Model proactor: how long the application may take for one request, from when a worker begins with it "
            "until the last of its response is made. Past it the client is answered 504, or cut off where the "
            "response had begun, the stack of the thread is logged, and another takes its place. 0: no limit.",
        reason="Nobody but its author knows how long an application may rightly take.")
    max_stuck: int = setting(
        16, Count(0, 1024), DEADLINES,
        doc="Threads past request_timeout that others have taken the place of; past it capacity shrinks, and the "
            "server is not ready.",
        reason="Each holds its memory until the application returns: more is an outage, to be seen as one.")
    min_write_rate: int = setting(
        256, Size(0, GIB), DEADLINES,
        doc="Bytes per second that a client must take of a response that waits for it, on average over each rate "
            "window, or be cut off; 0 asks for none.",
        reason="As for bodies. Time in which the application has nothing to send is not counted.")
    rate_window: float = setting(
        20.0, Duration(), DEADLINES,
        doc="The time over which those two averages are taken.",
        reason="Long enough for a link to drop out and come back, and for acknowledgements that come in bunches.")
    keep_alive: float = setting(
        75.0, Duration(zero=True), DEADLINES,
        doc="How long a connection may idle between two requests; 0 closes it after each response.",
        reason="Longer than the 60s for which common proxies keep theirs, so that the proxy closes first.")
    graceful_timeout: float = setting(
        30.0, Duration(zero=True), DEADLINES,
        doc="How long a stopping server waits for the requests it has accepted.",
        reason="As long as Kubernetes waits after TERM, and as gunicorn does.")

    max_request_line: int = setting(
        8 * KIB, Size(64, MIB), REQUESTS,
        doc="Bytes of a request line; past it the answer is 414.",
        reason="RFC 9112, section 3, asks for at least 8000.")
    max_field: int = setting(
        8 * KIB, Size(64, 64 * KIB - 1), REQUESTS,
        doc="Bytes of one header field line; past it the answer is 431.",
        reason="Fits a large cookie or a token.")
    max_fields: int = setting(
        100, Count(1, 100), REQUESTS,
        doc="Header fields in one request; past it the answer is 431.",
        reason="Browsers send about twenty, and proxies add ten.")
    max_head: int = setting(
        64 * KIB, Size(256, MIB), REQUESTS,
        doc="Bytes of a whole request head; past it the answer is 431.",
        reason="Bounds what a connection holds before its request is known.")
    max_body: int = setting(
        GIB, Size(0, EXA), REQUESTS,
        doc="Bytes of a request body; past it the answer is 413.",
        reason="Large uploads work as they are; only the disk has to hold them.")

    body_memory: int = setting(
        64 * KIB, Size(0, GIB), MEMORY,
        doc="A request body up to this size stays in memory; a larger one goes to a temporary file.",
        reason="Forms and API calls never touch the disk.")
    spool_memory: int = setting(
        MIB, Size(0, GIB), MEMORY,
        doc="Bytes of one response kept in memory until its client takes them; the rest goes to a file.",
        reason="Nearly every page fits, so that its worker is free at once.")
    response_ahead: int = setting(
        4 * MIB, Size(0, EXA), MEMORY,
        doc="Model proactor: bytes that a response may be ahead of its client while the application makes it piece by "
        "piece; past it the worker waits for the client, until the write timeout. 0: no limit.",
        reason="Nearly every page that is made in pieces fits, so that its worker is free at once; and a video of "
        "8 Mbit/s is at most 4 s late.")
    spool_disk: int = setting(
        4 * GIB, Size(0, EXA), MEMORY,
        doc="Bytes of all temporary files of one process together.",
        reason="Bounds what slow clients can fill; past it workers wait for them, until the write timeout.")
    temp_dir: str = setting(
        "/tmp", Path("DIR"), MEMORY, convention=("TMPDIR", "{}"),
        doc="Where temporary files are made; they have no names there.",
        reason="Every system has it, and clears it.")
    # fmt: on

    origins: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    sized: str = field(default="")


SETTINGS: tuple[Setting, ...] = tuple(
    Setting(name=one.name, default=one.default, **one.metadata)
    for one in fields(DeclaredSettings)
    if "kind" in one.metadata
)
BY_NAME: dict[str, Setting] = {one.name: one for one in SETTINGS}
