//! Which trace an entry of a caller belongs to: a person's message begins a user turn and with it a trace of its own, that of
//! the request which brought it if there is one; whatever else a caller writes belongs to the user turn that it happens in.

use protocol::conversation::Conversation;
use protocol::entry::Trace;
use protocol::event::Event;
use protocol::subject::Class;
use telemetry::{TraceContext, context, spans};
use tracing::Span;

/// The span around the append of `event`, inside that of a user turn where one begins.
pub(crate) fn span(conversation: &Conversation, class: &Class, event: &Event) -> Span {
    let id = conversation.id().as_str();
    let publish = || spans::publish(template(class), id, conversation.tail().next);
    let before = conversation.last().and_then(|entry| entry.head.trace.as_ref()).map(to_context);
    if !matches!(event, Event::Opened(_) | Event::Replied(_) | Event::Interrupted(_)) {
        let request = context::current();
        let span = publish();
        if let Some(before) = &before {
            context::set_parent(&span, before);
            // That trace is the user turn's, not the request's: it points to whoever asked.
            if let Some(request) = &request {
                context::add_link(&span, request);
            }
        }
        return span;
    }
    let root = spans::user_turn(id);
    if let Some(before) = &before {
        context::add_link(&root, before);
    }
    root.in_scope(publish)
}

/// The place in its trace that an entry written under `span` stores.
pub(crate) fn of(span: &Span) -> Option<Trace> {
    let TraceContext { traceparent, tracestate } = span.in_scope(context::current)?;
    Some(Trace { parent: traceparent, state: tracestate })
}

fn to_context(trace: &Trace) -> TraceContext {
    TraceContext { traceparent: trace.parent.clone(), tracestate: trace.state.clone() }
}

/// The low-cardinality form of a subject.
const fn template(class: &Class) -> &'static str {
    match class {
        Class::To { .. } => "baton.{orchestration}.c.{conversation}.{ordinal}.to.{agent}.{revision}.{from}",
        Class::Note => "baton.{orchestration}.c.{conversation}.{ordinal}.note.{from}",
        Class::In => "baton.{orchestration}.c.{conversation}.{ordinal}.in.{from}",
        Class::Ask => "baton.{orchestration}.c.{conversation}.{ordinal}.ask.{from}",
        Class::End => "baton.{orchestration}.c.{conversation}.{ordinal}.end.{from}",
    }
}
