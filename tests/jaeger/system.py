"""Baton as people run it: `baton dev`, and conversations with it on the command line and over HTTP."""

import json
import os
import queue
import re
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from checks import CALLER
from processes import PATIENCE, ended

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = ROOT / "examples" / "support"


def baton() -> Path:
    """The program: named by BATON_BINARY, or what cargo builds."""
    if named := os.environ.get("BATON_BINARY"):
        return Path(named).resolve()
    build = ["cargo", "build", "--package", "baton", "--bin", "baton", "--message-format", "json"]
    messages = subprocess.run(build, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    executables = [message["executable"] for message in map(json.loads, messages) if message.get("executable")]
    return Path(executables[-1])


class Dev:
    """A running `baton dev`, with the commands beside it."""

    def __init__(self, program: Path, data: Path, environment: dict, chat: str | None):
        self.program = program
        self.data = data
        self.environment = environment
        # Where its gateway listens, if it has one.
        self.chat = chat

    def baton(self, *arguments: str | Path) -> str:
        """Another command, to its end; what it wrote to standard output."""
        command = [self.program, *arguments, "--data", self.data, "--output", "json"]
        done = subprocess.run(
            command, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=2 * PATIENCE
        )
        if done.returncode:
            raise RuntimeError(f"baton {arguments[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def journal(self, conversation: str) -> dict:
        return json.loads(self.baton("show", conversation))

    def converse(self, task: str, replies: Path) -> str:
        """Plays a conversation on the command line; its id."""
        told = [json.loads(line) for line in self.baton("run", task, "--replies", replies).splitlines()]
        outcome = told[-1]
        if outcome.get("outcome") != "completed":
            raise RuntimeError(f"the conversation did not complete: {outcome}")
        return next(line["conversation"] for line in told if line["kind"] == "conversation")

    def converse_over_http(self, task: str, replies: Path) -> str:
        """The same through the gateway; its id."""
        started = self._post("v1/conversations", {"message": task})
        conversation, lines = started["conversation"], iter(replies.read_text().splitlines())
        for event in self._events(f"v1/conversations/{conversation}/events"):
            if event["kind"] == "asked":
                self._post(f"v1/conversations/{conversation}/messages", {"text": next(lines)})
            elif event["phase"] not in ("working", "waiting"):
                if event["phase"] != "completed":
                    raise RuntimeError(f"the conversation did not complete: {event}")
                return conversation
        raise RuntimeError(f"the gateway ended the stream before conversation {conversation} ended")

    def _post(self, path: str, body: dict) -> dict:
        trace, span = CALLER
        headers = {"content-type": "application/json", "idempotency-key": os.urandom(8).hex(), "traceparent": f"00-{trace}-{span}-01"}
        request = urllib.request.Request(f"{self.chat}/{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def _events(self, path: str) -> Iterator[dict]:
        """The events of a stream; live text is no event."""
        with urllib.request.urlopen(f"{self.chat}/{path}?tokens=false", timeout=PATIENCE) as stream:
            for line in stream:
                if line.startswith(b"data:") and "kind" in (event := json.loads(line[5:])):
                    yield event


@contextmanager
def running(program: Path, data: Path, otlp: str) -> Iterator[Dev]:
    """`baton dev` with the support orchestration, all of whose processes export to `otlp`."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("NATS_", "OPENAI_", "OTEL_", "BATON_"))}
    named = {name: os.environ[name] for name in ["BATON_NATS_SERVER"] if name in os.environ}
    environment = ours | named | {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    command = [program, "dev", SUPPORT / "support.yaml", "--data", data]
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    with ended(process):
        said = _said_until(process, "Ctrl-C stops everything")
        chat = next((found[1] for line in said if (found := re.search(r"chat in a browser: (http://\S+?)/?$", line))), None)
        yield Dev(program, data, environment, chat)


def _said_until(process: subprocess.Popen, text: str) -> list[str]:
    """What a process has said when it says `text`. The rest is read, lest it waits for a reader."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in process.stderr:
            lines.put(line.rstrip())
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    said, deadline = [], time.monotonic() + 2 * PATIENCE
    while not said or text not in said[-1]:
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            line = None
        if line is None:
            raise RuntimeError("`baton dev` does not get ready:\n" + "\n".join(said))
        said.append(line)
    return said
