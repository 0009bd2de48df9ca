"""A private Jaeger: found or built, on free ports of the loopback interface, with everything in memory."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from processes import PATIENCE, ended

# Jaeger 2.13.0, the newest that Go knows by a version: later ones are to be had by commit only.
MODULE, VERSION, SUM = "github.com/jaegertracing/jaeger", "v1.76.0", "h1:sWCOOF1dr+NL0PLil7mFo3BqqQL8k4WiM7aguFbc14g="


class Unavailable(Exception):
    """There is no Jaeger to be had, and why."""


def find() -> Path:
    """The program: named by JAEGER_BIN, on the PATH, or built once from pinned sources."""
    if named := os.environ.get("JAEGER_BIN"):
        if not os.access(named, os.X_OK):
            raise Unavailable(f"JAEGER_BIN={named} is no program")
        return Path(named)
    if found := shutil.which("jaeger"):
        return Path(found)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "baton" / f"jaeger-{VERSION}"
    program = cache / "jaeger"
    if not program.exists():
        _build(program)
    return program


def _build(program: Path) -> None:
    if not shutil.which("go"):
        raise Unavailable("no JAEGER_BIN, no jaeger on the PATH, and no go to build one with")
    print(f"building Jaeger ({MODULE} {VERSION}), once; this takes ten minutes and more …", flush=True)
    try:
        told = subprocess.run(["go", "mod", "download", "-json", f"{MODULE}@{VERSION}"], capture_output=True, text=True)
        module = json.loads(told.stdout or "{}")
        if told.returncode or module.get("Error"):
            raise Unavailable(f"Jaeger's sources cannot be had: {module.get('Error') or told.stderr.strip()}")
        if module["Sum"] != SUM:
            raise Unavailable(f"Jaeger's sources are others than they were: {module['Sum']} instead of {SUM}")
        program.parent.mkdir(parents=True, exist_ok=True)
        # In the module's own folder, so that its own go.sum pins and verifies whatever else it needs.
        build = ["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", f"{program}.new", "./cmd/jaeger"]
        subprocess.run(build, cwd=module["Dir"], env=os.environ | {"CGO_ENABLED": "0"}, check=True)
        os.rename(f"{program}.new", program)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"Jaeger cannot be built: {error}") from error


class Jaeger:
    """A running one: where spans go, and what its query API answers."""

    def __init__(self, otlp: str, api: str):
        self.otlp = otlp
        self.api = api

    def get(self, path: str, **parameters: object) -> list:
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        with urllib.request.urlopen(f"{self.api}/api/{path}{query}", timeout=PATIENCE) as answer:
            told = json.load(answer)
        if told.get("errors"):
            raise RuntimeError(f"Jaeger cannot answer {path}{query}: {told['errors']}")
        return told["data"] or []

    def services(self) -> list[str]:
        return self.get("services")

    def traces(self, **tags: str) -> dict[str, dict]:
        """All traces in which a span has these tags, whole, by their ids."""
        wanted = {"tags": json.dumps(tags)} if tags else {}
        found = {trace["traceID"] for service in self.services() for trace in self.get("traces", service=service, limit=10_000, **wanted)}
        return {trace: self.get(f"traces/{trace}")[0] for trace in found}

    def dependencies(self) -> list[dict]:
        hour = 3_600_000
        return self.get("dependencies", endTs=int(time.time() * 1000) + hour, lookback=2 * hour)


@contextmanager
def running(program: Path, directory: Path) -> Iterator[Jaeger]:
    grpc, http, query, query_grpc = _free_ports(4)
    config = directory / "jaeger.json"  # which is YAML too
    config.write_text(json.dumps(_config(grpc, http, query, query_grpc), indent=2))
    log = directory / "jaeger.log"
    with log.open("wb") as output:
        process = subprocess.Popen([program, "--config", config], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    with ended(process):
        jaeger = Jaeger(f"http://127.0.0.1:{http}", f"http://127.0.0.1:{query}")
        _wait(jaeger, process, log)
        yield jaeger


def _config(grpc: int, http: int, query: int, query_grpc: int) -> dict:
    def at(port: int) -> dict:
        return {"endpoint": f"127.0.0.1:{port}"}

    return {
        "extensions": {
            "jaeger_storage": {"backends": {"memory": {"memory": {"max_traces": 100_000}}}},
            "jaeger_query": {"storage": {"traces": "memory"}, "http": at(query), "grpc": at(query_grpc)},
        },
        "receivers": {"otlp": {"protocols": {"grpc": at(grpc), "http": at(http)}}},
        "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}},
        "service": {
            "extensions": ["jaeger_storage", "jaeger_query"],
            # No batches: what was answered to an exporter is there to be asked for.
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"]}},
            "telemetry": {"metrics": {"level": "none"}},
        },
    }


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


def _wait(jaeger: Jaeger, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            jaeger.services()
            with socket.create_connection(("127.0.0.1", int(jaeger.otlp.rsplit(":", 1)[1])), timeout=PATIENCE):
                return
        except (urllib.error.URLError, ConnectionError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Jaeger does not start: {error}\n{log.read_text(errors='replace')[-3000:]}") from error
            time.sleep(0.1)
