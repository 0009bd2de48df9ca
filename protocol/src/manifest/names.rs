//! Names: from `OrderStatusAgent` to `order-status-agent`, and "did you mean".

/// The form of a name that subjects, pods and tools can carry: words in lower case, joined by '-'. What no name can hold
/// stays in it, for [`AgentName`](crate::ids::AgentName) to refuse.
pub fn kebab(text: &str) -> String {
    let mut name = String::with_capacity(text.len() + 4);
    let chars: Vec<char> = text.trim().chars().collect();
    for (i, &c) in chars.iter().enumerate() {
        let before = i.checked_sub(1).and_then(|i| chars.get(i));
        let after = chars.get(i + 1);
        // A word begins at an upper-case letter after a lower-case one, and at the last capital of `HTTPServer`.
        let begins_word = c.is_ascii_uppercase()
            && before.is_some_and(|b| {
                b.is_ascii_lowercase() || b.is_ascii_digit() || (b.is_ascii_uppercase() && after.is_some_and(char::is_ascii_lowercase))
            });
        let separates = c.is_whitespace() || c == '_' || c == '.' || c == '-';
        if (begins_word || separates) && !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
        if !separates {
            name.push(c.to_ascii_lowercase());
        }
    }
    name.truncate(name.trim_end_matches('-').len());
    name
}

/// The candidate that `text` is most likely a misspelling of, if one is near enough.
pub(crate) fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody means anything by a very long name, and the distance takes quadratic time.
    if text.chars().count() > 80 {
        return None;
    }
    let wanted = text.to_ascii_lowercase();
    let length = wanted.chars().count();
    let near = (length / 3).max(usize::from(length > 1));
    candidates
        .into_iter()
        .map(|candidate| (distance(&wanted, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= near)
        .min()
        .map(|(_, candidate)| candidate)
}

/// `; did you mean "refund"?`, or what there is to choose from, or nothing.
pub(crate) fn hint<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    match nearest(text, candidates.iter().copied()) {
        Some(nearest) => format!("; did you mean {nearest:?}?"),
        None if candidates.is_empty() || candidates.len() > 12 => String::new(),
        None => format!("; there is {}", candidates.join(", ")),
    }
}

/// Insertions, deletions, replacements and swaps of neighbours between two texts.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous = None;
    for (i, ca) in a.chars().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, &cb) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX - 1);
            let mut cost = (at(&last, j) + usize::from(ca != cb)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = j > 0 && previous == Some(cb) && b.get(j - 1) == Some(&ca);
            if swapped {
                cost = cost.min(at(&before_last, j - 1) + 1);
            }
            row.push(cost);
        }
        before_last = std::mem::replace(&mut last, row);
        previous = Some(ca);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn style_names_become_labels() {
        for (from, to) in [
            ("OrderStatusAgent", "order-status-agent"),
            ("Refund Agent", "refund-agent"),
            ("order_status", "order-status"),
            ("HTTPServer", "http-server"),
            ("Tier2Support", "tier2-support"),
            ("  Sales -- Agent.", "sales-agent"),
            ("triage", "triage"),
            ("Agent!", "agent!"),
            ("", ""),
        ] {
            assert_eq!(kebab(from), to, "{from}");
        }
    }

    #[test]
    fn distances() {
        for (a, b, expected) in [("", "abc", 3), ("refnd", "refund", 1), ("refudn", "refund", 1), ("kitten", "sitting", 3), ("é", "e", 1)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn only_near_names_are_meant() {
        assert_eq!(nearest("refnd", ["triage", "refund"]), Some("refund"));
        assert_eq!(nearest("billing", ["triage", "refund"]), None);
        assert_eq!(hint("billing", ["triage", "refund"]), "; there is triage, refund");
        assert_eq!(hint("billing", []), "");
    }
}
