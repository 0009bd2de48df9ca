//! A next version, for the crash laboratory: a program that says more than this one knows, in every place where a version may. Only a
//! build with the feature `next` is one; in every other build these do nothing.

/// What only the next version knows of: a kind of event, a field of each event, of the brief and of what is in it, and a header.
#[cfg(feature = "next")]
mod said {
    use serde::Serialize;

    use crate::brief::Brief;
    use crate::conversation::Draft;
    use crate::event::{Event, Json};
    use crate::ids::Ordinal;
    use crate::wire::Headers;

    const KIND: &str = "hummed";
    const FIELD: &str = "next";
    const HEADER: &str = "Baton-Next";

    #[derive(Serialize)]
    struct More<'a, T> {
        #[serde(flatten)]
        fields: &'a T,
        next: &'static str,
    }

    pub(crate) fn knows(kind: &str) -> bool {
        kind == KIND
    }

    pub(crate) fn fields<T: Serialize>(event: &T) -> Result<Vec<u8>, rmp_serde::encode::Error> {
        rmp_serde::to_vec_named(&More { fields: event, next: "said" })
    }

    /// One transfer in eight comes with an event that no other version knows.
    pub(crate) fn draft(mut draft: Draft) -> Draft {
        let is_chosen = draft.id.to_string().ends_with(['0', '1', '2', '3']);
        if let Some(at) = draft.events.iter().position(|event| matches!(event, Event::Transferred(_)) && is_chosen) {
            draft.events.insert(at, Event::Unknown { kind: KIND.to_owned(), data: b"\x81\xa4tune\xa3la!".as_slice().into() });
        }
        draft
    }

    /// Counts the next version's own entries, and marks what began with it.
    pub(crate) fn brief(brief: &mut Brief, ordinal: Ordinal) {
        let before = brief.more.get(FIELD).and_then(Json::as_u64).unwrap_or_default();
        brief.more.insert(FIELD.to_owned(), (before + 1).into());
        if ordinal == 0 {
            brief.fixed.more.insert(FIELD.to_owned(), true.into());
        }
        for request in brief.requests.iter_mut().filter(|request| request.id.ordinal == ordinal) {
            request.more.insert(FIELD.to_owned(), true.into());
        }
    }

    pub(crate) fn headers(headers: &mut Headers) {
        headers.insert(HEADER, "1".to_owned());
    }
}

/// The same in this version: nothing.
#[cfg(not(feature = "next"))]
mod said {
    use serde::Serialize;

    use crate::brief::Brief;
    use crate::conversation::Draft;
    use crate::ids::Ordinal;
    use crate::wire::Headers;

    pub(crate) const fn knows(_kind: &str) -> bool {
        false
    }

    pub(crate) fn fields<T: Serialize>(event: &T) -> Result<Vec<u8>, rmp_serde::encode::Error> {
        rmp_serde::to_vec_named(event)
    }

    pub(crate) const fn draft(draft: Draft) -> Draft {
        draft
    }

    pub(crate) const fn brief(_brief: &mut Brief, _ordinal: Ordinal) {}

    pub(crate) const fn headers(_headers: &mut Headers) {}
}

pub(crate) use said::{brief, draft, fields, headers, knows};
