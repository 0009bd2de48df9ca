//! The memory broker keeps what every broker promises, and its faults break nothing that a careful writer relies on.

use std::sync::Arc;

use journal::Shared;
use journal::memory::Memory;

async fn fresh() -> (Shared, ()) {
    (Arc::new(Memory::new()), ())
}

journal::contract_tests!(fresh, (start_paused = true));
