"""The checks hold for a conversation as it should be, and fail for whatever may be wrong with one."""

import copy
import json
import unittest

from checks import CALLER, CONVERSATION, Violation, check, check_graph

TRACES = ["a" * 32, "b" * 32]
CANARY = "canary-0815"


class World:
    """Two user turns: triage asks; then it hands over to refund, which completes. By the command line, or over HTTP."""

    def __init__(self, edge: str = "client"):
        self.edge = edge
        self.entries: list[dict] = []
        self.spans: dict[str, list[dict]] = {}
        for trace in TRACES:
            self.spans[trace] = []
        first = self.beginning(TRACES[0], "opened", {"input": [{"role": "user", "text": f"Help me, {CANARY}"}]}, None)
        asked = self.asks(TRACES[0], self.turn(TRACES[0], "triage", first))
        second = self.beginning(TRACES[1], "replied", {"text": "My money back"}, asked)
        refund = self.transfers(TRACES[1], self.turn(TRACES[1], "triage", second), "triage", "refund")
        self.completes(TRACES[1], self.turn(TRACES[1], "refund", refund))

    def span(self, trace: str, name: str, service: str, parent: str | None, kind: str = "internal", links=(), **tags: object) -> str:
        own = f"{sum(map(len, self.spans.values())) + 1:016x}"
        references = [{"refType": "CHILD_OF", "traceID": trace, "spanID": parent}] if parent else []
        references += [{"refType": "FOLLOWS_FROM", "traceID": to, "spanID": span} for to, span in links]
        tags = {"span.kind": kind, CONVERSATION: "c-1", **{key.replace("__", "."): value for key, value in tags.items()}}
        self.spans[trace].append(
            {
                "traceID": trace,
                "spanID": own,
                "operationName": name,
                "references": references,
                "tags": [{"key": key, "value": value} for key, value in tags.items()],
                "logs": [],
                "processID": service,
            }
        )
        return own

    def entry(self, trace: str, span: str, writer: str, place: str, kind: str, data: dict) -> None:
        number = len(self.entries)
        self.span_of(trace, span)["tags"].append({"key": "messaging.message.id", "value": f"e-{number}"})
        self.entries.append(
            {
                "ordinal": number,
                "id": f"e-{number}",
                "kind": kind,
                "from": writer,
                "subject": f"baton.support.c.c-1.{number}.{place}.{writer}",
                "traceparent": f"00-{trace}-{span}-01",
                "events": [{"kind": kind, "data": data}],
            }
        )

    def span_of(self, trace: str, span: str) -> dict:
        return next(found for found in self.spans[trace] if found["spanID"] == span)

    def named(self, name: str, trace: int = 1) -> dict:
        return next(found for found in self.spans[TRACES[trace]] if found["operationName"] == name)

    def beginning(self, trace: str, kind: str, data: dict, before: str | None) -> str:
        request, route = None, "/v1/conversations"
        if self.edge == "gateway":
            http = {"http__request__method": "POST", "http__route": route, "url__scheme": "http", "http__response__status_code": 201}
            request = self.span(trace, f"POST {route}", "gateway", None, "server", [CALLER], **http)
        links = [(TRACES[0], before)] if before else []
        turn = self.span(trace, "user_turn", self.edge, request, links=links)
        publish = self.span(trace, "send to", self.edge, turn, "producer")
        self.entry(trace, publish, self.edge, "to.triage.1", kind, data)
        return publish

    def turn(self, trace: str, agent: str, parent: str) -> str:
        message = self.entries[-1]["id"]
        process = self.span(trace, f"process {agent}", agent, parent, "consumer", messaging__message__id=message)
        return self.span(trace, f"invoke_agent {agent}", agent, process)

    def asks(self, trace: str, parent: str) -> str:
        publish = self.span(trace, "send ask", "triage", parent, "producer")
        self.entry(trace, publish, "triage", "ask", "asked", {"text": "What is it about?"})
        return publish

    def transfers(self, trace: str, parent: str, source: str, target: str) -> str:
        to = {"gen_ai__transfer__target__type": "agent", "gen_ai__transfer__target__name": target}
        tool = self.span(trace, f"execute_tool transfer_to_{target}", source, parent, gen_ai__transfer__mode="pass_control", **to)
        publish = self.span(trace, "send to", source, tool, "producer")
        self.entry(trace, publish, source, f"to.{target}.1", "transferred", {"to": target})
        return publish

    def completes(self, trace: str, parent: str) -> None:
        publish = self.span(trace, "send end", "refund", parent, "producer")
        self.entry(trace, publish, "refund", "end", "completed", {"result": "Paid it back."})

    @property
    def journal(self) -> dict:
        return {"conversation": "c-1", "orchestration": "support", "entries": self.entries}

    def answers(self) -> dict[str, dict]:
        namespace = [{"key": "service.namespace", "value": "support"}]
        services = {self.edge, "triage", "refund"}
        processes = {service: {"serviceName": service, "tags": list(namespace)} for service in services}
        return {trace: {"traceID": trace, "spans": spans, "processes": processes} for trace, spans in self.spans.items()}

    def check(self) -> None:
        check(self.journal, copy.deepcopy(self.answers()), [CANARY], self.edge)


def retag(span: dict, key: str, value: object) -> None:
    span["tags"] = [tag for tag in span["tags"] if tag["key"] != key] + ([] if value is None else [{"key": key, "value": value}])


class Checks(unittest.TestCase):
    def setUp(self):
        self.world = World()

    def violated(self, problem: str):
        with self.assertRaises(Violation) as caught:
            self.world.check()
        self.assertIn(problem, str(caught.exception))

    def test_a_conversation_as_it_should_be(self):
        for edge in ["client", "gateway"]:
            World(edge).check()

    # One connected trace for each user turn.

    def test_a_trace_that_is_missing(self):
        del self.world.spans[TRACES[0]]
        self.violated("traces that Jaeger does not have")

    def test_a_trace_too_many(self):
        self.world.spans["c" * 32] = []
        self.violated("belong to no user turn")

    def test_a_handoff_that_begins_a_trace_of_its_own(self):
        self.world.entries[-1]["traceparent"] = f"00-{'c' * 32}-{'1' * 16}-01"
        self.violated("its entries are in 2 traces")

    def test_user_turns_in_one_trace(self):
        for entry in self.world.entries:
            entry["traceparent"] = entry["traceparent"].replace(TRACES[1], TRACES[0])
        self.violated("two user turns share a trace")

    def test_an_entry_without_a_trace(self):
        self.world.entries[1]["traceparent"] = None
        self.violated("entry 1 (asked) stores no traceparent")

    def test_an_entry_of_a_trace_that_is_not_sampled(self):
        self.world.entries[1]["traceparent"] = self.world.entries[1]["traceparent"].replace("-01", "-00")
        self.violated("not that of a sampled trace")

    def test_an_entry_whose_span_is_lost(self):
        self.world.entries[1]["traceparent"] = f"00-{TRACES[0]}-{'1' * 16}-01"
        self.violated("entry 1 stores a span that Jaeger does not have")

    def test_a_service_whose_spans_are_lost(self):
        self.world.spans[TRACES[1]] = [span for span in self.world.spans[TRACES[1]] if span["processID"] != "triage"]
        self.violated("is not in the trace")

    def test_a_second_root(self):
        self.world.named("process refund")["references"] = []
        self.violated("not one root but")

    def test_a_link_is_no_parent(self):
        for reference in self.world.named("process refund")["references"]:
            reference["refType"] = "FOLLOWS_FROM"
        self.violated("not one root but")

    def test_a_circle(self):
        self.world.named("process refund")["references"][0]["spanID"] = self.world.named("invoke_agent refund")["spanID"]
        self.violated("is its own ancestor")

    # The beginning.

    def test_a_turn_without_a_link_to_the_one_before(self):
        self.world.named("user_turn")["references"] = []
        self.violated("user turn 2: its beginning links to nothing")

    def test_a_link_to_another_span_than_the_last(self):
        self.world.named("user_turn")["references"][0]["spanID"] = self.world.named("user_turn", 0)["spanID"]
        self.violated("not to the last span of the user turn before")

    def test_a_root_that_is_no_request(self):
        self.world = World("gateway")
        retag(self.world.named("POST /v1/conversations"), "span.kind", "internal")
        self.violated("is no HTTP request")

    def test_a_request_that_does_not_know_its_caller(self):
        self.world = World("gateway")
        self.world.named("POST /v1/conversations")["references"] = []
        self.violated("not to its caller")

    def test_a_request_that_is_no_parent(self):
        self.world = World("gateway")
        del self.world.spans[TRACES[1]][0]
        self.world.named("user_turn")["references"].pop(0)
        self.violated("is not right below the root")

    def test_a_turn_that_came_by_somebody_else(self):
        self.world.named("user_turn")["processID"] = "triage"
        self.violated("the root is of triage")

    # Transfers.

    def test_a_publish_outside_of_the_tool_call(self):
        publish = self.world.span_of(TRACES[1], self.world.entries[3]["traceparent"].split("-")[2])
        publish["references"][0]["spanID"] = self.world.named("invoke_agent triage")["spanID"]
        self.violated("has no tool call around its publish")

    def test_a_publish_that_is_no_producer(self):
        retag(self.world.span_of(TRACES[1], self.world.entries[3]["traceparent"].split("-")[2]), "span.kind", "internal")
        self.violated("which is no producer")

    def test_a_transfer_in_another_service(self):
        self.world.named("execute_tool transfer_to_refund")["processID"] = "refund"
        self.violated("is the work of refund")

    def test_a_transfer_to_somebody_else(self):
        retag(self.world.named("execute_tool transfer_to_refund"), "gen_ai.transfer.target.name", "triage")
        self.violated("gen_ai.transfer.target.name=triage")

    def test_a_transfer_without_a_mode(self):
        retag(self.world.named("execute_tool transfer_to_refund"), "gen_ai.transfer.mode", None)
        self.violated("has no mode")

    def test_a_target_beside_the_handoff(self):
        self.world.named("process refund")["references"][0]["spanID"] = self.world.named("invoke_agent triage")["spanID"]
        self.violated("is not followed by 'process refund'")

    def test_a_target_in_another_service(self):
        self.world.named("invoke_agent refund")["processID"] = "triage"
        self.violated("it should be of refund, and internal")

    def test_a_transfer_that_the_journal_does_not_have(self):
        self.world.entries[3]["events"] = [{"kind": "returned", "data": {}}]
        self.violated("1 transfers in the trace, 0 in the journal")

    # All spans.

    def test_a_span_without_its_conversation(self):
        retag(self.world.named("process refund"), CONVERSATION, None)
        self.violated("does not name the conversation")

    def test_a_span_that_failed(self):
        for key, value in [("error", True), ("otel.status_code", "ERROR"), ("error.type", "timeout")]:
            self.world = World()
            retag(self.world.named("invoke_agent refund"), key, value)
            self.violated("failed")

    def test_a_service_that_wrote_nothing(self):
        self.world.named("process triage", 0)["processID"] = "refund"
        self.world.named("invoke_agent triage", 0)["processID"] = "refund"
        self.world.check()
        self.world.entries[-1]["from"] = "triage"
        self.violated("the services are")

    def test_what_was_said(self):
        for text in [f"about {CANARY}", "She said: What is it about?", json.dumps({"result": "Paid it back."})]:
            self.world = World()
            retag(self.world.named("invoke_agent refund"), "note", text)
            self.violated("tells what was said")
        self.world = World()
        self.world.named("invoke_agent refund")["logs"] = [{"fields": [{"key": "event", "value": CANARY}]}]
        self.violated("tells what was said")

    # The graph.

    def test_the_service_graph(self):
        edges = {("client", "triage"): 2, ("triage", "refund"): 1}

        def told(edges):
            return [{"parent": parent, "child": child, "callCount": calls} for (parent, child), calls in edges.items()]

        self.assertEqual(check_graph([self.world.journal], told(edges | {("triage", "triage"): 5})), edges)
        for wrong in [{("client", "triage"): 2}, edges | {("triage", "refund"): 2}, edges | {("refund", "triage"): 1}]:
            with self.assertRaises(Violation):
                check_graph([self.world.journal], told(wrong))


if __name__ == "__main__":
    unittest.main()
