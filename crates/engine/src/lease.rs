//! One driver: the Lease (invariant I10).

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::StreamExt as _;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use rehome_model::{labels, names};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::clock::{Clock, Moment};
use crate::error::StepError;
use crate::kubernetes::{Kube, KubeError, paths, text};
use crate::limits::{LEASE, LEASE_MARGIN, LEASE_RENEW, LEASE_REQUEST, LEASE_RETRY, REQUEST};

/// The lease of one driver.
pub struct Lease {
    kube: Kube,
    namespace: String,
    name: String,
    migration: String,
    holder: String,
    /// The machine's: the times in the Lease are for people.
    clock: Clock,
    /// When the last renewal that succeeded was *sent*; none once it is given up.
    held_since: Mutex<Option<Moment>>,
    /// The object as the last write of this driver left it.
    written: Mutex<Option<Value>>,
    /// Why the last renewal failed, since the last that did not.
    last_error: Mutex<Option<String>>,
}

/// Why the lease is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another driver renews it.
    #[error("{holder} is driving this run (lease renewed {renewed})")]
    Held {
        /// Who.
        holder: String,
        /// When it was last renewed.
        renewed: String,
    },
    /// The cluster.
    #[error(transparent)]
    Kube(#[from] KubeError),
}

impl Lease {
    /// A lease not held yet. `holder` names this driver and nobody else.
    pub fn new(kube: Kube, namespace: &str, migration: &str, holder: &str, clock: Clock) -> Self {
        Self {
            kube,
            namespace: namespace.to_owned(),
            name: names::record(migration),
            migration: migration.to_owned(),
            holder: holder.to_owned(),
            clock,
            held_since: Mutex::new(None),
            written: Mutex::new(None),
            last_error: Mutex::new(None),
        }
    }

    /// Takes the lease. If another holds it, watches for one lease time whether that one still renews it: clocks of
    /// two machines are never compared, only whether the object changes.
    ///
    /// Answers the clock of the run: the apiserver's, as its reply shows it (docs/decisions/0009).
    pub async fn acquire(&self) -> Result<Clock, LeaseError> {
        let path = paths::lease(&self.namespace, &self.name);
        let first_look = Instant::now();
        let mut first_seen: Option<Value> = None;
        loop {
            let sent = self.clock.moment();
            let Some(object) = self.kube.get(&path).await? else {
                match self.kube.create(&paths::leases(&self.namespace), &self.object(None, 0)).await {
                    Ok(written) => return Ok(self.is_ours_since(sent, written)),
                    Err(error) if error.is_conflict() => continue,
                    Err(error) => return Err(error.into()),
                }
            };
            let holder = text(&object, "/spec/holderIdentity").to_owned();
            let renewed = object["spec"]["renewTime"].clone();
            let free = holder.is_empty() || holder == self.holder;
            let first = first_seen.get_or_insert_with(|| renewed.clone());
            let expired = *first == renewed && first_look.elapsed() >= LEASE;
            if free || expired {
                let transitions = object["spec"]["leaseTransitions"].as_u64().unwrap_or(0) + 1;
                let wanted = self.object(object["metadata"]["resourceVersion"].as_str(), transitions);
                match self.kube.replace(&path, &wanted).await {
                    Ok(written) => return Ok(self.is_ours_since(sent, written)),
                    Err(error) if error.is_conflict() => {}
                    Err(error) => return Err(error.into()),
                }
            } else if *first != renewed {
                return Err(LeaseError::Held { holder, renewed: renewed.as_str().unwrap_or_default().to_owned() });
            }
            tokio::time::sleep(LEASE_RETRY).await;
        }
    }

    /// Renews until the lease is lost or the future is dropped.
    ///
    /// A renewal that is not answered in time is not given up: another one is sent beside it. In its request the client may be
    /// asking a credential plugin for a new token, which takes some seconds and would begin anew each time.
    pub async fn keep(&self) {
        type Renewed = (Moment, Result<Option<Value>, KubeError>);
        let mut under_way: FuturesUnordered<LocalBoxFuture<'_, Renewed>> = FuturesUnordered::new();
        let mut next = Instant::now() + LEASE_RENEW;
        loop {
            tokio::select! {
                biased;
                Some((sent, renewed)) = under_way.next() => match renewed {
                    Ok(Some(written)) => {
                        self.is_ours(sent, written);
                        next = Instant::now() + LEASE_RENEW;
                    }
                    Ok(None) => {
                        self.give_up();
                        return;
                    }
                    // The cluster may come back in time; if not, `check` stops the acts.
                    Err(error) => {
                        tracing::warn!(%error, "lease not renewed");
                        *locked(&self.last_error) = Some(error.to_string());
                        next = Instant::now() + LEASE_RETRY;
                    }
                },
                () = tokio::time::sleep_until(next) => {
                    let sent = self.clock.moment();
                    under_way.push(Box::pin(async move { (sent, self.renew().await) }));
                    next = Instant::now() + LEASE_REQUEST + LEASE_RETRY;
                }
            }
        }
    }

    /// Renews it by what the last write left; only if that was changed since, or its reply was lost, looks first. None if it
    /// is not ours any more. A conflict does not say so: the write that came between may be an earlier one of ours, whose reply
    /// was not waited for.
    async fn renew(&self) -> Result<Option<Value>, KubeError> {
        let kube = self.kube.clone().within(REQUEST);
        let path = paths::lease(&self.namespace, &self.name);
        let last = locked(&self.written).take();
        if let Some(last) = last {
            match kube.replace(&path, &self.renewed(&last)).await {
                Err(error) if error.is_conflict() || error.is_not_found() => {}
                written => return written.map(Some),
            }
        }
        let Some(object) = kube.get(&path).await? else { return Ok(None) };
        if text(&object, "/spec/holderIdentity") != self.holder {
            return Ok(None);
        }
        kube.replace(&path, &self.renewed(&object)).await.map(Some)
    }

    fn renewed(&self, object: &Value) -> Value {
        let transitions = object["spec"]["leaseTransitions"].as_u64().unwrap_or(0);
        self.object(object["metadata"]["resourceVersion"].as_str(), transitions)
    }

    /// Whether the lease is ours by the apiserver's word, asked now. A machine that stood still cannot always go by its
    /// clocks, which may have stood still too: for what undoes another driver's protection that is not enough.
    pub async fn confirm(&self) -> Result<(), StepError> {
        // Looked at, not renewed: the renewals beside this one would meet a conflict.
        let found = self.kube.get(&paths::lease(&self.namespace, &self.name)).await?;
        if found.is_some_and(|object| text(&object, "/spec/holderIdentity") == self.holder) {
            return Ok(());
        }
        self.give_up();
        Err(StepError::interrupted("another driver took the lease; nothing more was started"))
    }

    /// Whether an act may start now: the lease is ours for long enough by the clocks of this machine.
    pub fn check(&self) -> Result<(), StepError> {
        let held = *locked(&self.held_since);
        match held {
            Some(since) if since.age() + LEASE_MARGIN < LEASE => Ok(()),
            Some(_) => {
                let why = locked(&self.last_error).as_ref().map_or_else(String::new, |error| format!(" ({error})"));
                Err(StepError::interrupted(format!(
                    "the lease could not be renewed in time{why}; nothing more was started"
                )))
            }
            None => Err(StepError::interrupted("another driver took the lease; nothing more was started")),
        }
    }

    /// Gives the lease back, so that the next driver need not wait.
    pub async fn release(&self) {
        let path = paths::lease(&self.namespace, &self.name);
        self.give_up();
        if let Ok(Some(mut object)) = self.kube.get(&path).await
            && text(&object, "/spec/holderIdentity") == self.holder
        {
            object["spec"]["holderIdentity"] = json!("");
            // If this fails the lease runs out by itself.
            if let Err(error) = self.kube.replace(&path, &object).await {
                tracing::warn!(%error, "lease not given back");
            }
        }
    }

    fn is_ours_since(&self, sent: Moment, written: Value) -> Clock {
        let clock = written_at_ms(&written).map_or(self.clock, |now_ms| self.clock.set_to(now_ms));
        self.is_ours(sent, written);
        clock
    }

    fn is_ours(&self, sent: Moment, written: Value) {
        *locked(&self.written) = Some(written);
        *locked(&self.last_error) = None;
        let mut held = locked(&self.held_since);
        // Of two renewals that were under way together the later one counts, whichever is answered last.
        if held.is_none_or(|since| sent.age() < since.age()) {
            *held = Some(sent);
        }
    }

    fn give_up(&self) {
        *locked(&self.held_since) = None;
    }

    fn object(&self, resource_version: Option<&str>, transitions: u64) -> Value {
        let now = micro_time(self.clock.now_ms());
        let mut object = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": {labels::MIGRATION: self.migration}},
            "spec": {
                "holderIdentity": self.holder, "leaseDurationSeconds": LEASE.as_secs(),
                "acquireTime": now, "renewTime": now, "leaseTransitions": transitions,
            },
        });
        if let Some(version) = resource_version {
            object["metadata"]["resourceVersion"] = json!(version);
        }
        object
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When the object was last written, by the apiserver's clock, which shows seconds.
fn written_at_ms(object: &Value) -> Option<u64> {
    let managers = object.pointer("/metadata/managedFields")?.as_array()?;
    let times = managers.iter().filter_map(|manager| manager["time"].as_str()?.parse::<jiff::Timestamp>().ok());
    u64::try_from(times.max()?.as_millisecond()).ok()
}

/// Kubernetes' MicroTime.
pub fn micro_time(ms: u64) -> String {
    let timestamp = jiff::Timestamp::from_millisecond(i64::try_from(ms).unwrap_or(i64::MAX)).unwrap_or_default();
    format!("{timestamp:.6}")
}
