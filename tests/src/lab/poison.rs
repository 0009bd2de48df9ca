//! Bytes that no version writes, published where an entry belongs, fenced as an entry is.

use async_nats::HeaderMap;
use async_nats::jetstream::stream::Stream;

use super::broker::{jetstream, stream};
use super::orchestration::NAME;

/// How often somebody else may be faster.
const TRIES: u32 = 50;

/// Poisons a conversation behind its tail.
pub async fn inject(operator: &async_nats::Client, conversation: &str) -> Result<(), String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let journal = jetstream(operator).get_stream(stream()).await.map_err(|error| said(&error))?;
    for _ in 0..TRIES {
        if once(operator, &journal, conversation).await.map_err(|error| said(&error))? {
            return Ok(());
        }
    }
    Err("somebody else was always faster".to_owned())
}

async fn once(operator: &async_nats::Client, journal: &Stream, conversation: &str) -> Result<bool, async_nats::Error> {
    let prefix = format!("baton.{NAME}.c.{conversation}");
    let tail = journal.get_last_raw_message_by_subject(&format!("{prefix}.>")).await?;
    let ordinal: u64 = tail.subject.split('.').nth(4).unwrap_or_default().parse()?;
    if tail.subject.contains(".end.") {
        return Err("it has ended".into());
    }
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Expected-Last-Subject-Sequence", tail.sequence.to_string().as_str());
    headers.insert("Nats-Expected-Last-Subject-Sequence-Subject", format!("{prefix}.>").as_str());
    let subject = format!("{prefix}.{}.to.triage.000000000000.client", ordinal + 1);
    let stored = jetstream(operator).publish_with_headers(subject, headers, "\u{7f}poison".into()).await?.await;
    Ok(stored.is_ok())
}
