use std::time::{Duration, Instant};

use super::*;

fn jobs(scripts: &[(&str, &str)]) -> Vec<Job> {
    let job = |(node, script): &(&str, &str)| Job {
        node: (*node).into(),
        command: ["/bin/sh", "-c", script].into_iter().map(Into::into).collect(),
        secret: None,
    };
    scripts.iter().map(job).collect()
}

async fn outcomes(scripts: &[(&str, &str)], width: usize, limit: Option<Duration>) -> Vec<Outcome> {
    let mut outcomes = vec![];
    fan_out(jobs(scripts), width, limit, |outcome| outcomes.push(outcome)).await;
    outcomes.sort_by(|a, b| a.node.cmp(&b.node));
    outcomes
}

#[tokio::test]
async fn nodes_that_say_the_same_stand_together() {
    let scripts =
        [("n1", "echo a"), ("n2", "echo a; echo b >&2; exit 3"), ("n3", "echo a"), ("n4", "printf '\\033[2J'")];
    let outcomes = outcomes(&scripts, 2, None).await;
    assert_eq!(outcomes[1], Outcome { node: "n2".into(), status: Status::Exit(3), output: b"a\nb\n".into() });
    let line = "---------------";
    let expected = format!(
        "{line}\nn4\n{line}\n\u{fffd}[2J\n{line}\nn[1,3] (2)\n{line}\na\n{line}\nn2: exit code 3\n{line}\na\nb\n"
    );
    assert_eq!(gather(&outcomes), expected);
}

#[tokio::test]
async fn a_node_that_hangs_is_given_up_and_holds_up_no_other() {
    let begin = Instant::now();
    let outcomes =
        outcomes(&[("n1", "echo x; exec sleep 600"), ("n2", "echo y")], 1, Some(Duration::from_secs(1))).await;
    assert_eq!(outcomes[0], Outcome { node: "n1".into(), status: Status::Timeout, output: b"x\n".into() });
    assert_eq!(outcomes[1].status, Status::Exit(0));
    assert!(begin.elapsed() < Duration::from_secs(300), "nobody waited for the end of what hangs");
}

#[tokio::test]
async fn what_cannot_be_started_is_told() {
    let mut outcomes = vec![];
    let job = Job { node: "n1".into(), command: vec!["/nonexistent/ssh".into()], secret: None };
    fan_out(vec![job], 8, None, |outcome| outcomes.push(outcome)).await;
    assert!(gather(&outcomes).contains("n1: /nonexistent/ssh: "), "{outcomes:?}");
}
