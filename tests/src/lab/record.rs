//! What is recorded outside the system while faults strike it: by the people who talk to it, by the models and tools it
//! asks, by a tap on the broker, and by whoever makes the faults. The checker reads nothing else.
//!
//! A recording is JSON, a record a line, in the order of one process's clock: all recorders live in the laboratory.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Microseconds since the laboratory opened.
    pub at_us: u64,
    /// What was seen.
    #[serde(flatten)]
    pub seen: Seen,
}

/// See [`Record`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "seen", rename_all = "snake_case")]
pub enum Seen {
    /// A person (a client) asks a gateway for something. Every operation has one, and at most one [`Seen::Ended`].
    Invoked {
        /// The operation's number, unique in the recording.
        op: u64,
        /// Who.
        client: String,
        /// What.
        act: Act,
        /// The conversation; none where the operation opens one.
        conversation: Option<String>,
        /// The idempotency key; operations with the same key are the same wish.
        key: String,
        /// The text, which contains the message's id `[[m:<id>]]` and the conversation's canary `[[canary:<word>]]`.
        text: String,
        /// The request that is answered, `<ordinal>.<index>`.
        request: Option<String>,
    },
    /// What a gateway answered.
    Ended {
        /// Which operation.
        op: u64,
        /// How it ended.
        how: Ended,
        /// The conversation, where the answer named it.
        conversation: Option<String>,
        /// After how many seconds the answer says to try again, if it says so.
        #[serde(default)]
        retry_after_secs: Option<u64>,
    },
    /// A client's stream of events was opened, at a gateway, from an event on.
    Watching {
        /// Who.
        client: String,
        /// Which conversation.
        conversation: String,
        /// Which gateway.
        gateway: String,
        /// The last event id the client had, none at first.
        after: Option<String>,
    },
    /// An event reached a client.
    Received {
        /// Who.
        client: String,
        /// Which conversation.
        conversation: String,
        /// `<ordinal>.<index>`; none for what is not stored (live text, resets).
        id: Option<String>,
        /// Its type, as the gateway names it.
        event: String,
        /// Its data.
        data: Json,
    },
    /// A model was asked.
    Asked {
        /// The request's number, unique in the recording.
        request: u64,
        /// Which agent's model.
        agent: String,
        /// The messages, as they came.
        messages: Json,
    },
    /// The model has answered, whole.
    Answered {
        /// Which request.
        request: u64,
        /// The token `[[t:<word>]]` that occurs in this answer and in no other.
        token: String,
        /// The text.
        text: String,
        /// The names of the tools it called.
        calls: Vec<String>,
    },
    /// The model's stream was broken off before its end: by its reader, or as a fault.
    Aborted {
        /// Which request.
        request: u64,
        /// Whether the laboratory broke it.
        is_fault: bool,
    },
    /// A tool was called.
    Called {
        /// The call's number, unique in the recording.
        call: u64,
        /// The tool.
        tool: String,
        /// The idempotency key it was given.
        key: String,
        /// The epoch it was given.
        epoch: u64,
        /// The conversation it was given.
        conversation: String,
        /// The arguments.
        arguments: Json,
        /// Whether the tool server took effect: the first call under a key whose epoch is not below the highest it has seen.
        is_effect: bool,
    },
    /// A fault begins.
    Struck {
        /// Its number, unique in the recording.
        fault: u64,
        /// Its name, as in the list of faults.
        name: String,
        /// What it hits: a process, a server, a link.
        target: String,
        /// The conversation that it is meant to touch, where it is aimed at one.
        conversation: Option<String>,
    },
    /// The fault is over: what was stopped runs again, what was cut is joined.
    Healed {
        /// Which.
        fault: u64,
    },
    /// The broker's servers agree again on who leads what: from here on it delivers as it always does.
    Settled {
        /// After which fault.
        fault: u64,
    },
    /// An entry of the final stream, as one replica has it.
    Entry {
        /// The replica's name.
        replica: String,
        /// Its sequence.
        seq: u64,
        /// When the broker stored it, in milliseconds since the Unix epoch.
        time_ms: u64,
        /// Its subject.
        subject: String,
        /// Its headers.
        headers: Vec<(String, String)>,
        /// Its payload, in base64.
        payload: String,
    },
    /// What a process wrote to its log.
    Logged {
        /// Which process.
        process: String,
        /// The line.
        line: String,
    },
    /// A process of the system began.
    Started {
        /// Its name in the deployment.
        process: String,
        /// Its number.
        pid: u32,
    },
    /// A process of the system ended.
    Gone {
        /// Its name in the deployment.
        process: String,
        /// Its number.
        pid: u32,
        /// Whether the laboratory ended it.
        is_fault: bool,
    },
    /// A span that an OTLP receiver was sent.
    Span {
        /// The trace, in hexadecimal.
        trace: String,
        /// The span.
        span: String,
        /// Its parent, empty for a root.
        parent: String,
        /// Its name.
        name: String,
        /// Its attributes, as text.
        attributes: Vec<(String, String)>,
    },
    /// How the broker's clock relates to the recording's: the broker's time at `at_us`, in milliseconds since the Unix epoch.
    Clock {
        /// The broker's time.
        time_ms: u64,
    },
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// A new conversation.
    Open,
    /// A message without a request id.
    Say,
    /// An answer to a question.
    Reply,
    /// A decision on an approval, or on a call in doubt.
    Decide,
    /// The end of it.
    Cancel,
}

/// How an operation ended, as far as the client knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Accepted (2xx).
    Ok {
        /// The HTTP status.
        status: u16,
        /// Whether the gateway said that it had accepted the same before.
        is_repeat: bool,
    },
    /// Refused: nothing of it is stored.
    Fail {
        /// The HTTP status.
        status: u16,
        /// The problem's code.
        code: String,
    },
    /// Nobody knows: a timeout, a broken connection, a 5xx that does not promise that nothing was stored.
    Unknown {
        /// Why.
        why: String,
        /// The HTTP status, where there was an answer.
        #[serde(default)]
        status: Option<u16>,
    },
}
