//! What models, remote agents and tools say: right, nearly right, half, and wrong.

use std::time::Duration;

use protocol::event::{Call, Responded, Usage};

use crate::model::ModelError;

/// One of several.
pub(super) fn pick<'a, T: ?Sized>(rng: &mut fastrand::Rng, of: &[&'a T]) -> &'a T {
    of[rng.usize(..of.len())]
}

/// True once in `n` times.
pub(super) fn one_in(rng: &mut fastrand::Rng, n: u32) -> bool {
    rng.u32(..n) == 0
}

/// What models write where a tool's name belongs.
fn name(rng: &mut fastrand::Rng) -> String {
    const KNOWN: [&str; 13] = [
        "look",
        "count",
        "put",
        "pay",
        "mail",
        "log",
        "refund_money",
        "wire",
        "spy",
        "complete_task",
        "transfer_to_refund",
        "transfer_to_triage",
        "transfer_to_order",
    ];
    match rng.u8(..14) {
        0 => pick(rng, &["", "fly", "transfer_to_", "transfer_to_sales", "Complete_Task", "functions.look", "look ", "🙂"]).to_owned(),
        1 => (0..rng.usize(..80)).map(|_| rng.char(..)).collect(),
        _ => pick(rng, &KNOWN).to_owned(),
    }
}

/// What models write where JSON belongs.
fn arguments(rng: &mut fastrand::Rng) -> String {
    const TEXTS: [&str; 31] = [
        "{}",
        "",
        " ",
        "{}",
        r#"{"task_summary":"done"}"#,
        r#"{"task_summary":"done","result":7}"#,
        r#"{"summary":"done","result":"seven"}"#,
        r#"{"task_summary":"done","result":[7]}"#,
        r#"{"task_summary":"\u0000\u001b[2J","result":{}}"#,
        r#"{"payload":{"order":7}}"#,
        r#"{"payload":{"order":7},"reason":"\u0007"}"#,
        r#"{"payload":{"order":-1},"reason":7}"#,
        r#"{"n":1}"#,
        r#"{"reason":"r"}"#,
        r#"{"reason":""}"#,
        "null",
        "[]",
        "7",
        "\"x\"",
        r#"{"n":"1"}"#,
        r#"{"n":1e999}"#,
        r#"{"n":NaN}"#,
        r#"{"payload":{"order":1.5}}"#,
        r#"{"payload":null}"#,
        r#"{"task_summary":["done"]}"#,
        "{\"a\":",
        "{}{}",
        "\u{0}",
        r#"{"a":1,"a":2}"#,
        r#"{"n":18446744073709551616}"#,
        "{\"\\ud800\":1}",
    ];
    if one_in(rng, 60) {
        let (depth, shut) = (rng.usize(..200), rng.usize(..3));
        return format!("{{\"payload\":{{\"order\":1,\"x\":{}{}}}}}", "[".repeat(depth), "]".repeat(depth.saturating_sub(shut / 2)));
    }
    let text = pick(rng, &TEXTS);
    if one_in(rng, 10) { text.chars().take(rng.usize(..=text.len())).collect() } else { text.to_owned() }
}

fn usage(rng: &mut fastrand::Rng) -> Option<Usage> {
    match rng.u8(..4) {
        0 => Some(Usage { input_tokens: u64::MAX, output_tokens: u64::MAX, cached_tokens: rng.u64(..) }),
        1 => Some(Usage { input_tokens: rng.u64(..9000), output_tokens: 0, cached_tokens: u64::MAX }),
        _ => None,
    }
}

/// What is said, around a word that is said nowhere else. Some of it is JSON, which a typed result may be.
fn text(rng: &mut fastrand::Rng, word: &str) -> String {
    match rng.u8(..12) {
        0..=3 => String::new(),
        4 => pick(rng, &[" \n", "7", "null", "{", "```json\n7\n```", "\u{0}\u{7f}"]).to_owned(),
        5 => format!("\"{word}\""),
        6 => format!("\u{0}\u{7f}\u{202e}🙂 {word} \r\n\t"),
        7 => format!("{word} {}", "long ".repeat(rng.usize(..3000))),
        8 => format!("that is all {word}"),
        _ => format!("a text {word}"),
    }
}

/// A model's answer.
pub(super) fn response(rng: &mut fastrand::Rng, word: &str) -> Responded {
    let calls = match rng.u16(..1000) {
        0 => 100 + rng.usize(..60),
        1..=6 => 5 + rng.usize(..40),
        7..=300 => 0,
        _ => 1 + rng.usize(..4),
    };
    let mut call = |_| {
        let id = if one_in(rng, 30) { (0..rng.usize(..70)).map(|_| rng.char(..)).collect() } else { pick(rng, &IDS).to_owned() };
        Call { id, name: name(rng), arguments: arguments(rng) }
    };
    let calls = (0..calls).map(&mut call).collect();
    Responded { text: text(rng, word), calls, model: pick(rng, &["", "m", "\u{0}"]).to_owned(), usage: usage(rng) }
}

/// Ids as providers give them: none at all, and the same for several calls.
const IDS: [&str; 9] = ["", "", "call_0", "call_1", "call_2", "c", "c1", "c2", "desk"];

/// What a service answers that plays an agent: a text, with a transfer or a completion, sometimes to nobody.
pub(super) fn remote(rng: &mut fastrand::Rng, word: &str) -> Responded {
    let call = |name: String, arguments: String| vec![Call { id: String::new(), name, arguments }];
    let calls = match rng.u8(..4) {
        0 => Vec::new(),
        1 => call("complete_task".to_owned(), serde_json::json!({ "task_summary": "done", "result": rng.i8(..) }).to_string()),
        2 => call(format!("transfer_to_{}", pick(rng, &["triage", "refund", "order", "nobody", "\u{0}"])), arguments(rng)),
        _ => return response(rng, word),
    };
    Responded { text: text(rng, word), calls, ..Responded::default() }
}

/// How models fail.
pub(super) fn failure(rng: &mut fastrand::Rng) -> ModelError {
    match rng.u8(..5) {
        0 => ModelError::Unavailable("down".to_owned()),
        1 => ModelError::Refused("\u{0}".to_owned()),
        2 => ModelError::Garbled("half".repeat(rng.usize(..100))),
        _ => ModelError::Later {
            wait: Duration::from_secs(if one_in(rng, 9) { u64::MAX } else { rng.u64(..700) }),
            detail: "busy".to_owned(),
        },
    }
}

/// What a tool returns.
pub(super) fn result(rng: &mut fastrand::Rng, word: &str) -> Result<String, String> {
    match rng.u8(..8) {
        0 => Err(format!("no {word}")),
        1 => Ok(format!("{word}\u{0}\u{7f}{}", "x".repeat(rng.usize(..2000)))),
        _ => Ok(format!("done {word}")),
    }
}
