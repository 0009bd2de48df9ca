//! Where a page comes from (RFC 6454): scheme, host and port.

use std::fmt;
use std::str::FromStr;

/// An origin of the web: `https://shop.example`, `http://localhost:3000`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    text: String,
    authority: usize,
}

/// A text that is no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no origin of web pages: use http:// or https://, a host, and a port where it has one, and nothing after that")]
pub struct NotAnOrigin(String);

impl Origin {
    /// Host and port, as a `Host` header has them.
    pub fn authority(&self) -> &str {
        self.text.get(self.authority..).unwrap_or_default()
    }
}

impl FromStr for Origin {
    type Err = NotAnOrigin;

    fn from_str(text: &str) -> Result<Self, NotAnOrigin> {
        let text = text.to_ascii_lowercase();
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
        match rest {
            Some(rest) if !rest.is_empty() && rest.chars().all(is_plain) => Ok(Self { authority: text.len() - rest.len(), text }),
            _ => Err(NotAnOrigin(text)),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port() {
        assert_eq!("HTTPS://Shop.Example".parse::<Origin>().unwrap().to_string(), "https://shop.example");
        assert_eq!("http://[::1]:8080".parse::<Origin>().unwrap().authority(), "[::1]:8080");
        for text in
            ["", "*", "null", "shop.example", "https://", "https://shop.example/", "https://a@b", "ws://a", "https://a?b", "https://\u{fc}"]
        {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }
}
