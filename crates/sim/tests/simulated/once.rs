//! A stranger who acts once, at a certain call of a driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::Stage;
use rehome_engine::{Command, Outcome};
use rehome_model::event::{Event, EventKind};
use rehome_sim::{Call, Gate, Ruling, Scene, SimPorts, World};

/// Acts right before the first call of a kind.
struct Once<A> {
    world: World,
    before: fn(&Call<'_>) -> bool,
    act: A,
    done: AtomicBool,
}

impl<A: Fn(&World) + Send + Sync> Gate for Once<A> {
    fn before(&self, call: &Call<'_>) -> (u64, Ruling) {
        if (self.before)(call) && !self.done.swap(true, Ordering::Relaxed) {
            (self.act)(&self.world);
        }
        (0, Ruling::Go)
    }
}

/// The last of what is done while all members serve.
pub fn a_member_is_flushed(call: &Call<'_>) -> bool {
    call.name == "flush"
}

/// All volumes are released.
pub fn the_set_is_scaled(call: &Call<'_>) -> bool {
    call.name == "kube update" && call.subject.ends_with("/scale")
}

/// An apply of three members beside that stranger: the world after it, how it ended, and what was told.
pub async fn applied(
    seed: u64,
    before: fn(&Call<'_>) -> bool,
    act: impl Fn(&World) + Send + Sync + 'static,
) -> (Stage, Outcome, Vec<Event>) {
    let mut stage = Stage::new(Scene::new(3, seed));
    let plan = stage.plan().await;
    let once = Arc::new(Once { world: stage.world.clone(), before, act, done: AtomicBool::new(false) });
    stage.ports = SimPorts::behind(&stage.world, Arc::clone(&once) as Arc<_>);
    let (end, events) = stage.drive_with_events(Command::Apply(Box::new(plan))).await;
    assert!(once.done.load(Ordering::Relaxed), "nobody acted");
    (stage, end.outcome(), events)
}

/// Whether a note says something.
pub fn notes(events: &[Event], said: &str) -> usize {
    events.iter().filter(|event| matches!(&event.kind, EventKind::Note { text } if text.contains(said))).count()
}
