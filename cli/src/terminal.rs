//! A person at the terminal, for programs of one's own: functions for [`Callbacks`](client::Callbacks).
//!
//! ```
//! use baton::prelude::*;
//!
//! let callbacks = Callbacks::default()
//!     .on_message(terminal::agent_response)
//!     .on_token(terminal::streaming_agent_response)
//!     .on_question(terminal::human_response());
//! # drop(callbacks);
//! ```

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use client::{Answer, BoxError, Content, Line, Question, Token};
use futures::FutureExt;
use futures::future::BoxFuture;
use protocol::event::RequestKind;
use tokio::sync::Mutex;

use crate::args::Format;
use crate::output::{self, Output};
use crate::talk::{self, Replies};

/// Prints what an agent says: `RefundAgent: It is done.`
///
/// # Errors
/// None: its type is that of a callback.
#[doc(alias = "agent_response_callback")]
pub fn agent_response(line: &Line) -> Result<(), BoxError> {
    if let Content::Text(text) = &line.content {
        output::line(&format!("{}: {}", line.name, output::printable(text)));
    }
    Ok(())
}

/// Shows at a terminal who is writing an answer; the message itself follows in one piece.
///
/// # Errors
/// None: its type is that of a callback.
#[doc(alias = "streaming_agent_response_callback")]
pub fn streaming_agent_response(token: &Token) -> Result<(), BoxError> {
    let mut stderr = io::stderr().lock();
    if stderr.is_terminal() {
        let writer = match token {
            Token::Text { agent, is_final: false, .. } => format!("{agent} is writing …"),
            Token::Text { .. } | Token::Withdrawn { .. } => String::new(),
        };
        // Whoever does not see it misses nothing.
        let _ = write!(stderr, "\r\x1b[K{writer}").and_then(|()| stderr.flush());
    }
    Ok(())
}

/// Asks for a line of standard input. After its end, an empty answer ends the conversation; a decision is left to somebody
/// else.
#[doc(alias = "human_response_function")]
pub fn human_response() -> impl FnMut(Question) -> BoxFuture<'static, Result<Answer, BoxError>> + Send {
    answers(Replies::typed())
}

/// The same where somebody sits at the terminal; elsewhere these are their answers, a line each.
#[doc(alias = "queue")]
pub fn human_response_or(rehearsed: &str) -> impl FnMut(Question) -> BoxFuture<'static, Result<Answer, BoxError>> + Send {
    answers(if io::stdin().is_terminal() { Replies::typed() } else { Replies::from_text(rehearsed) })
}

fn answers(replies: Replies) -> impl FnMut(Question) -> BoxFuture<'static, Result<Answer, BoxError>> + Send {
    let replies = Arc::new(Mutex::new(replies));
    move |question| {
        let replies = Arc::clone(&replies);
        async move {
            let answer = talk::answer(&mut *replies.lock().await, &question, "User: ", Output::new(Format::Text)).await?;
            Ok(answer.unwrap_or_else(|| if question.kind == RequestKind::Question { "".into() } else { Answer::Elsewhere }))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(kind: RequestKind) -> Question {
        let agent = "refund".parse().unwrap();
        let audience = protocol::event::Audience::Caller;
        let request = protocol::ids::RequestId { ordinal: 1, index: 0 };
        Question { request, kind, audience, agent, text: "So?".to_owned(), call: None, arguments_hash: None, due_secs: None }
    }

    #[tokio::test]
    async fn lines_answer_in_order_and_decide_what_wants_a_decision() {
        let mut answer = answers(Replies::from_text("Order 321\nperhaps\nyes, but hurry\n"));
        assert_eq!(answer(question(RequestKind::Question)).await.unwrap(), Answer::from("Order 321"));
        let decided = answer(question(RequestKind::Approval)).await.unwrap();
        assert!(matches!(&decided, Answer::Decision { verdict: protocol::event::Verdict::Approved, note, .. } if note == "but hurry"));
        assert_eq!(answer(question(RequestKind::Approval)).await.unwrap(), Answer::Elsewhere);
        assert_eq!(answer(question(RequestKind::Question)).await.unwrap(), Answer::from(""), "the person has hung up");
    }
}
