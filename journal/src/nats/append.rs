//! The one way to write into a conversation. It always fences, and it never mistakes "unknown" for "failed".

use std::time::Duration;

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use protocol::conversation::Prepared;
use protocol::ids::Seq;
use protocol::subject::{Class, EntrySubject, fence, stream};
use protocol::wire::{Stored, header};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::message::{header_bytes, outgoing};
use super::objects::Place;
use super::request::{Denied, Failure, Link, TRY_AT_MOST, code, parse};
use super::things::MESSAGE_BYTES_MAX;
use crate::claim::{check_size, object_name};
use crate::{Append, Refusal, StoreError, planted};

/// How long an append is tried before it is reported as unknown: four questions that stay without an answer.
const APPEND_AT_MOST: Duration = Duration::from_secs(6);

/// How long the first one waits: what a leader has taken that steps down then is lost without a word.
const FIRST_AT_MOST: Duration = Duration::from_secs(1);

/// A leader may still be settling the entry before this one: 1, 2, 4 … 512 ms, a second in all.
const SETTLE_DOUBLINGS: u32 = 10;

/// Between attempts that nobody took.
const REPEAT_AFTER: Duration = Duration::from_millis(50);

/// The broker's limit for headers, whatever its limit for messages is.
const HEADER_BYTES_MAX: usize = 65_535;

/// The headers by which the broker refuses whoever has not seen the conversation's last entry. The filter must be
/// byte-identical for every writer; that is why nothing else makes them.
pub(super) fn fencing(headers: &mut HeaderMap, expected: Seq, filter: &str) {
    headers.insert(async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
    headers.insert("Nats-Expected-Last-Subject-Sequence-Subject", filter);
}

/// Whether a planted bug leaves the fence out.
fn is_unfenced(subject: &EntrySubject) -> bool {
    planted::is("no-fence") || (planted::is("end-not-fenced") && subject.class == Class::End)
}

/// What the broker makes of one fenced publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Stored.
    Stored(Seq),
    /// The last sequence is above the expected one.
    Above(Seq),
    /// It is below, or not known yet.
    Unsettled,
    /// Nobody took it: there is no stream, or it has no leader now.
    Untaken(String),
    /// Not now, or not known.
    NotNow(String),
    /// Larger than the stream takes.
    TooLarge,
    /// Never.
    Refused(Refusal),
}

impl Link {
    /// One publish that expected `expected`, and what the broker makes of it.
    pub(super) async fn publish(&self, to: &str, headers: HeaderMap, payload: Bytes, at_most: Duration, expected: Seq) -> Verdict {
        let verdict = verdict(self.request(to, Some(headers), payload, at_most).await, expected);
        match &verdict {
            Verdict::Stored(_) => self.is_proven(),
            // A leader that has lost its followers keeps what it took in flight for as long as it does not know.
            Verdict::NotNow(_) | Verdict::Unsettled => self.is_missed(),
            _ => {}
        }
        verdict
    }
}

/// The verdict in the answer to a publish that expected `expected`.
fn verdict(answer: Result<Message, Failure>, expected: Seq) -> Verdict {
    #[derive(Deserialize)]
    struct Stored {
        seq: u64,
    }
    match answer.and_then(|answer| parse::<Stored>(&answer.payload)) {
        Ok(stored) => Verdict::Stored(Seq(stored.seq)),
        Err(Failure::NotPermitted(subject)) => Verdict::Refused(Refusal::NotPermitted { subject }),
        Err(Failure::Denied(denied)) => judge(denied, expected),
        Err(Failure::NoResponders(subject)) => Verdict::Untaken(format!("no stream takes {subject} now")),
        Err(failure) if failure.is_passing() => Verdict::NotNow(failure.to_string()),
        Err(failure) => Verdict::Refused(Refusal::Other(failure.to_string())),
    }
}

fn judge(denied: Denied, expected: Seq) -> Verdict {
    let Denied { code: status, err_code, description } = denied;
    match err_code {
        code::WRONG_LAST_SEQUENCE => match last_number(&description) {
            Some(last) if last > expected.0 => Verdict::Above(Seq(last)),
            _ => Verdict::Unsettled,
        },
        code::WRONG_LAST_SEQUENCE_IN_FLIGHT | code::LAST_SEQUENCE_NOT_READY => Verdict::Unsettled,
        code::ACCOUNT_RESOURCES | code::INSUFFICIENT_RESOURCES | code::MEMORY_RESOURCES | code::STORAGE_RESOURCES => {
            Verdict::Refused(Refusal::NoSpace(description))
        }
        // The code covers every error of the store; the limits are told apart by their text alone.
        code::STORE_FAILED if description.contains("maximum") => Verdict::Refused(Refusal::NoSpace(description)),
        code::STORE_FAILED => Verdict::NotNow(description),
        code::MESSAGE_TOO_LARGE | code::HEADER_TOO_LARGE => Verdict::TooLarge,
        _ if status >= 500 || status == 429 => Verdict::NotNow(description),
        _ => Verdict::Refused(Refusal::Other(format!("{description} ({err_code})"))),
    }
}

/// `wrong last sequence: 42` is 42. The number is nowhere but in the text.
fn last_number(description: &str) -> Option<u64> {
    description.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Appends an entry behind the tail it was prepared on.
pub(super) async fn append(link: &Link, prepared: &Prepared) -> Append {
    let mut publish = match Publish::new(link, prepared) {
        Ok(publish) => publish,
        Err(refusal) => return Append::Refused(refusal),
    };
    if publish.bytes > publish.bytes_max
        && let Err(append) = publish.check_in().await
    {
        return append;
    }
    let append = publish.run().await;
    publish.clean_up(&append).await;
    append
}

/// What follows from an attempt.
enum Next {
    Done(Append),
    /// The same again after a while; if there is no time for that, it is unknown for this reason.
    Again(Duration, String),
}

struct Publish<'a> {
    link: &'a Link,
    subject: &'a EntrySubject,
    expected: Seq,
    to: &'a str,
    headers: HeaderMap,
    /// The message's own; empty once it is checked in.
    payload: Bytes,
    bytes: usize,
    bytes_max: usize,
    unsettled: u32,
    object: Option<Object>,
    prepared: &'a Prepared,
}

/// Where a payload is that no message could hold.
struct Object {
    place: Place,
    /// Whether a message that names it may be stored although this append is refused: somebody else's, or an attempt
    /// that nobody answered.
    may_be_named: bool,
}

impl<'a> Publish<'a> {
    fn new(link: &'a Link, prepared: &'a Prepared) -> Result<Self, Refusal> {
        let subject = prepared.subject();
        let message = &prepared.message;
        let mut headers = outgoing(&message.headers).map_err(|failure| Refusal::Other(failure.to_string()))?;
        if !is_unfenced(subject) {
            fencing(&mut headers, prepared.expected, &fence(&subject.orchestration, &subject.conversation));
        }
        let header_bytes = header_bytes(&headers);
        if header_bytes > HEADER_BYTES_MAX {
            return Err(Refusal::TooLarge { bytes: header_bytes, bytes_max: HEADER_BYTES_MAX });
        }
        let (bytes, bytes_max) = (header_bytes + message.payload.len(), link.client.max_payload().min(MESSAGE_BYTES_MAX));
        let (expected, to, payload) = (prepared.expected, message.subject.as_str(), message.payload.clone());
        Ok(Self { link, subject, expected, to, headers, payload, bytes, bytes_max, unsettled: 0, object: None, prepared })
    }

    /// The claim check: the payload becomes an object, which is there before any message can name it.
    async fn check_in(&mut self) -> Result<(), Append> {
        check_size(&self.payload).map_err(Append::Refused)?;
        let name = object_name(self.prepared);
        let mut headers = self.headers.clone();
        headers.insert(header::OBJECT, name.as_str());
        let (bytes, bytes_max) = (header_bytes(&headers), self.bytes_max.min(HEADER_BYTES_MAX));
        if bytes > bytes_max {
            return Err(Append::Refused(Refusal::TooLarge { bytes, bytes_max }));
        }
        let place = Place::under_its_name(&self.subject.orchestration, &name).map_err(unkept)?;
        let was_there = self.link.check_in(&place, &self.payload).await.map_err(unkept)?;
        // A caller's request may be under way twice, and both are the same entry.
        let may_be_named = was_there || self.subject.from.is_caller();
        self.object = Some(Object { place, may_be_named });
        (self.headers, self.payload, self.bytes) = (headers, Bytes::new(), bytes);
        Ok(())
    }

    /// An object is taken back only where no message can ever name it. Another's entry at this ordinal says so for good.
    async fn clean_up(&self, append: &Append) {
        let Some(Object { place, may_be_named }) = &self.object else { return };
        match append {
            Append::Fenced { .. } | Append::Gone => self.link.take_back(place).await,
            Append::Refused(_) if !may_be_named => self.link.take_back(place).await,
            Append::Refused(_) | Append::Appended(_) | Append::Unknown(_) => {}
        }
    }

    /// Every attempt sends the identical message: the fence lets at most one of them in.
    async fn run(&mut self) -> Append {
        let deadline = Instant::now() + APPEND_AT_MOST;
        let mut at_most = FIRST_AT_MOST;
        loop {
            let verdict = self.link.publish(self.to, self.headers.clone(), self.payload.clone(), at_most, self.expected).await;
            if let (Verdict::NotNow(_), Some(object)) = (&verdict, &mut self.object) {
                object.may_be_named = true;
            }
            let next = match verdict {
                Verdict::Stored(seq) => Next::Done(Append::Appended(seq)),
                Verdict::Above(tail) => self.whose(tail).await,
                Verdict::Unsettled => self.settle().await,
                Verdict::Untaken(_) if self.link.has_no_stream(&stream(&self.subject.orchestration)).await => self.no_stream(),
                Verdict::Untaken(why) => {
                    self.link.is_missed();
                    Next::Again(REPEAT_AFTER, why)
                }
                Verdict::NotNow(why) => Next::Again(REPEAT_AFTER, why),
                Verdict::TooLarge => self.too_large().await,
                Verdict::Refused(refusal) => Next::Done(Append::Refused(refusal)),
            };
            match next {
                Next::Done(append) => return append,
                Next::Again(after, _) if Instant::now() + after < deadline => sleep(after).await,
                Next::Again(_, why) => return Append::Unknown(why),
            }
            at_most = TRY_AT_MOST.min(deadline.saturating_duration_since(Instant::now()));
        }
    }

    /// Somebody's entry is stored where this one belongs. It may be this very one, from an earlier attempt, or from an
    /// earlier append whose outcome stayed unknown to its caller: only the entry at this ordinal can tell, never the
    /// tail, because others may have written since. Losing a race is rare, so this read is no cost worth a distinction.
    async fn whose(&mut self, tail: Seq) -> Next {
        let EntrySubject { orchestration, conversation, ordinal, .. } = self.subject;
        match self.link.entry_at(orchestration, conversation, *ordinal).await {
            Ok(Some(entry)) => {
                self.leave_to(&entry);
                let is_own = self.prepared.is_stored_as(&entry);
                Next::Done(if is_own { Append::Appended(entry.seq) } else { Append::Fenced { tail } })
            }
            // The conversation goes on beyond this ordinal, and the ordinal is not there: it has been purged, unless what the
            // writer saw is still there, and what follows it is no entry. A reader that has not reached the tail cannot say so.
            Ok(None) => match self.tail().await {
                Ok(Some(seen)) if seen >= tail => match self.has_expected().await {
                    Ok(true) => Next::Done(Append::Fenced { tail }),
                    Ok(false) => Next::Done(Append::Gone),
                    Err(failure) => Next::Again(REPEAT_AFTER, failure.to_string()),
                },
                Ok(_) => Next::Again(REPEAT_AFTER, "the broker's leader has not caught up".to_owned()),
                Err(failure) => Next::Again(REPEAT_AFTER, failure.to_string()),
            },
            Err(failure) => Next::Again(REPEAT_AFTER, failure.to_string()),
        }
    }

    /// The same request through another process has the same payload, and so the same object: then it is not this one's
    /// to take back.
    fn leave_to(&mut self, entry: &Stored) {
        let name = entry.headers.get(header::OBJECT);
        self.object = self.object.take().filter(|object| name != Some(object.place.name()));
    }

    /// The broker knows less of the conversation than the writer: it is still settling, or the conversation is erased.
    async fn settle(&mut self) -> Next {
        if self.unsettled < SETTLE_DOUBLINGS {
            let time = Duration::from_millis(1 << self.unsettled);
            self.unsettled += 1;
            return Next::Again(time, "the conversation's tail does not settle".to_owned());
        }
        match self.is_erased().await {
            Ok(true) => Next::Done(Append::Gone),
            Ok(false) => Next::Again(REPEAT_AFTER, "the broker knows less of the conversation than its writer".to_owned()),
            Err(failure) => Next::Again(REPEAT_AFTER, failure.to_string()),
        }
    }

    /// Whether the leader's stream went past the expected entry and has neither it nor a later one of the conversation.
    /// A deposed leader that has not noticed yet fails the first half: it never had the entry. An opening expects nothing that could be gone.
    async fn is_erased(&self) -> Result<bool, Failure> {
        if self.expected == Seq(0) {
            return Ok(false);
        }
        let info = self.link.stream_info(&stream(&self.subject.orchestration)).await?;
        Ok(info.state.last_seq >= self.expected && self.tail().await?.is_none_or(|tail| tail < self.expected))
    }

    /// Whether the entry that this one was prepared behind is there.
    async fn has_expected(&self) -> Result<bool, Failure> {
        let (EntrySubject { orchestration, conversation, .. }, expected) = (self.subject, self.expected);
        // An opening was prepared behind nothing.
        if expected == Seq(0) {
            return Ok(false);
        }
        let found = self.link.next_from_leader(&stream(orchestration), &fence(orchestration, conversation), expected).await?;
        Ok(found.is_some_and(|found| found.seq == expected))
    }

    /// The conversation's last sequence, from the leader.
    async fn tail(&self) -> Result<Option<Seq>, Failure> {
        let EntrySubject { orchestration, conversation, .. } = self.subject;
        let last = self.link.last_from_leader(&stream(orchestration), &fence(orchestration, conversation)).await?;
        Ok(last.map(|entry| entry.seq))
    }

    fn no_stream(&self) -> Next {
        let name = stream(&self.subject.orchestration);
        let why = format!("there is no stream {name}: is the orchestration provisioned? (`baton coordinator` does it)");
        Next::Done(Append::Refused(Refusal::Other(why)))
    }

    /// The stream's own limit is lower than the one that was checked.
    async fn too_large(&mut self) -> Next {
        if self.object.is_none() {
            return match self.check_in().await {
                Ok(()) => Next::Again(Duration::ZERO, "the stream takes smaller messages than the broker".to_owned()),
                Err(append) => Next::Done(append),
            };
        }
        match self.link.stream_info(&stream(&self.subject.orchestration)).await {
            Ok(info) => {
                let bytes_max = usize::try_from(info.config.max_msg_size).unwrap_or(MESSAGE_BYTES_MAX);
                Next::Done(Append::Refused(Refusal::TooLarge { bytes: self.bytes, bytes_max }))
            }
            Err(failure) => Next::Again(REPEAT_AFTER, failure.to_string()),
        }
    }
}

/// A payload that is not kept. Nothing names it yet: only the same append, repeated, can go on.
fn unkept(error: StoreError) -> Append {
    match error {
        StoreError::Unavailable(why) => Append::Unknown(why),
        StoreError::NotStored(refusal) => Append::Refused(refusal),
        error => Append::Refused(Refusal::Other(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(answer: &str) -> Verdict {
        let (subject, payload) = ("_INBOX.x".into(), answer.to_owned().into());
        let message = Message { subject, reply: None, payload, headers: None, status: None, description: None, length: 0 };
        verdict(Ok(message), Seq(5))
    }

    fn error(code: u64, err_code: u64, description: &str) -> String {
        format!(r#"{{"error":{{"code":{code},"err_code":{err_code},"description":"{description}"}},"stream":"s","seq":0}}"#)
    }

    #[test]
    fn only_a_number_above_the_expected_one_is_a_loss() {
        assert_eq!(of(r#"{"stream":"baton-support","seq":6}"#), Verdict::Stored(Seq(6)));
        assert_eq!(of(&error(400, 10071, "wrong last sequence: 9")), Verdict::Above(Seq(9)));
        for unsettled in [
            (10071, "wrong last sequence: 4"),
            (10071, "wrong last sequence: 0"),
            (10164, "wrong last sequence"),
            (10163, "temporarily unavailable"),
        ] {
            assert_eq!(of(&error(400, unsettled.0, unsettled.1)), Verdict::Unsettled, "{unsettled:?}");
        }
    }

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        let no_space = |text: &str| Verdict::Refused(Refusal::NoSpace(text.to_owned()));
        assert_eq!(of(&error(503, 10077, "maximum bytes exceeded")), no_space("maximum bytes exceeded"));
        assert_eq!(of(&error(503, 10023, "insufficient resources")), no_space("insufficient resources"));
        assert!(matches!(of(&error(503, 10008, "no leader")), Verdict::NotNow(_)));
        assert!(matches!(of(&error(429, 10167, "too many requests")), Verdict::NotNow(_)));
        assert!(matches!(of(&error(400, 10109, "sealed")), Verdict::Refused(Refusal::Other(_))));
        assert!(matches!(verdict(Err(Failure::Unanswered("late".into())), Seq(5)), Verdict::NotNow(_)));
        assert!(matches!(verdict(Err(Failure::NoResponders("s".into())), Seq(5)), Verdict::Untaken(_)));
        assert!(matches!(of("not json"), Verdict::Refused(Refusal::Other(_))));
    }
}
