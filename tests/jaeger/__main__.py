"""Plays the support conversation on a traced Baton and holds what a real Jaeger then has against the journal: one connected
trace for each user turn, with every handoff in it.

    python3 tests/jaeger                            # run it
    python3 -m unittest discover -s tests/jaeger    # see that its checks can fail

It needs Python 3.10 only. Jaeger is JAEGER_BIN, on the PATH, or built from pinned sources with go; Baton is BATON_BINARY, or built
with cargo."""

import argparse
import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path

import checks
import server
import system
from checks import Violation


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 tests/jaeger", description=__doc__.split("\n\n")[0])
    parser.add_argument("--optional", action="store_true", help="succeed, with a word about it, where there is no Jaeger to be had")
    arguments = parser.parse_args()
    # Ends what was started on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        jaeger = server.find()
    except server.Unavailable as problem:
        print(f"skipped: {problem}" if arguments.optional else f"error: {problem}", file=sys.stderr)
        return 0 if arguments.optional else 2
    try:
        play(jaeger, system.baton())
    except Violation as violation:
        print(f"\nVIOLATION: {violation}", file=sys.stderr)
        return 1
    print("\nevery user turn is one connected trace, with every handoff in it")
    return 0


def play(program: Path, baton: Path) -> None:
    canary = f"canary-{secrets.token_hex(8)}"
    with tempfile.TemporaryDirectory(prefix="baton-jaeger-") as directory, server.running(program, Path(directory)) as jaeger:
        with system.running(baton, Path(directory) / "data", jaeger.otlp) as dev:
            task, replies = f"A customer is on the line. ({canary})", system.SUPPORT / "replies.txt"
            played = [("client", dev.converse(task, replies))]
            if dev.chat:
                played.append(("gateway", dev.converse_over_http(task, replies)))
            journals = [(edge, dev.journal(conversation)) for edge, conversation in played]
        # Who ends exports the last spans first: all of them are there, or on their way at most.
        deadline = time.monotonic() + 10
        while True:
            try:
                return verify(jaeger, journals, canary)
            except Violation:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)


def verify(jaeger: server.Jaeger, journals: list[tuple[str, dict]], canary: str) -> None:
    told, seen = [], set()
    for edge, journal in journals:
        traces = jaeger.traces(**{checks.CONVERSATION: journal["conversation"]})
        turns = checks.check(journal, traces, [canary], edge)
        told += summary(edge, journal, turns)
        seen |= set(traces)
    stray = {trace: answer for trace, answer in jaeger.traces().items() if trace not in seen}
    names = sorted({span["operationName"] for answer in stray.values() for span in answer["spans"]})
    checks.require(not stray, f"{len(stray)} traces are of no conversation: {names}")
    graph = checks.check_graph([journal for _, journal in journals], jaeger.dependencies())
    told += ["", "service graph", *(f"  {source} -> {target}: {calls}" for (source, target), calls in sorted(graph.items()))]
    print("\n".join(told))


def summary(edge: str, journal: dict, turns: list[checks.Turn]) -> list[str]:
    lines = ["", f"conversation {journal['conversation']}, by the {edge}: {len(turns)} user turns"]
    lines.append(f"  {'turn':<6}{'trace':<34}{'spans':>5} {'depth':>5}  services and transfers")
    for number, turn in enumerate(turns, 1):
        trace = turn.trace
        transfers = "".join(f"; {entry['from']} -> {target}" for entry, target in turn.transfers)
        lines.append(f"  {number:<6}{trace.id:<34}{len(trace.spans):>5} {trace.depth:>5}  {', '.join(sorted(trace.services))}{transfers}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
