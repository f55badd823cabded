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
    FieldName,
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
from halfsync.settings.lanes import Lane, Lanes, Share
from halfsync.settings.lists import (
    Addresses,
    Binds,
    Directories,
    Files,
    Mounts,
    Patterns,
    SchemeHeaders,
    Variables,
)
from halfsync.settings.log_kinds import FACILITIES, LogFormat, LogTarget
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
    TLS,
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
        reason="Only this machine can connect unless this is set. Sockets that systemd passes are used by default.")
    backlog: int = setting(
        2048, Count(1, 65535), SOCKETS, reload=OPEN_SOCKETS,
        doc="Connections the kernel holds for each listener until they are accepted.",
        reason="Room for a burst; the kernel lowers it to net.core.somaxconn.")
    max_connections: int = setting(
        16384, Count(1, 1_000_000), SOCKETS,
        doc="Open connections in one process, idle ones included; the limit on open files may lower it. Past it the "
            "one that has idled longest is closed for a new one, then one that has been silent for a second; if "
            "there is none, new connections wait in the backlog.",
        reason="An idle connection costs a few kilobytes, so this bounds memory and not work.")
    max_connections_per_client: int = setting(
        0, Count(0, 1_000_000), SOCKETS,
        doc="Open connections of one client in one process, idle ones included; past it a new one is answered 503. A "
            "client is an IPv4 address, or the /64 network of an IPv6 address (IPv4 in IPv6 counts as IPv4); peers on "
            "unix sockets are not counted. With proxy_protocol the client is the one in the header. Fields "
            "like X-Forwarded-For come too late: behind a proxy that sends them, all clients are one. 0: no limit.",
        reason="Many people may share an address (an office, a mobile network), and clients of a proxy do.")
    unix_mode: int = setting(
        0o666, Mode(), SOCKETS, reload=OPEN_SOCKETS, aliases="unix_socket_perms chmod_socket",
        doc="Permissions of the unix sockets that are created, in octal. A user with write permission can connect.",
        reason="A proxy runs as another user. So any local user can connect, as to a port of 127.0.0.1.")
    unix_owner: str | None = setting(
        None, FileOwner(), SOCKETS, reload=OPEN_SOCKETS,
        doc="User and group that own the unix sockets that are created: user, user:group or :group.",
        reason="They belong to the user that runs the server, which needs no privilege.")
    poller: str = setting(
        "auto", Choice("auto", "epoll", "poll"), SOCKETS,
        doc="The system call that waits for events on the sockets.",
        reason="Takes the best one that the system has.")

    certfile: tuple[str, ...] = setting(
        (), Files(), TLS,
        doc="Speak TLS with this certificate: a PEM file with the certificate and those that lead to its authority, in "
            "that order; repeatable, with a keyfile for each: the client's server name chooses. Every bind speaks TLS "
            "then, unless it begins with http:// (docs/tls.md).",
        reason="Most servers have a proxy in front that speaks TLS.")
    keyfile: tuple[str, ...] = setting(
        (), Files(), TLS,
        doc="The private key of the certificate, a PEM file; repeatable, in the order of certfile.",
        reason="Without it the key is in the file of the certificate.")
    key_password_file: str | None = setting(
        None, Text("FILE"), TLS,
        doc="A file whose first line is the password of the private keys.",
        reason="Keys of servers are rarely encrypted, since the password would lie beside them.")
    tls_min_version: str = setting(
        "1.2", Choice("1.2", "1.3"), TLS,
        doc="The oldest version of TLS that is spoken.",
        reason="All clients of the last ten years speak 1.2, and with the ciphers of the default it is safe.")
    ciphers: str = setting(
        "ECDHE+AESGCM:ECDHE+CHACHA20", Path("LIST"), TLS,
        doc="The ciphers of TLS 1.2, in OpenSSL's notation.",
        reason="Those that give forward secrecy and authenticate what they encrypt.")
    ciphersuites: str | None = setting(
        None, Text("LIST"), TLS,
        doc="The cipher suites of TLS 1.3, in OpenSSL's notation.",
        reason="OpenSSL's own are all good.")
    curves: str = setting(
        "X25519:P-256:P-384", Path("LIST"), TLS,
        doc="The groups of the key exchange, the preferred one first, in OpenSSL's notation.",
        reason="Every client has one of them, and they are fast.")
    handshake_timeout: float = setting(
        10.0, Duration(), TLS,
        doc="From the connection to the end of the TLS handshake; past it the connection is closed.",
        reason="A handshake is two or three packets, which take seconds even on a bad link.")

    forwarded_allow_ips: tuple[str, ...] = setting(
        ("127.0.0.1", "::1", "unix"), Addresses(), PROXIES, convention=("FORWARDED_ALLOW_IPS", "{}"),
        doc='Peers whose X-Forwarded- and Forwarded fields are trusted: addresses, networks, unix (unix sockets), '
            '"*" (all) or none. Those fields of other peers are dropped.',
        reason="A proxy on this machine works without configuration, and no remote client can forge its address.")
    forwarded_hops: int = setting(
        0, Count(0, 64), PROXIES,
        doc="How many proxies a request passes, each of which adds the address that connected to it to X-Forwarded-For "
            "or Forwarded: the client is then so many places from the right end. 0: the first address from there that "
            "is not in forwarded_allow_ips. The peer must be in it in any case.",
        reason="Addresses that are trusted say it, if they are known; a cloud's load balancers have many.")
    secure_scheme_headers: tuple[tuple[str, str], ...] = setting(
        (), SchemeHeaders(), PROXIES,
        doc="Fields of peers of forwarded_allow_ips that mean https beside X-Forwarded-Proto: NAME=VALUE, or a table, "
            "as in X-Forwarded-Ssl=on; repeatable. The names begin with X-Forwarded-. They count if X-Forwarded-Proto "
            "and Forwarded are missing (docs/proxies.md).",
        reason="Proxies send X-Forwarded-Proto, and each more is one that they must remove from what clients send.")
    request_id_field: str | None = setting(
        "X-Request-Id", FieldName(), PROXIES,
        doc="The field in which a peer of forwarded_allow_ips gives a request its id. Without a valid one, or for "
            "other peers, the server makes an id. environ, access log, server's log and error pages have it "
            "(docs/requests.md). none: requests have no ids.",
        reason="Proxies and applications know this name, and an id costs about a hundredth of a small request.")
    proxy_protocol: bool = setting(
        False, Flag(), PROXIES,
        doc="Each connection begins with a header of the PROXY protocol, version 1 or 2, with the client's address.",
        reason="Browsers and most proxies send no such header, and a connection without it is refused.")
    proxy_allow_ips: tuple[str, ...] = setting(
        ("127.0.0.1", "::1", "unix"), Addresses(), PROXIES, aliases="proxy_allow_from",
        doc="With proxy_protocol: peers that may connect, written like forwarded_allow_ips. Others are closed.",
        reason="A peer can claim to be any client, so remote peers must be allowed explicitly.")
    root_path: str = setting(
        "", RootPath(), PROXIES, aliases="url_prefix",
        doc="Path at which the application is mounted: SCRIPT_NAME, removed from the paths that begin with it.",
        reason="Most applications are served at the root.")

    model: str = setting(
        "proactor", Choice("process", "thread", "pool", "proactor"), CONCURRENCY,
        doc="The concurrency model: what moves the bytes, and what runs the application (docs/models.md).",
        reason="Only in this model do slow clients occupy no worker.")
    threads: int = setting(
        4, Count(1, 1024, auto=True), CONCURRENCY,
        doc="Worker threads of the models proactor and pool, in each process: how many turns run at once. auto: 8 for "
            "each processor that a process can use, which with the GIL is one.",
        reason="Blocking calls overlap, and few threads contend for the GIL.")
    max_children: int = setting(
        1024, Count(1, 100_000), CONCURRENCY,
        doc="Child processes of the model `process`, one for each connection; past it the one whose connection has "
            "idled longest ends for a new one, then one that has been silent for a second; if there is none, "
            "new connections wait in the backlog.",
        reason="A child takes one to two megabytes, so this many take one to two gigabytes.")
    queue_size: int = setting(
        2048, Count(1, 1_000_000), CONCURRENCY,
        doc="Complete requests (model pool: connections) that may wait for a worker; past it the answer is 503.",
        reason="Absorbs a burst. In a longer queue requests only wait until their clients have given up.")
    lanes: tuple[Lane, ...] = setting(
        (), Lanes(), CONCURRENCY,
        doc="Model proactor: give requests, by path and method, guaranteed threads, a limit on threads, a queue and a "
            "priority of their own: [lanes.NAME] with paths, methods, threads, max_threads, queue_size and priority "
            "(docs/lanes.md).",
        reason="Only the author of an application knows which requests must not wait for which.")
    client_share: float = setting(
        1.0, Share(), CONCURRENCY,
        doc="Model proactor: the share of the threads that one client may hold while requests of others wait, one "
            "thread at least. A client is what it is for max_connections_per_client. 1: all of them.",
        reason="Behind a proxy all clients are one, and many people may share an address.")

    workers: int | None = setting(
        None, Optional(Count(1, 1024, auto=True)), PROCESSES, short="w", convention=("WEB_CONCURRENCY", "{}"),
        doc="Serving processes, under a supervisor that replaces those that end. auto: one for each processor that may "
            "be used (affinity, cgroup quota), as far as memory reaches at 128 MiB each; without the GIL one.",
        reason="One process without a supervisor is enough to start with.")
    preload: bool = setting(
        False, Flag(), PROCESSES, reload=AT_START, aliases="preload_app",
        doc="With workers: load the application once, before the serving processes are forked, which then share its "
            "memory.",
        reason="Each process loads its own application, so that a reload can replace it.")
    on_starting: str | None = setting(
        None, Optional(Function()), PROCESSES, reload=AT_START,
        doc="With workers: called in the supervisor before it opens anything, with an object that has pid, generation "
            "and log. An error keeps the server from starting (docs/processes.md).",
        reason="Most servers need nothing before their processes do.")
    pre_fork: str | None = setting(
        None, Optional(Function()), PROCESSES,
        doc="With workers: called in the supervisor before each serving process is forked, with an object that has "
            "number (its place, from 1), pid (0: there is none yet), generation and log. An error is logged, and no "
            "process is forked: the next try is after a pause.",
        reason="What a process needs is best made in it, by post_fork.")
    post_fork: str | None = setting(
        None, Optional(Function()), PROCESSES,
        doc="With workers: called in each serving process once it is forked, before it serves, with an object "
            "that has number (its place, from 1), pid, generation and log. An error keeps that process from serving.",
        reason="Most applications open what they need at import or at the first request.")
    worker_ready: str | None = setting(
        None, Optional(Function()), PROCESSES,
        doc="With workers: called with the same in each serving process when it begins to serve. An error is logged.",
        reason="Few applications need it.")
    when_ready: str | None = setting(
        None, Optional(Function()), PROCESSES,
        doc="With workers: called in the supervisor, once, when the first serving process serves, with the same as "
            "on_starting. An error is logged.",
        reason="The log, systemd and /readyz say it, too.")
    on_reload: str | None = setting(
        None, Optional(Function()), PROCESSES,
        doc="With workers: called in the supervisor at a reload, when the new settings are read and before a new "
            "process starts, with the same as on_starting. An error makes the reload fail.",
        reason="Serving processes load code and data anew in any case.")
    worker_exit: str | None = setting(
        None, Optional(Function()), PROCESSES,
        doc="With workers: called with the same as post_fork in each serving process when it has answered its last "
            "request and is about to end. An error is logged.",
        reason="The system releases what a process holds.")
    child_exit: str | None = setting(
        None, Optional(Function()), PROCESSES,
        doc="With workers: called with the same in the supervisor after a serving process has ended, even if it was "
            "killed. An error is logged.",
        reason="Few things outlive a process; files of prometheus_client's multiprocess mode do.")
    pidfile: str | None = setting(
        None, Text("FILE"), PROCESSES, short="p", aliases="pid pid_file",
        doc="Write the pid of the process that takes signals to this file, and remove the file at the end.",
        reason="systemd, containers and process managers know the pid without a file.")
    user: str | None = setting(
        None, Optional(Principal("USER")), PROCESSES, short="u", aliases="uid",
        doc="Serve as this user, by name or number, once the sockets are open; only root may change.",
        reason="The application runs as the user that starts the server.")
    group: str | None = setting(
        None, Optional(Principal("GROUP")), PROCESSES, short="g", aliases="gid",
        doc="Serve as this group, by name or number. Without it: the group that the user has in the password file.",
        reason="It follows from the user.")
    umask: int | None = setting(
        None, Optional(Mode()), PROCESSES,
        doc="Permissions, in octal, that new files do not get. unix_mode has those of unix sockets.",
        reason="The server inherits the umask with which it is started.")
    boot_timeout: float = setting(
        60.0, Duration(), PROCESSES,
        doc="With workers: how long a serving process may take to load the application. After that it is killed, and "
            "counts as failed.",
        reason="Even slow applications load in less time, and one that waits for a dead service never finishes.")
    warmup: str | None = setting(
        None, Text("PATH"), PROCESSES,
        doc="With workers: ask each new process for this path before it is ready; an error keeps it from serving.",
        reason="Only the author of an application knows what it loads at the first request.")
    max_requests: int = setting(
        0, Count(0, EXA), PROCESSES,
        doc="Replace a serving process after this many requests; 0: never.",
        reason="It is for an application with a memory leak that cannot be fixed yet.")
    max_requests_jitter: int = setting(
        0, Count(0, EXA), PROCESSES,
        doc="Add a random number of requests, up to this one, to max_requests of each process.",
        reason="Processes are replaced one at a time in any case; this spreads it over time.")
    max_lifetime: float = setting(
        0.0, Duration(zero=True, longest_s=YEAR_S), PROCESSES,
        doc="Replace a serving process after this time; 0: never.",
        reason="A healthy process needs no replacement.")
    max_rss: int = setting(
        0, Size(0, EXA), PROCESSES,
        doc="Replace a serving process that has served requests and is larger than this (resident memory); 0: never.",
        reason="The right size depends on the application. Sizes are checked several times a second.")
    admin_bind: tuple[str, ...] = setting(
        (), Binds(optional=True), PROCESSES,
        doc="Answer GET /livez, /readyz and /metrics here, for orchestrators and monitoring, and show what the server "
            "does, on a page at / and to `halfsync status`: HOST:PORT or unix:PATH; repeatable. It shows paths and "
            "clients (docs/status.md). Metrics are counted only if this is set.",
        reason="None of that may be reachable on the public port.")
    drain_delay: float = setting(
        0.0, Duration(zero=True), PROCESSES,
        doc="After SIGTERM keep serving for this long, each response with Connection: close, before shutting down.",
        reason="It is for load balancers that take time to notice. Without one it would only delay the shutdown.")

    wsgi_app: str | None = setting(
        None, Text("TARGET"), APPLICATION,
        doc="The application, as module:callable, if the command line names none.",
        reason="A command names it.")
    factory: bool = setting(
        False, Flag(), APPLICATION, aliases="call",
        doc="The target is a function that takes no arguments and returns the application.",
        reason="Most targets are the application itself.")
    stream: bool = setting(
        False, Flag(), APPLICATION,
        doc="The target makes handlers of raw TCP (see StreamHandler), and is no WSGI application.",
        reason="Most applications speak HTTP.")
    chdir: str | None = setting(
        None, Text("DIR"), APPLICATION,
        doc="Change to this directory before loading the application; relative paths start there.",
        reason="The application is looked up in the directory in which the command is run.")
    pythonpath: tuple[str, ...] = setting(
        (), Directories(), APPLICATION, aliases="pp python_path",
        doc="Directories, beside that of the application, in which modules are looked for, before the installed ones; "
            "repeatable. Relative ones begin in chdir.",
        reason="The directory of the application has its modules, and the others are installed.")
    env: tuple[tuple[str, str], ...] = setting(
        (), Variables(), APPLICATION, short="e",
        doc="Variables of the environment for the application, its hooks and what they start: NAME=VALUE, or a table "
            "[env]; repeatable. They replace those that the server was started with. Settings are not read from them.",
        reason="What starts the server gives it an environment.")
    env_file: str | None = setting(
        None, Text("FILE"), APPLICATION,
        doc="Read more such variables from this file, with a line NAME=VALUE for each. Variables that the server was "
            "started with, and those of env, count before them.",
        reason="As for env.")
    config: str | None = setting(
        None, Text("FILE"), APPLICATION, short="c",
        doc="Read settings from this TOML file.",
        reason="Without it: halfsync.toml in the working directory, else [tool.halfsync] in pyproject.toml.")
    reload: bool = setting(
        False, Flag(), APPLICATION, reload=AT_START,
        doc="For development: reload the application when its source changes, and show an error page if it cannot be "
            "loaded. Without workers one process serves, under a supervisor. Needs the package watchfiles.",
        reason="It watches files, shows tracebacks to clients and makes requests wait: not for production.")
    reload_dir: tuple[str, ...] = setting(
        (), Directories(), APPLICATION, reload=AT_START,
        doc="With reload: watch the sources below these directories, in the place of chdir; repeatable.",
        reason="The directory of the application is watched.")
    reload_include: tuple[str, ...] = setting(
        (), Patterns(), APPLICATION, reload=AT_START,
        doc="With reload: files with these names count as sources too, as in *.html or data/*.json; repeatable. A "
            "pattern with a slash is compared with the path below a watched directory.",
        reason="Python files count, and most frameworks reload their templates by themselves.")
    reload_exclude: tuple[str, ...] = setting(
        (), Patterns(), APPLICATION, reload=AT_START,
        doc="With reload: files and directories with these names do not count, written like reload_include.",
        reason="Virtual environments, caches and hidden files are left out in any case.")
    server_header: bool = setting(
        True, Flag(), APPLICATION,
        doc='Send "Server: halfsync" with each response that has no Server field of its own.',
        reason="It says which server answered, but not its version.")

    server_timing: bool = setting(
        False, Flag(), APPLICATION,
        doc="Send Server-Timing with each response: how long the request has waited for a worker (queue), how long the "
            "application has taken until then (app), and both since its first byte (total), in milliseconds. Browsers "
            "show it.",
        reason="How long an application takes is not for every client to know.")

    static: tuple[tuple[str, str], ...] = setting(
        (), Mounts(), FILES, aliases="static_map",
        doc="Serve the files of DIR under PREFIX, without the application; repeatable. The longest prefix counts.",
        reason="Files are public only if the setting says so.")
    static_symlinks: bool = setting(
        False, Flag(), FILES,
        doc="Follow symbolic links in those directories, wherever they lead.",
        reason="No file outside those directories can be read through a link.")
    static_max_age: float = setting(
        0.0, Duration(zero=True, longest_s=YEAR_S), FILES,
        doc="How long caches may use those files without revalidation (Cache-Control: max-age). 0: no such field.",
        reason="Only files whose names change with their content can be cached without revalidation.")

    access_log: str | None = setting(
        None, Optional(LogTarget()), LOGGING, aliases="access_logfile",
        doc='Write a line for each request to this file, to standard output for "-", or to a syslog: syslog: (at '
            '/dev/log), syslog:/PATH, or by UDP syslog:HOST or syslog:HOST:PORT. A file is opened before the server '
            'switches to `user`, which owns the file if it is created then; with the rights of `user` if users other '
            'than root can replace it.',
        reason="A proxy in front usually writes one.")
    log_format: str = setting(
        "combined", LogFormat(), LOGGING, aliases="access_logformat",
        doc="The form of an access log line: the name of one, or one that is written out, with gunicorn's fields or "
            "those in docs/access-log.md.",
        reason="Log analyzers know this format.")
    syslog_facility: str = setting(
        "daemon", Choice(*FACILITIES), LOGGING,
        doc="The facility of the access log's lines in a syslog. Their severity is informational.",
        reason="It is the one of system services.")
    server_log_format: str = setting(
        "text", Choice("text", "json"), LOGGING,
        doc="The form of the server's own lines on standard error. json: each is one object (docs/logging.md).",
        reason="People read them.")
    log_level: str = setting(
        "info", Choice("debug", "info", "warning", "error", "critical"), LOGGING,
        doc="The least severe message that the server writes to standard error.",
        reason="It logs start, stop and problems, and nothing for each request.")

    slow_request: float = setting(
        0.0, Duration(zero=True), LOGGING,
        doc="Log the stack of a worker whose request takes longer than this, once, while it runs. 0: never.",
        reason="Only the author of an application knows what is slow for it.")

    first_byte_timeout: float = setting(
        30.0, Duration(), DEADLINES,
        doc="How long a new connection may be silent.",
        reason="Browsers open connections in advance, and a silent connection costs little.")
    head_timeout: float = setting(
        10.0, Duration(), DEADLINES,
        doc="From the first byte of a request to the end of its head; past it the answer is 408.",
        reason="A head is one or two packets, which take seconds even on a bad link.")
    body_timeout: float = setting(
        30.0, Duration(), DEADLINES,
        doc="The longest gap between two pieces of a request body; past it the answer is 408.",
        reason="Interruptions of a mobile link are shorter.")
    body_total_timeout: float = setting(
        3600.0, Duration(zero=True), DEADLINES,
        doc="From the first byte of a request to the last of its body; past it the answer is 408. 0: no limit.",
        reason="Time for the largest body, a gigabyte, at 2.4 Mbit/s.")
    min_body_rate: int = setting(
        256, Size(0, GIB), DEADLINES,
        doc="Bytes per second that a client must send of a request body, on average over each rate window, or be "
            "answered 408; 0 asks for none.",
        reason="A tenth of the slowest mobile link: a client that sends less does so on purpose.")
    write_timeout: float = setting(
        30.0, Duration(), DEADLINES,
        doc="How long a client may receive nothing of its response. Then the connection is closed.",
        reason="A client that is merely slow receives something in this time.")
    queue_timeout: float = setting(
        60.0, Duration(zero=True), DEADLINES,
        doc="Model proactor: how long a request may wait for a worker; past it the answer is 503. 0: no limit.",
        reason="nginx waits this long for an answer; the client has given up by then.")
    overload_control: bool = setting(
        True, Flag(), DEADLINES,
        doc="Answer 503 to requests that have waited too long for what a turn takes, while the queue is overloaded: "
            "models proactor and pool. Proactor also serves the newest first (docs/limits.md).",
        reason="Without it a server at twice its capacity answers only clients that have given up. Below its capacity "
               "it refuses next to nothing.")
    overload_interval: float = setting(
        0.1, Duration(), DEADLINES,
        doc="How long requests must stand in the queue before it is overloaded. If turns are long, two turns.",
        reason="Long enough that a burst is served, and short beside the patience of a client.")
    overload_target: float = setting(
        0.1, Duration(), DEADLINES,
        doc="How long a request may wait in an overloaded queue at least. If turns are long, nine turns.",
        reason="A wait that people hardly notice.")
    request_timeout: float = setting(
        0.0, Duration(zero=True), DEADLINES,
        doc="Model proactor: how long the application may take for one request, from when a worker begins with it "
            "until the last of its response is made. Past it the client is answered 504, or cut off if the "
            "response had begun, the stack of the thread is logged, and another thread replaces it. 0: no limit.",
        reason="Only the author of an application knows how long it may take.")
    max_stuck: int = setting(
        16, Count(0, 1024), DEADLINES,
        doc="Threads past request_timeout that are replaced by others. Past this number capacity shrinks, and the "
            "server is not ready.",
        reason="Each keeps its memory until the application returns. More are an outage, reported as one.")
    min_write_rate: int = setting(
        256, Size(0, GIB), DEADLINES,
        doc="Bytes per second that a client must take of a response that waits for it, on average over each rate "
            "window, or be cut off; 0 asks for none.",
        reason="As for min_body_rate. Time in which the application has nothing to send is not counted.")
    rate_window: float = setting(
        20.0, Duration(), DEADLINES,
        doc="The time over which those two averages are taken.",
        reason="Long enough for a short interruption of a link, and for acknowledgements that arrive in batches.")
    keep_alive: float = setting(
        75.0, Duration(zero=True), DEADLINES, aliases="timeout_keep_alive",
        doc="How long a connection may idle between two requests; 0 closes it after each response.",
        reason="Longer than the 60s for which common proxies keep theirs, so that the proxy closes first.")
    graceful_timeout: float = setting(
        30.0, Duration(zero=True), DEADLINES, aliases="timeout_graceful_shutdown",
        doc="How long a stopping server waits for the requests it has accepted.",
        reason="As long as Kubernetes waits after TERM, and as gunicorn does.")

    max_request_line: int = setting(
        8 * KIB, Size(64, MIB), REQUESTS,
        doc="Bytes of a request line; past it the answer is 414.",
        reason="RFC 9112, section 3, recommends at least 8000.")
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
        GIB, Size(0, EXA), REQUESTS, aliases="max_request_body_size",
        doc="Bytes of a request body; past it the answer is 413.",
        reason="Large uploads work by default, and need disk space only.")

    body_memory: int = setting(
        64 * KIB, Size(0, GIB), MEMORY,
        doc="A request body up to this size stays in memory; a larger one goes to a temporary file.",
        reason="Forms and API calls never use the disk.")
    spool_memory: int = setting(
        MIB, Size(0, GIB), MEMORY,
        doc="Bytes of one response kept in memory until its client receives them; the rest goes to a file.",
        reason="Nearly every page fits, so that its worker is free at once.")
    response_ahead: int = setting(
        4 * MIB, Size(0, EXA), MEMORY,
        doc="Model proactor: bytes that a response may be ahead of its client while the application makes it piece by "
        "piece. Past it the worker waits for the client, until write_timeout. 0: no limit.",
        reason="Nearly every page that is made in pieces fits, so that its worker is free at once; and a video of "
        "8 Mbit/s is at most 4 s late.")
    spool_disk: int = setting(
        4 * GIB, Size(0, EXA), MEMORY,
        doc="Total bytes of all temporary files of one process.",
        reason="Bounds the disk space that slow clients can fill. Past it workers wait for them, until write_timeout.")
    temp_dir: str = setting(
        "/tmp", Path("DIR"), MEMORY, convention=("TMPDIR", "{}"),
        doc="Directory for temporary files, which have no names there.",
        reason="Every system has it, and cleans it.")
    # fmt: on

    origins: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    sized: str = field(default="")


SETTINGS: tuple[Setting, ...] = tuple(
    Setting(name=one.name, default=one.default, **one.metadata)
    for one in fields(DeclaredSettings)
    if "kind" in one.metadata
)
BY_NAME: dict[str, Setting] = {one.name: one for one in SETTINGS}
