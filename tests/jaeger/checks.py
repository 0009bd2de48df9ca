"""What must hold between a conversation's journal and its traces. Nothing here asks anybody: the journal is what `baton show
-o json` prints, the traces are what Jaeger's query API answers."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

CONVERSATION = "gen_ai.conversation.id"
# Events of people that begin a user turn, and with it a trace.
BEGINNINGS = {"opened", "replied", "interrupted"}
# Where the calls over HTTP say that they come from: a trace that Baton must point to, and must not go on with.
CALLER = ("c0ffee" * 5 + "00", "c0ffee" * 2 + "0000")


class Violation(Exception):
    """Something that does not hold."""


def require(holds: object, problem: str) -> None:
    if not holds:
        raise Violation(problem)


@dataclass(frozen=True)
class Span:
    trace: str
    id: str
    parent: str | None
    # The trace and the span of each link.
    links: tuple[tuple[str, str], ...]
    name: str
    service: str
    tags: dict = field(hash=False)
    # Whatever Jaeger says of it, for a search in all of it.
    raw: dict = field(hash=False, repr=False)

    @classmethod
    def read(cls, span: dict, processes: dict) -> "Span":
        references = span["references"]
        children_of = [r["spanID"] for r in references if r["refType"] == "CHILD_OF" and r["traceID"] == span["traceID"]]
        tags = {tag["key"]: tag["value"] for tag in processes[span["processID"]]["tags"] + span["tags"]}
        return cls(
            trace=span["traceID"],
            id=span["spanID"],
            parent=children_of[0] if children_of else None,
            links=tuple((r["traceID"], r["spanID"]) for r in references if r["refType"] == "FOLLOWS_FROM"),
            name=span["operationName"],
            service=processes[span["processID"]]["serviceName"],
            tags=tags,
            raw=span | {"process": processes[span["processID"]]},
        )

    @property
    def kind(self) -> str:
        return self.tags.get("span.kind", "internal")

    def __str__(self) -> str:
        return f"{self.name!r} of {self.service} ({self.trace}/{self.id})"


class Trace:
    """One trace, seen to be a tree: one root, below which everything is."""

    def __init__(self, answer: dict):
        self.id = answer["traceID"]
        self.spans = {span["spanID"]: Span.read(span, answer["processes"]) for span in answer["spans"]}
        require(len(self.spans) == len(answer["spans"]), f"trace {self.id}: two spans have one id")
        roots = [span for span in self.spans.values() if span.parent is None]
        orphans = [span for span in self.spans.values() if span.parent is not None and span.parent not in self.spans]
        require(not orphans, f"trace {self.id}: the parent of {next(iter(orphans), None)} is not in the trace")
        require(len(roots) == 1, f"trace {self.id}: not one root but {', '.join(map(str, roots)) or 'none'}")
        self.root = roots[0]
        for span in self.spans.values():
            require(self.path(span)[-1] is self.root, f"trace {self.id}: {span} is its own ancestor")

    def path(self, span: Span) -> list[Span]:
        """The span, its parent and so on, up to the root."""
        path = [span]
        while path[-1].parent is not None and len(path) <= len(self.spans):
            path.append(self.spans[path[-1].parent])
        return path

    def below(self, above: Span, name: str) -> list[Span]:
        return [span for span in self.spans.values() if span.name == name and span is not above and above in self.path(span)]

    @property
    def depth(self) -> int:
        return max(len(self.path(span)) for span in self.spans.values())

    @property
    def services(self) -> set[str]:
        return {span.service for span in self.spans.values()}


@dataclass
class Turn:
    """What the journal holds of one user turn, and its trace."""

    entries: list[dict]
    trace: Trace | None = None

    @property
    def transfers(self) -> list[tuple[dict, str]]:
        """Entries that transfer, with the target."""
        return [(entry, event["data"]["to"]) for entry in self.entries for event in entry["events"] if event["kind"] == "transferred"]


def turns(journal: dict) -> list[Turn]:
    found: list[Turn] = []
    for entry in journal["entries"]:
        if any(event["kind"] in BEGINNINGS for event in entry["events"]):
            found.append(Turn([]))
        require(found, f"entry {entry['ordinal']} comes before any person's message")
        found[-1].entries.append(entry)
    return found


def place(entry: dict) -> tuple[str, str]:
    """The trace and the span that an entry says it was written in."""
    parent = entry["traceparent"]
    require(parent, f"entry {entry['ordinal']} ({entry['kind']}) stores no traceparent")
    version, trace, span, flags = parent.split("-")
    require((version, flags) == ("00", "01"), f"entry {entry['ordinal']}: {parent} is not that of a sampled trace")
    return trace, span


def check(journal: dict, answers: dict[str, dict], secrets: list[str], edge: str) -> list[Turn]:
    """Holds a conversation against its traces: all that Jaeger finds under its id, by their ids. `edge` is the service that its
    messages came in by. `secrets` are texts that must be nowhere in them, besides all that was said."""
    found = turns(journal)
    places = [{place(entry)[0] for entry in turn.entries} for turn in found]
    for number, (turn, traces) in enumerate(zip(found, places), 1):
        require(len(traces) == 1, f"user turn {number}: its entries are in {len(traces)} traces: {', '.join(sorted(traces))}")
    ids = [trace for traces in places for trace in traces]
    require(len(set(ids)) == len(ids), f"two user turns share a trace: {ids}")
    require(not set(ids) - set(answers), f"traces that Jaeger does not have: {sorted(set(ids) - set(answers))}")
    require(not set(answers) - set(ids), f"traces of the conversation that belong to no user turn: {sorted(set(answers) - set(ids))}")
    for turn, trace in zip(found, ids):
        turn.trace = Trace(answers[trace])
    for number, turn in enumerate(found, 1):
        try:
            _turn(turn, found[number - 2] if number > 1 else None, edge)
        except Violation as violation:
            raise Violation(f"user turn {number}: {violation}") from None
    _whole(journal, found, secrets, edge)
    return found


def _turn(turn: Turn, before: Turn | None, edge: str) -> None:
    trace = turn.trace
    for entry in turn.entries:
        require(place(entry)[1] in trace.spans, f"entry {entry['ordinal']} stores a span that Jaeger does not have: {entry['traceparent']}")
    _beginning(turn, before, edge)
    for entry, target in turn.transfers:
        _transfer(trace, entry, target)
    chosen = [span for span in trace.spans.values() if span.tags.get("gen_ai.transfer.target.type") == "agent"]
    require(len(chosen) == len(turn.transfers), f"{len(chosen)} transfers in the trace, {len(turn.transfers)} in the journal")


def _beginning(turn: Turn, before: Turn | None, edge: str) -> None:
    """The root: an HTTP request around the user turn, or, where there is no gateway, the user turn itself."""
    root, trace = turn.trace.root, turn.trace
    begun = [span for span in trace.spans.values() if span.name == "user_turn"]
    require(len(begun) == 1, f"{len(begun)} spans called user_turn")
    if edge == "gateway":
        require(begun[0].parent == root.id, f"{begun[0]} is not right below the root {root}")
        require(root.kind == "server" and root.name == f"POST {root.tags.get('http.route')}", f"the root {root} is no HTTP request")
        require(root.tags.get("http.request.method") == "POST", f"{root} has no method")
        require(root.tags.get("url.scheme") == "http", f"{root} has no scheme")
        require(root.tags.get("http.response.status_code") == 201, f"{root} was answered {root.tags.get('http.response.status_code')}")
        require(set(root.links) == {CALLER}, f"the root {root} links to {set(root.links) or 'nothing'}, not to its caller {CALLER}")
    else:
        require(begun[0] is root, f"the root is {root}, not the user turn")
    require(root.service == edge, f"the root is of {root.service}, not of {edge}")
    written = trace.spans[place(turn.entries[0])[1]]
    require(written.parent == begun[0].id, f"the person's message is not published right below {begun[0]}")
    last = {place(before.entries[-1])} if before else set()
    links = set(begun[0].links)
    require(links == last, f"its beginning links to {links or 'nothing'}, not to the last span of the user turn before: {last or 'none'}")


def _transfer(trace: Trace, entry: dict, target: str) -> None:
    source, what = entry["from"], f"the transfer of entry {entry['ordinal']} from {entry['from']} to {target}"
    publish = trace.spans[place(entry)[1]]
    require(publish.kind == "producer", f"{what} was published by {publish}, which is no producer but {publish.kind}")
    require(publish.tags.get("messaging.message.id") == entry["id"], f"{what} was published by {publish} under another id")
    tool = trace.spans[publish.parent] if publish.parent else publish
    require(tool.name == f"execute_tool transfer_to_{target}", f"{what} has no tool call around its publish but {tool}")
    require(tool.service == publish.service == source, f"{what} is the work of {tool.service}")
    expected = {"type": "agent", "name": target}
    for key, value in expected.items():
        given = tool.tags.get(f"gen_ai.transfer.target.{key}")
        require(given == value, f"{what} has gen_ai.transfer.target.{key}={given}")
    require(tool.tags.get("gen_ai.transfer.mode") == "pass_control", f"{what} has no mode")
    invoked = [span for span in trace.path(tool) if span.name == f"invoke_agent {source}"]
    require(invoked, f"{what} is not below an invoke_agent of its source")
    for name, kind in [(f"process {target}", "consumer"), (f"invoke_agent {target}", "internal")]:
        spans = trace.below(publish, name)
        require(spans, f"{what} is not followed by {name!r}")
        for span in spans:
            require((span.service, span.kind) == (target, kind), f"{what}: {span}, {span.kind}; it should be of {target}, and {kind}")
    taken = [span for span in trace.below(publish, f"process {target}") if span.parent == publish.id]
    require(len(taken) == 1, f"{what} is taken up {len(taken)} times")
    require(taken[0].tags.get("messaging.message.id") == entry["id"], f"{what} is taken up as another message")


def _whole(journal: dict, found: list[Turn], secrets: list[str], edge: str) -> None:
    spans = [span for turn in found for span in turn.trace.spans.values()]
    for span in spans:
        require(span.tags.get(CONVERSATION) == journal["conversation"], f"{span} does not name the conversation")
        failed = span.tags.get("error") is True or span.tags.get("otel.status_code") == "ERROR" or "error.type" in span.tags
        require(not failed, f"{span} failed: {span.tags.get('error.type')} {span.tags.get('otel.status_description', '')}")
        if span.service != "coordinator":  # which may serve several
            require(span.tags.get("service.namespace") == journal["orchestration"], f"{span} is not of {journal['orchestration']}")
    services, writers = {span.service for span in spans}, {entry["from"] for entry in journal["entries"]}
    require(edge in writers, f"no message came in by the {edge}")
    require(services == writers, f"the services are {sorted(services)}, but {sorted(writers)} wrote into the conversation")
    hidden = [*secrets, *_said(journal)]
    for span in spans:
        for text in _strings(span.raw):
            told = next((secret for secret in hidden if secret in text), None)
            require(told is None, f"{span} tells what was said: {told!r}")


def _said(journal: dict) -> set[str]:
    """All that was said: words, not names and numbers, which are anywhere."""
    events = [event["data"] for entry in journal["entries"] for event in entry["events"]]
    return {text for data in events for text in _strings(data) if " " in text.strip()}


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from (key, *_strings(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def check_graph(journals: list[dict], dependencies: list[dict]) -> Counter:
    """The service graph is the graph of who handed work to whom; what a service calls in itself is left out of it."""
    handed: Counter = Counter()
    for entry in (entry for journal in journals for entry in journal["entries"]):
        _, _, _, _, _, to, *agent = entry["subject"].split(".")[:7]
        if to == "to" and agent[0] != entry["from"]:
            handed[entry["from"], agent[0]] += 1
    shown = Counter({(edge["parent"], edge["child"]): edge["callCount"] for edge in dependencies if edge["parent"] != edge["child"]})
    require(shown == handed, f"the service graph shows {dict(shown)}, the journals {dict(handed)}")
    return shown
