//! The crash laboratory, briefly: real processes under four faults, and everything promised of them.

use tests::lab::faults::named;
use tests::lab::run::Round;

/// Replay a round that failed here with `cargo run -p baton-tests --bin lab`, which keeps its recording.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_whatever_dies() {
    let names = ["kill-worker", "kill-worker-tool", "kill-gateway", "kill-broker"];
    let faults: Vec<_> = names.into_iter().map(|name| named(name).unwrap()).collect();
    let round = Round { name: "smoke".to_owned(), trials: faults.len(), faults, is_mixed: false, seed: 20, people: 4 };
    let (outcome, ..) = round.play().await.unwrap();
    assert!(outcome.broken.is_empty(), "{:#?}", outcome.broken);
    assert!(outcome.skipped.is_empty(), "{:?}", outcome.skipped);
    assert_eq!(outcome.unfinished, 0, "conversations that neither end nor wait for anybody");
    assert!(outcome.ended >= round.people, "{outcome:?}");
    for name in names {
        assert_eq!(outcome.trials.get(name), Some(&1), "{outcome:?}");
    }
    println!("{outcome:?}");
}
