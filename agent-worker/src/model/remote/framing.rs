//! Where one JSON document of an answer ends and the next one begins.

use reqwest::header::HeaderValue;

use crate::model::answer::{EVENT_BYTES_MAX, TOO_LARGE};
use crate::model::fault::Fault;

/// The forms of an answer, by its content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// One document.
    Whole,
    /// A document a line.
    Lines,
    /// Server-sent events, with a document as the data of each.
    Events,
}

impl Framing {
    /// What is not known to be a stream is one document.
    pub(super) fn of(content_type: Option<&HeaderValue>) -> Self {
        let kind = content_type.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        match kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "text/event-stream" => Self::Events,
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => Self::Lines,
            _ => Self::Whole,
        }
    }
}

/// Cuts bytes into documents, as they arrive.
#[derive(Debug)]
pub(super) struct Splitter {
    framing: Framing,
    /// The line that has begun; of one document, all of it.
    line: Vec<u8>,
    /// The data of the event that has begun.
    data: Vec<u8>,
}

impl Splitter {
    pub(super) const fn new(framing: Framing) -> Self {
        Self { framing, line: Vec::new(), data: Vec::new() }
    }

    /// The documents that these bytes end.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
        let mut documents = Vec::new();
        while let Some(end) = self.line_end(bytes) {
            let (line, rest) = bytes.split_at(end);
            self.extend(line)?;
            bytes = rest.get(1..).unwrap_or_default();
            documents.extend(self.end_line());
        }
        self.extend(bytes)?;
        Ok(documents)
    }

    /// What is left when nothing more comes: the document, or a last line without an end. An event without an end does not count.
    pub(super) fn end(&mut self) -> Option<Vec<u8>> {
        if self.framing == Framing::Events { None } else { self.end_line() }
    }

    fn line_end(&self, bytes: &[u8]) -> Option<usize> {
        if self.framing == Framing::Whole { None } else { bytes.iter().position(|byte| *byte == b'\n') }
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if self.line.len() + self.data.len() + bytes.len() > EVENT_BYTES_MAX {
            return Err(Fault::garbled(TOO_LARGE));
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.line);
        let document = match self.framing {
            Framing::Whole | Framing::Lines => line.trim_ascii().to_vec(),
            Framing::Events => match line.strip_suffix(b"\r").unwrap_or(&line) {
                b"" => std::mem::take(&mut self.data),
                line => {
                    // A document over several lines is one all the same: a space is as good as a line break.
                    if let Some(data) = line.strip_prefix(b"data:") {
                        self.data.extend_from_slice(data);
                        self.data.push(b' ');
                    }
                    Vec::new()
                }
            },
        };
        Some(document).filter(|document| self.framing == Framing::Whole || !document.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documents of an answer, however it is cut into chunks.
    fn documents(kind: &'static str, text: &str) -> Vec<String> {
        let framing = Framing::of(Some(&HeaderValue::from_static(kind)));
        let cut = |size: usize| {
            let mut splitter = Splitter::new(framing);
            let mut documents: Vec<Vec<u8>> = text.as_bytes().chunks(size).flat_map(|chunk| splitter.take(chunk).unwrap()).collect();
            documents.extend(splitter.end());
            documents.iter().map(|document| String::from_utf8_lossy(document).trim().to_owned()).collect::<Vec<_>>()
        };
        let whole = cut(usize::MAX);
        assert_eq!(cut(1), whole);
        assert_eq!(cut(3), whole);
        whole
    }

    #[test]
    fn documents_are_cut_apart_by_the_form_of_the_answer() {
        for (kind, text, expected) in [
            ("application/json; charset=utf-8", "{\n}\n\n{}", &["{\n}\n\n{}"][..]),
            ("text/html", "", &[""]),
            ("application/x-ndjson", "{\"a\":1}\r\n\n {}\n{\"b\":", &["{\"a\":1}", "{}", "{\"b\":"]),
            ("Application/JSONL;x=y", "1", &["1"]),
            (
                "text/event-stream",
                ": hi\n\nevent: x\r\ndata: {\"a\":\ndata:1}\r\n\r\nid: 7\n\ndata:[DONE]\n\ndata: {",
                &["{\"a\": 1}", "[DONE]"],
            ),
        ] {
            assert_eq!(documents(kind, text), expected, "{kind}");
        }
    }

    #[test]
    fn what_has_no_end_is_not_kept() {
        for framing in [Framing::Whole, Framing::Lines, Framing::Events] {
            let mut splitter = Splitter::new(framing);
            let line = [b"data:".to_vec(), vec![b'x'; 1024 * 1024]].concat();
            let mut refused = splitter.take(&line).and_then(|_| splitter.take(b"\n")).and_then(|_| splitter.take(&line));
            if framing == Framing::Lines {
                refused = splitter.take(&line);
            }
            assert_eq!(refused, Err(Fault::garbled(TOO_LARGE)), "{framing:?}");
        }
    }
}
