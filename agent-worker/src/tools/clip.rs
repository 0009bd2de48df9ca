//! How much of an answer the model is shown: a service that talks without end must not fill its context.

/// Of an answer, in bytes.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Of an answer that reports an error, in bytes.
pub(super) const ERROR_BYTES_MAX: usize = 2 * 1024;

/// The text, up to a size, with a note where that is not all of it.
pub(super) fn clipped(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
        text.push_str(&note(bytes_max));
    }
    text
}

pub(super) fn note(bytes_max: usize) -> String {
    format!("\n[The answer is longer: only its first {bytes_max} bytes are shown.]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters_and_says_so() {
        assert_eq!(clipped("four".to_owned(), 4), "four");
        assert_eq!(clipped("xéé".to_owned(), 4), format!("xé{}", note(4)));
    }
}
