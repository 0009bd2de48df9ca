//! What a broker that starts again has forgotten, and who puts it back.

use journal::nats::Settings;
use tests::in_process::{Programs, client, support};
use tests::nats;
use tests::processes::eventually;

/// The tick lies in memory. Without it no deadline passes and nothing is swept, and nothing else would notice.
#[tokio::test]
async fn the_coordinators_clock_goes_on_after_the_broker_was_killed() {
    let mut server = nats::server().await;
    let settings = |process: &str| Settings::new(server.url(), process.parse().unwrap());
    let (coordinator, caller) = (settings("coordinator-1"), settings("caller-1"));
    let orchestration = support();
    let client = client(&caller, orchestration.name()).await;
    let mut programs = Programs::of(orchestration);
    programs.coordinator(&coordinator, 1).await;
    let ticked = async |after: u64| {
        eventually("the clock goes on", async || client.status().await.ok().map(|status| status.now_ms).filter(|now| *now > after)).await
    };
    let before = ticked(0).await;

    server.kill().await.unwrap();
    server.restart().await.unwrap();

    let restarted = ticked(before.saturating_sub(1)).await;
    ticked(restarted).await;
    programs.stop().await;
}
