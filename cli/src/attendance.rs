//! Who is at a desk: whoever is there answers whoever asks. Nobody keeps it, so nobody stays there who is gone.

use std::time::Duration;

use bytes::Bytes;
use client::Client;
use futures::StreamExt;
use protocol::event::Audience;
use protocol::ids::ProcessId;
use protocol::presence::AtDesk;
use protocol::subject;

/// How long those who are there may take to say so: people wait for the sum of it.
const ANSWERED_WITHIN: Duration = Duration::from_millis(300);

/// Those who are there now; none where nobody can be asked.
pub(crate) async fn who(client: &Client, audience: &Audience) -> Vec<AtDesk> {
    let Some(subject) = subject::attendance(client.orchestration(), audience) else { return Vec::new() };
    let answers = client.broker().ask_all(&subject, Bytes::new(), ANSWERED_WITHIN).await.unwrap_or_default();
    answers.iter().filter_map(|answer| serde_json::from_slice(answer).ok()).collect()
}

/// Says that somebody is there to whoever asks, for as long as it is polled. Serving goes on without it.
pub(crate) async fn attend(client: &Client, audience: &Audience, by: &str, process: &ProcessId) {
    let since_ms = client.status().await.map(|status| status.now_ms).unwrap_or_default();
    let me = AtDesk { by: by.to_owned(), process: process.clone(), since_ms };
    let answer = Bytes::from(serde_json::to_vec(&me).unwrap_or_default());
    if let Some(subject) = subject::attendance(client.orchestration(), audience)
        && let Ok(mut questions) = client.broker().listen(&subject, None).await
    {
        while let Some(question) = questions.next().await {
            if let Some(reply) = question.reply {
                client.broker().say(&reply, answer.clone()).await;
            }
        }
    }
    std::future::pending().await
}

/// A line of who is there, each name once, for somebody at the process `me`, or for an onlooker.
pub(crate) fn line(audience: &Audience, there: &[AtDesk], me: Option<&ProcessId>, now_ms: u64) -> String {
    let mut others: Vec<&AtDesk> = there.iter().filter(|one| Some(&one.process) != me).collect();
    others.sort_by_key(|one| (&one.by, one.since_ms));
    others.dedup_by_key(|one| &one.by);
    others.sort_by_key(|one| one.since_ms);
    let names: Vec<String> = others.iter().map(|one| format!("{} ({})", one.by, span(now_ms.saturating_sub(one.since_ms)))).collect();
    match (names.is_empty(), me.is_some()) {
        (true, true) => format!("nobody else is at {audience}"),
        (true, false) => format!("nobody is at {audience}"),
        (false, is_me) => format!("{} {audience}: {}", if is_me { "also at" } else { "at" }, names.join(", ")),
    }
}

fn span(millis: u64) -> String {
    match millis / 1000 {
        secs @ 0..120 => format!("for {secs} s"),
        secs @ 120..7200 => format!("for {} min", secs / 60),
        secs => format!("for {} h", secs / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_named_once_the_longest_there_first() {
        let desk: Audience = "desk:till".parse().unwrap();
        let at = |by: &str, process: &str, since_ms| AtDesk { by: by.to_owned(), process: process.parse().unwrap(), since_ms };
        let there = [at("Bea", "desk-2", 60_000), at("Ann", "desk-1", 0), at("Bea", "desk-3", 1000), at("Cem", "desk-4", 7_200_000)];
        let now_ms = 7_201_000;
        assert_eq!(line(&desk, &there, None, now_ms), "at desk:till: Ann (for 2 h), Bea (for 2 h), Cem (for 1 s)");
        let me = there[1].process.clone();
        assert_eq!(line(&desk, &there, Some(&me), 200_000), "also at desk:till: Bea (for 3 min), Cem (for 0 s)");
        assert_eq!(line(&desk, &there[1..2], Some(&me), 0), "nobody else is at desk:till");
        assert_eq!(line(&desk, &[], None, 0), "nobody is at desk:till");
    }
}
