//! Several conversations at once.

use tests::stage::{Stage, says, silent};

async fn two() -> Stage {
    Stage::of(|set| set.named(&["a", "b"]).add("a", "b")).await
}

#[tokio::test]
async fn semantics_50_three_conversations_at_once_see_nothing_of_each_other() {
    let mut stage = two().await;
    let mut talks = Vec::new();
    for number in 0..3 {
        talks.push(stage.begin(&format!("help {number}")).await);
    }
    // All three are at work before any is answered.
    let mut asked = Vec::new();
    for _ in 0..3 {
        asked.push(stage.asked("a").await);
    }
    for asked in asked {
        let [task] = &asked.prompt()[..] else { panic!("{:?}", asked.prompt()) };
        let number = task.strip_prefix("user: help ").unwrap().to_owned();
        asked.answer(says(&format!("over {number}")).transfers("b"));
    }
    for _ in 0..3 {
        let asked = stage.asked("b").await;
        let number = asked.prompt()[0].strip_prefix("user: help ").unwrap().to_owned();
        asked.sees(&format!("user: help {number}\nassistant a: over {number}"));
        asked.answer(silent().completes(&format!("done {number}")));
    }
    for (number, talk) in talks.iter_mut().enumerate() {
        assert_eq!(stage.outcome(talk).await, format!("completed: done {number}"));
    }
    stage.end().await;
}

#[tokio::test]
async fn semantics_51_a_slow_person_in_one_delays_no_other() {
    let mut stage = two().await;
    let mut slow = stage.begin("slow").await;
    stage.turn("a", "user: slow", says("which?")).await;
    let question = stage.question(&mut slow).await;
    for _ in 0..3 {
        let mut other = stage.begin("quick").await;
        stage.turn("a", "user: quick", silent().transfers("b")).await;
        stage.turn("b", "user: quick", silent().completes("done")).await;
        assert_eq!(stage.outcome(&mut other).await, "completed: done");
    }
    slow.reply(&question, "17").await.unwrap();
    stage.turn("a", "user: slow\nassistant: which?\nuser: 17", silent().completes("done at last")).await;
    assert_eq!(stage.outcome(&mut slow).await, "completed: done at last");
    stage.end().await;
}
