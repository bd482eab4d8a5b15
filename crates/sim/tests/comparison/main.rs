//! The simulated Kubernetes against the real one: the same random operations on both, with the same answers, and the same
//! objects once their controllers have settled. There are no nodes, so pods stay Pending.
//!
//! `cargo xtask control-plane` starts the real one, with a binder that looks every second, and runs this.

mod draw;
mod sides;

use std::collections::BTreeMap;
use std::time::Duration;

use draw::{Draw, beginning, class};
use futures::StreamExt as _;
use serde_json::Value;
use sides::{Real, Sequence, difference, uids};

/// Operations of a sequence.
const LENGTH: u64 = 10;
/// Requests under way at the real one.
const AT_ONCE: usize = 16;
/// How long the real controllers are left alone at least: the binder has looked at everything twice.
const SETTLE: Duration = Duration::from_millis(2_500);
/// How long they may take.
const LIMIT: Duration = Duration::from_secs(30);
/// What is told of all that differs.
const SHOWN: usize = 8;

async fn client() -> kube::Client {
    let path = std::env::var("REHOME_CONTROL_PLANE").expect("REHOME_CONTROL_PLANE names a kubeconfig");
    let config = kube::config::Kubeconfig::read_from(path).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default()).await;
    kube::Client::try_from(config.expect("a usable kubeconfig")).expect("a client")
}

/// One operation on both sides; whether they answer alike.
async fn both(real: &Real, sequence: &mut Sequence) {
    let operation = Draw { dice: &mut sequence.dice, seed: sequence.seed }.operation();
    sequence.told.push(operation.told());
    let (verb, content) = (operation.verb, operation.content);
    let object = operation.path.trim_end_matches("/scale").to_owned();
    let named = verb != "POST";
    let found = if named { real.send("GET", &object, "application/json", Vec::new()).await.1 } else { Value::Null };
    let answered = real.send(verb, &operation.path, content, operation.body_for(&found)).await;
    let found = if named { sequence.send("GET", &object, "application/json", &[]).1 } else { Value::Null };
    let simulated = sequence.send(verb, &operation.path, content, &operation.body_for(&found));
    let told = |(status, answer): &(u16, Value)| {
        let reason = if *status < 400 { String::new() } else { answer["reason"].to_string() };
        (*status, reason)
    };
    if told(&answered) != told(&simulated) {
        sequence.differs = Some(format!(
            "  it was answered\n    real      {} {}\n    simulated {} {}",
            answered.0, answered.1["message"], simulated.0, simulated.1["message"]
        ));
    }
    sequence.settle();
}

#[tokio::test]
#[ignore = "needs a real control plane: cargo xtask control-plane"]
async fn random_operations_have_the_same_effects_on_the_real_and_the_simulated_kubernetes() {
    let number = |name: &str, or: u64| std::env::var(name).map_or(or, |text| text.parse().expect("a number"));
    let (from, count) = (number("REHOME_SEQUENCES_FROM", 1), number("REHOME_SEQUENCES", 100));
    let real = Real(client().await);
    let made = |answer: (u16, Value)| assert!(matches!(answer.0, 201 | 409), "{answer:?}");
    let class = class();
    made(real.send("POST", &class.path, class.content, class.body_for(&Value::Null)).await);
    let mut sequences: Vec<Sequence> = (from..from + count).map(Sequence::new).collect();
    futures::stream::iter(from..from + count)
        .for_each_concurrent(AT_ONCE, async |seed| {
            for operation in beginning(seed) {
                made(real.send("POST", &operation.path, operation.content, operation.body_for(&Value::Null)).await);
            }
        })
        .await;
    for sequence in &mut sequences {
        sequence.settle();
    }
    tokio::time::sleep(SETTLE).await;
    let mut differing: Vec<Sequence> = Vec::new();
    let mut operations = 0;
    for _ in 0..LENGTH {
        let objects = real.objects().await;
        for sequence in &mut sequences {
            sequence.uids = [uids(&sequence.objects()), objects.get(&sequence.seed).map(uids).unwrap_or_default()];
        }
        operations += sequences.len();
        futures::stream::iter(sequences.iter_mut())
            .for_each_concurrent(AT_ONCE, async |sequence| both(&real, sequence).await)
            .await;
        let started = tokio::time::Instant::now();
        tokio::time::sleep(SETTLE).await;
        loop {
            let objects = real.objects().await;
            let none = BTreeMap::new();
            let mut all_alike = true;
            for sequence in &mut sequences {
                let of = objects.get(&sequence.seed).unwrap_or(&none);
                let now = difference(sequence, of);
                all_alike &= now.is_none();
                if started.elapsed() > LIMIT && sequence.differs.is_none() {
                    sequence.differs = now;
                }
            }
            if all_alike || started.elapsed() > LIMIT {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        // One that differs goes no further: all after it would too.
        let (alike, other): (Vec<_>, Vec<_>) = sequences.into_iter().partition(|sequence| sequence.differs.is_none());
        sequences = alike;
        differing.extend(other);
    }
    differing.sort_by_key(|sequence| (sequence.told.len(), sequence.seed));
    for sequence in differing.iter().take(SHOWN) {
        let difference = sequence.differs.as_deref().unwrap_or_default();
        println!("sequence {}:\n  {}\n{difference}", sequence.seed, sequence.told.join("\n  "));
    }
    println!("comparison: {count} sequences, {operations} operations, {} differ", differing.len());
    assert!(differing.is_empty(), "{} of {count} sequences differ", differing.len());
}
