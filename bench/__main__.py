"""`python -m bench`: prepare, measure in interleaved rounds, report."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import signal
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

from bench import client, load, machine, plot, prepare, report
from bench.cells import Cell, Results
from bench.measure import Bench
from bench.plan import Plan, Step
from bench.prepare import say
from bench.running import StartError, free_port, running, without_folders
from bench.servers import APPS, ARMS, Arm, Kit, Role
from bench.workloads import WORKLOADS, Kind, Workload, selected

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = HERE / "results"
BUILD = HERE / "build"
PEERS = HERE / ".venv"
INTERRUPTED = 130
"""The status of a run that was cut short, as a shell gives it to Ctrl-C."""


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Compare halfsync with its peers.")
    parser.add_argument(
        "--only", default="", metavar="LIST", help="workloads, by name or family: hello-64,post"
    )
    parser.add_argument(
        "--servers", default="", metavar="LIST", help="rows, by name or family: halfsync,floor"
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds of each workload (5)")
    parser.add_argument(
        "--seconds", type=int, default=3, metavar="S", help="length of each measured load (3)"
    )
    parser.add_argument("--json", action="store_true", help="print the raw cells instead of the report")
    parser.add_argument(
        "--halfsync-python",
        default=sys.executable,
        metavar="PYTHON",
        help="the interpreter that has halfsync",
    )
    parser.add_argument("--halfsync-args", default="", metavar="ARGS", help="more options for halfsync serve")
    args = parser.parse_args(argv)
    try:
        args.workloads = selected(WORKLOADS, args.only, "name")
        args.arms = selected(ARMS, args.servers, "name")
    except ValueError as error:
        parser.error(str(error))
    if args.rounds < 1 or args.seconds < 1:
        parser.error("--rounds and --seconds are at least 1")
    return args


def prepared(arms: Sequence[Arm], bench: Bench, problems: dict[str, str]) -> dict[str, str]:
    """Make what the arms run; return the arms that cannot run, each with its reason."""
    kit = bench.kit
    roles = {arm.role for arm in arms}
    if Role.PEER in roles:
        problems |= prepare.peers(kit.peers)
    if Role.FLOOR in roles and (problem := problems.get("gcc") or prepare.compile_floor(kit.build)):
        problems["floor"] = problem
    prepare.large_file(kit.file)
    prepare.static_files(kit.static)
    prepare.default_replies(kit)
    reasons = {arm.name: prepare.missing_for(arm, problems) for arm in arms}
    ours = next(arm for arm in ARMS if arm.role is Role.OURS)
    if (Role.OURS in roles or Role.FLOOR in roles) and (problem := learn_replies(bench, ours)):
        say(f"halfsync does not run, so the floor answers with replies of its own: {problem}")
        reasons |= {arm.name: problem for arm in arms if arm.role is Role.OURS}
    return {name: without_folders(reason) for name, reason in reasons.items() if reason}


def learn_replies(bench: Bench, arm: Arm) -> str:
    """Give the floor halfsync's own responses, byte for byte; return why not, if halfsync does not run."""
    port = free_port()
    args = arm.command(bench.kit, port, WORKLOADS[0])
    log = bench.kit.build / "replies.log"
    try:
        with running(args, port, cpu=bench.server_cpu, cwd=APPS, env=bench.environment(arm), log=log):
            for workload in WORKLOADS:
                if workload.kind in (Kind.LOAD, Kind.CLOSE):
                    body = b"x" * workload.body_bytes
                    reply = client.ask_once(port, workload.path, body, workload.headers)
                    bench.kit.reply(workload).write_bytes(reply.head + reply.body)
    except (StartError, OSError, ValueError) as error:
        return without_folders(str(error))
    return ""


def with_capacity(bench: Bench, workloads: Sequence[Workload], reasons: dict[str, str]) -> Bench:
    """Find out what the processor can do, if a workload depends on it, by a closed loop on halfsync."""
    ours = next(arm for arm in ARMS if arm.role is Role.OURS)
    burn = next((workload for workload in workloads if workload.demand and workload.demand.measured), None)
    if burn is None or ours.name in reasons:
        return bench
    say("the capacity of the processor")
    try:
        return dataclasses.replace(bench, burn_per_s=bench.burn_capacity(ours, burn))
    except (StartError, load.LoadError, OSError, ValueError) as error:
        say(f"    {error}")
        return bench


def measured(steps: Sequence[Step], bench: Bench, reasons: dict[str, str]) -> list[Cell]:
    """Measure the cells of a plan. Interrupted, it returns those it has."""
    cells: list[Cell] = []
    try:
        for done, step in enumerate(steps, 1):
            name, workload = step.arm.name, step.workload.name
            say(f"{done}/{len(steps)} {workload}, round {step.number + 1}: {name}")
            if name in reasons:
                cells.append(Cell(name, workload, step.number, failure=reasons[name]))
                continue
            cell = bench.measure(step.arm, step.workload, step.number)
            cells.append(cell)
            if cell.failure:
                say(f"    {cell.failure}")
    except KeyboardInterrupt:
        say("interrupted: reporting what was measured")
    return cells


def versions(kit: Kit, arms: Sequence[Arm]) -> dict[str, str]:
    """What was measured, by version."""
    peers = prepare.package_versions(kit.peers / "bin" / "python")
    ours = prepare.package_versions(kit.halfsync_python)
    wanted = dict.fromkeys(package for arm in arms for package in arm.packages)
    return {
        "halfsync": f"{ours.get('halfsync', 'not installed')} on Python {ours.get('Python', 'unknown')}",
        **{package: peers.get(package, "not installed") for package in wanted},
        "peers' Python": peers.get("Python", "not installed"),
        "nginx": prepare.program_version(["nginx", "-v"]),
        "wrk": prepare.program_version(["wrk", "-v"]),
        "gcc": prepare.program_version(["gcc", "--version"]),
    }


def commands(plan: Plan, bench: Bench) -> dict[str, str]:
    """The commands that were run, without this machine's folders."""
    port = 8000
    found = {arm.name: arm.command(bench.kit, port, plan.workloads[0]) for arm in plan.arms}
    for workload in plan.workloads:
        if workload.kind is Kind.GOODPUT:  # the peers have other limits then
            climbs = {
                arm.name: arm.command(bench.kit, port, workload) for arm in plan.arms if arm.takes(workload)
            }
            found |= {f"{name}, goodput": args for name, args in climbs.items() if args != found[name]}
        if workload.connections:
            found[f"wrk, {workload.name}"] = bench.load_command(port, workload, bench.seconds)
    return {name: shlex.join(command).replace(f"{ROOT}/", "") for name, command in found.items()}


def save(run: report.Run, results: Results, text: str) -> None:
    """Write the report and the cells under bench/results/."""
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / run.stem
    files = {".md": text, ".json": report.to_json(run, results), ".svg": plot.draw(WORKLOADS, results)}
    written = [suffix for suffix, content in files.items() if content]
    for suffix in written:
        stem.with_suffix(suffix).write_text(files[suffix])
    say(f"saved as {stem.relative_to(ROOT)} with {', '.join(written)}")


def interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM ends the run as Ctrl-C does, through every `finally`, so that no server is left running."""
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; the status is 0 whatever was measured, 1 if nothing could be, 130 if interrupted."""
    args = arguments(argv)
    signal.signal(signal.SIGTERM, interrupt)
    BUILD.mkdir(exist_ok=True)
    problems = prepare.system_programs()
    if "wrk" in problems:
        say(problems["wrk"])
        return 1
    server_cpu, load_cpu = machine.processors()
    kit = Kit(args.halfsync_python, tuple(shlex.split(args.halfsync_args)), PEERS, BUILD)
    bench = Bench(kit, server_cpu, load_cpu, args.seconds, prepare.raise_fd_limit())
    plan = Plan(args.workloads, args.arms, args.rounds, args.seconds)
    reasons = prepared(plan.arms, bench, problems)
    bench = with_capacity(bench, plan.workloads, reasons)
    steps = list(plan.steps())
    say(f"about {plan.estimate_s() / 60:.1f} minutes for {len(steps)} cells")
    found = measured(steps, bench, reasons)
    results = Results([*found, *plan.skipped()])
    settings = {
        "rounds": str(args.rounds),
        "seconds per load": str(args.seconds),
        "processors": f"servers on {server_cpu}, load on {load_cpu}",
    }
    run = report.Run(
        f"{datetime.now():%Y-%m-%d %H:%M}",
        machine.facts(),
        versions(kit, plan.arms),
        commands(plan, bench),
        settings,
    )
    text = report.render(run, plan.workloads, results)
    save(run, results, text)
    print(report.to_json(run, results) if args.json else text, end="")
    return INTERRUPTED if len(found) < len(steps) else 0


if __name__ == "__main__":
    sys.exit(main())
