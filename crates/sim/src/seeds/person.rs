//! A person at a keyboard: runs a command again until it is over, and does what rehome says is next.

use std::time::Duration;

use rehome_model::plan::Plan;
use rehome_model::record::Phase;
use tokio::sync::watch;

use super::seat::Seat;
use super::stage::{End, Stage, Wish};

/// How often a person drives before the run counts as one that does not converge.
const TRIES: u32 = 200;
/// How often a person follows what a stuck run says before they call it stuck for good.
const STUCK_TRIES: u32 = 4;
/// How often a person tries to go on after a failure past the opening, before they roll back.
const FAILED_TRIES: u32 = 4;
/// How long a person lets a legacy side serve that was brought back by hand, before they run rehome again.
const RESTORED: Duration = Duration::from_secs(600);
/// How often a person waits for the checks to pass.
const FINDINGS_TRIES: u32 = 15;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// The new side serves.
    Completed,
    /// The run undid itself, or was rolled back.
    RolledBack {
        /// Whether the user asked for it.
        by_user: bool,
        /// Why.
        why: String,
    },
    /// The legacy side serves on the volumes of the new one.
    Returned,
    /// Needs a person who can do more than this one.
    Stuck(String),
    /// Nothing was begun: the plan was refused.
    Refused(String),
    /// Tried again and again, and never over.
    Endless(String),
}

/// A person's doings so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Efforts {
    /// Processes started.
    pub tries: u32,
    /// Times a run was stuck.
    pub stuck: u32,
    /// What a stuck run said, first.
    pub stuck_because: Option<String>,
    /// Times a run failed after the opening.
    pub failed: u32,
    /// Times the plan was refused because facts had changed.
    pub refused: u32,
}

/// A person.
pub struct Person<'a> {
    /// Where.
    pub stage: &'a Stage,
    /// Their name.
    pub name: &'a str,
    /// What they have done.
    pub efforts: Efforts,
    /// When their processes are killed from outside.
    pub kills: Vec<u64>,
    /// From when on somebody brings the legacy side back by hand, once none of their processes runs.
    pub restores: Vec<u64>,
    /// Asks their process to stop between acts.
    pub stop: watch::Receiver<bool>,
}

impl<'a> Person<'a> {
    /// A person whose processes nobody kills from outside.
    pub fn new(stage: &'a Stage, name: &'a str) -> (Self, watch::Sender<bool>) {
        let (stopper, stop) = watch::channel(false);
        let (kills, restores) = (Vec::new(), Vec::new());
        (Self { stage, name, efforts: Efforts::default(), kills, restores, stop }, stopper)
    }

    async fn once(&mut self, wish: Wish, given: Option<&Plan>) -> End {
        self.efforts.tries += 1;
        let seat = Seat::new(&self.stage.tally, format!("{}-{}", self.name, self.efforts.tries));
        let now = self.stage.world.ec2().now();
        self.kills.retain(|at| *at > now);
        let next = self.kills.first().copied();
        let fate = async {
            match next {
                Some(at) => tokio::time::sleep(Duration::from_millis(at - now)).await,
                None => std::future::pending().await,
            }
        };
        self.stage.process_in(&seat, wish, given, self.stop.clone(), fate).await
    }

    /// Wishes, and sees to it that it comes true or is over otherwise.
    pub async fn see_to_it(&mut self, mut wish: Wish, given: Option<&Plan>) -> Over {
        let mut given = given.cloned();
        let (mut findings, mut first_reason) = (0, None);
        let mut asked_to_roll_back = wish == Wish::RollBack;
        let mut last = String::new();
        let mut tries = 0;
        while tries < TRIES {
            tries += 1;
            let pause_s = match self.once(wish, given.as_ref()).await {
                End::Killed => 3,
                End::NotNow(why) => {
                    // Who waits while another drives has not driven. That ends, too: the world does (`LONGEST`).
                    tries -= 1;
                    self.note(&why);
                    last = why;
                    20
                }
                // Nothing to keep: what `--keep-writes` says then is that discarding loses nothing.
                End::BeingUndone | End::NotOpened => {
                    wish = Wish::RollBack;
                    1
                }
                End::BeingReturned => {
                    wish = Wish::KeepWrites;
                    1
                }
                End::BackAlready => return Over::RolledBack { by_user: true, why: last },
                End::CannotKeep(why) => {
                    self.efforts.refused += 1;
                    self.note(&why);
                    if self.efforts.refused > FAILED_TRIES {
                        return Over::Refused(why);
                    }
                    last = why;
                    30
                }
                End::NoRun => return Over::Refused("there is no run".to_owned()),
                End::FactsChanged { recorded, what } => {
                    self.efforts.refused += 1;
                    self.note(&what);
                    if self.efforts.refused > 3 && recorded {
                        // "put them back and apply again, or roll back"
                        wish = Wish::RollBack;
                        asked_to_roll_back = true;
                    }
                    given = None;
                    last = what;
                    30
                }
                End::Findings(why) => {
                    findings += 1;
                    if findings > FINDINGS_TRIES {
                        return Over::Refused(why);
                    }
                    last = why;
                    60
                }
                End::Outcome(outcome) => {
                    let why = outcome.failure.clone().unwrap_or_default();
                    match outcome.phase {
                        Phase::Completed => return Over::Completed,
                        Phase::RolledBack => {
                            let why = first_reason.unwrap_or(why);
                            if wish == Wish::RollBack {
                                self.stage.tally.give_up_new_writes();
                            }
                            return Over::RolledBack { by_user: asked_to_roll_back, why };
                        }
                        Phase::Returned => {
                            self.stage.tally.returned(outcome.record.header.run);
                            return Over::Returned;
                        }
                        _ if outcome.interrupted => {
                            if *self.stop.borrow() {
                                return Over::Refused("stopped on request".to_owned());
                            }
                            5
                        }
                        Phase::Returning => {
                            self.efforts.stuck += 1;
                            self.efforts.stuck_because.get_or_insert(why.clone());
                            if self.efforts.stuck > STUCK_TRIES {
                                return Over::Stuck(why);
                            }
                            // "mend the cause, then run `rehome rollback --keep-writes` again"
                            wish = Wish::KeepWrites;
                            300
                        }
                        Phase::Stuck => {
                            self.efforts.stuck += 1;
                            self.efforts.stuck_because.get_or_insert(why.clone());
                            if self.efforts.stuck > STUCK_TRIES {
                                return Over::Stuck(why);
                            }
                            first_reason.get_or_insert(why);
                            // "mend the cause, then run `rehome rollback --discard-writes` again"
                            wish = Wish::RollBack;
                            300
                        }
                        _ => {
                            self.efforts.failed += 1;
                            if self.efforts.failed > FAILED_TRIES {
                                // "apply again, or roll back"
                                wish = Wish::RollBack;
                                asked_to_roll_back = true;
                            }
                            last = why;
                            30
                        }
                    }
                }
            };
            tokio::time::sleep(Duration::from_secs(pause_s)).await;
            self.restore_if_due().await;
        }
        Over::Endless(last)
    }

    async fn restore_if_due(&mut self) {
        let now = self.stage.world.ec2().now();
        let due = self.restores.iter().any(|at| *at <= now);
        self.restores.retain(|at| *at > now);
        if due && super::meddle::restore(self.stage) {
            tokio::time::sleep(RESTORED).await;
        }
    }

    fn note(&self, what: &str) {
        self.stage.tally.note(|| format!("{}: {what}", self.name));
    }
}
