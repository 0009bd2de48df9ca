//! Messages of the broker, in and out.

use std::str::FromStr;

use async_nats::jetstream::message::StreamMessage;
use async_nats::{HeaderMap, HeaderName, HeaderValue, Message};
use protocol::ids::Seq;
use protocol::wire::{self, Headers, Stored};

use super::request::Failure;

/// The broker's header that says how many bytes a body has that it leaves out.
const BODY_SIZE: &str = "Nats-Msg-Size";

/// An entry's headers as the client sends them.
pub(super) fn outgoing(headers: &Headers) -> Result<HeaderMap, Failure> {
    let mut map = HeaderMap::new();
    for (name, value) in headers.iter() {
        let invalid = || Failure::Invalid(format!("header {name} cannot be sent"));
        map.insert(HeaderName::from_str(name).map_err(|_| invalid())?, HeaderValue::from_str(value).map_err(|_| invalid())?);
    }
    Ok(map)
}

/// Names and values, a name once for each of its values.
fn pairs(map: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    map.iter().flat_map(|(name, values)| values.iter().map(move |value| (name.as_ref(), value.as_str())))
}

/// The bytes of a header block on the wire.
pub(super) fn header_bytes(headers: &HeaderMap) -> usize {
    let lines: usize = pairs(headers).map(|(name, value)| name.len() + value.len() + ": \r\n".len()).sum();
    "NATS/1.0\r\n\r\n".len() + lines
}

/// A message's headers without the broker's own. The client keeps them in no order; sorting gives them one.
fn headers(map: &HeaderMap) -> Headers {
    let mut pairs: Vec<_> = pairs(map).collect();
    pairs.sort_unstable();
    Headers::from_pairs(pairs)
}

/// A message that was read from the stream.
pub(super) fn read(message: StreamMessage) -> Stored {
    let (seq, time_ms) = (Seq(message.sequence), millis(message.time.unix_timestamp_nanos()));
    wire::Message { subject: message.subject.into_string(), headers: headers(&message.headers), payload: message.payload }
        .stored(seq, time_ms)
}

fn millis(nanos: i128) -> u64 {
    u64::try_from(nanos / 1_000_000).unwrap_or(0)
}

/// What a delivery tells beside the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// The message's number in the stream.
    pub(super) seq: Seq,
    /// The delivery's number in the consumer: 1, 2, 3 … without a gap.
    pub(super) number: u64,
    /// How often the message has been delivered.
    pub(super) delivered: u64,
    /// When the broker stored it, in milliseconds since the Unix epoch.
    pub(super) time_ms: u64,
}

impl Token {
    /// The token in the subject that acknowledges a delivery: `$JS.ACK.<stream>.<consumer>.<delivered>.<seq>.<number>.
    /// <time>.<pending>`, or newer, with `<domain>.<account hash>.` before the stream and perhaps more tokens at the end.
    pub(super) fn parse(reply: &str) -> Option<Self> {
        let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
        let numbers = match tokens.len() {
            7 => tokens.get(2..)?,
            9.. => tokens.get(4..)?,
            _ => return None,
        };
        let [delivered, seq, number, time, ..] = numbers else { return None };
        Some(Self {
            seq: Seq(seq.parse().ok()?),
            number: number.parse().ok()?,
            delivered: delivered.parse().ok()?,
            time_ms: millis(time.parse().ok()?),
        })
    }
}

/// A message that a consumer delivered; none if it is something else.
pub(super) fn delivered(message: Message) -> Option<(Stored, Token, String)> {
    let reply = message.reply?.into_string();
    let token = Token::parse(&reply)?;
    // Where the body is left out, the broker says how large it is.
    let size = message.headers.as_ref().and_then(|headers| headers.get(BODY_SIZE)?.as_str().parse().ok());
    let headers = message.headers.as_ref().map(headers).unwrap_or_default();
    let stored =
        wire::Message { subject: message.subject.into_string(), headers, payload: message.payload }.stored(token.seq, token.time_ms);
    Some((Stored { size: size.unwrap_or(stored.size), ..stored }, token, reply))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_token_are_read() {
        let token = Token { seq: Seq(42), number: 7, delivered: 3, time_ms: 1_700_000_000_123 };
        for reply in [
            "$JS.ACK.baton-support.agent-refund.3.42.7.1700000000123456789.5",
            "$JS.ACK._.acchash.baton-support.agent-refund.3.42.7.1700000000123456789.5",
            "$JS.ACK.hub.acchash.baton-support.agent-refund.3.42.7.1700000000123456789.5.random",
        ] {
            assert_eq!(Token::parse(reply), Some(token), "{reply}");
        }
        for bad in ["", "$JS.ACK.s.c.1.2", "$JS.ACK.s.c.x.42.7.1.5", "_INBOX.x", "$JS.ACK.a.s.c.1.2.3.4.5"] {
            assert_eq!(Token::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn header_bytes_are_those_of_the_wire() {
        let mut headers = Headers::default();
        headers.insert(wire::header::ID, "x".to_owned());
        let map = outgoing(&headers).unwrap();
        assert_eq!(header_bytes(&map), "NATS/1.0\r\nBaton-Id: x\r\n\r\n".len());
        assert_eq!(super::headers(&map), headers);
    }

    #[test]
    fn a_header_that_would_break_the_frame_is_refused() {
        let headers = Headers::from_pairs([("tracestate", "a\r\nNats-TTL: 1")]);
        assert!(matches!(outgoing(&headers), Err(Failure::Invalid(_))));
    }
}
