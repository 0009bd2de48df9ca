//! Bugs that can be planted one at a time, so that the crash laboratory's checker is seen to find them. Only a build with the
//! feature `planted` has any, and only where `BATON_PLANT` names one: in every other build this is a constant.

/// Whether the bug of this name is planted (`tests/src/lab/plants.rs` lists them).
#[cfg(feature = "planted")]
pub fn is(name: &str) -> bool {
    static PLANTED: std::sync::LazyLock<Option<String>> = std::sync::LazyLock::new(|| std::env::var("BATON_PLANT").ok());
    PLANTED.as_deref() == Some(name)
}

/// Whether the bug of this name is planted: never, in this build.
#[cfg(not(feature = "planted"))]
pub const fn is(_name: &str) -> bool {
    false
}

/// What was remembered last, whosever it was, in place of nothing: the bug `keyed-wrongly`.
#[cfg(feature = "planted")]
pub fn mixed_up<T: Send + 'static>(value: impl FnOnce() -> Option<T>) -> Option<T> {
    use std::any::Any;
    use std::sync::{Mutex, PoisonError};
    static MEMORY: Mutex<Option<Box<dyn Any + Send>>> = Mutex::new(None);
    let value = is("keyed-wrongly").then(value).flatten()?;
    let mut memory = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    let last = memory.replace(Box::new(value))?;
    last.downcast().ok().map(|last| *last)
}

/// Nothing, in this build.
#[cfg(not(feature = "planted"))]
pub fn mixed_up<T>(_value: impl FnOnce() -> Option<T>) -> Option<T> {
    None
}
