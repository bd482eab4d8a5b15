//! The run record in the target cluster: a header, a ConfigMap per member, the plan beside them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rehome_model::format::{self, FormatError};
use rehome_model::ids::{MemberName, RunId, StepId};
use rehome_model::plan::Plan;
use rehome_model::record::{RunHeader, RunRecord, StepRecord};
use rehome_model::{labels, names};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

use crate::error::StepErrorKind;
use crate::kubernetes::{Kube, KubeError, label, paths, text};
use crate::lease::Lease;
use crate::limits::{RETRY, RETRY_MAX};

/// The largest plan that is read back, uncompressed.
const PLAN_MAX_BYTES: u64 = 256 << 20;
/// Compressed bytes of the plan in one ConfigMap: in base64, with what is around it, well under the 1 MiB that an
/// apiserver takes (kubernetes `pkg/apis/core/validation`, MaxSecretSize; etcd's limit for a request is 1.5 MiB).
const PLAN_PART_BYTES: usize = 512 << 10;
/// Parts of a plan that are read back at most.
const PLAN_MAX_PARTS: usize = 64;
/// Key of the plan's bytes, or of a part of them.
const PLAN_KEY: &str = "plan.json.gz";
/// Key of how many parts there are, and of the digest of all bytes, if there is more than one.
const PARTS_KEY: &str = "parts.json";
/// Tries to write one document, against changes by another hand and a cluster that does not answer. The lease bounds
/// them too: a driver that cannot renew it writes nothing more.
const WRITE_TRIES: u32 = 6;

/// Why the record cannot be read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The cluster.
    #[error(transparent)]
    Kube(#[from] KubeError),
    /// A newer rehome wrote it.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// It is not what rehome wrote.
    #[error("ConfigMap {name} is not a run record of rehome: {reason}")]
    Damaged {
        /// ConfigMap.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// It is not the plan that the run was begun with.
    #[error(
        "ConfigMap {name} does not hold the plan of run {run}: the hash of what it holds is {found}, not {planned}"
    )]
    Changed {
        /// ConfigMap.
        name: String,
        /// The run.
        run: RunId,
        /// The hash of the recorded plan.
        found: String,
        /// The hash in the run's header.
        planned: String,
    },
    /// The driver may not write any more: another one may have taken the run up.
    #[error("the run record was not written: {0}")]
    NotOurs(String),
    /// An object of this name belongs to somebody else.
    #[error("ConfigMap {name} exists and does not belong to migration {migration}{}", of_another(of.as_deref()))]
    Stranger {
        /// ConfigMap.
        name: String,
        /// The migration.
        migration: String,
        /// The other migration that it belongs to, if it says so.
        of: Option<String>,
    },
}

fn of_another(other: Option<&str>) -> String {
    other.map_or_else(String::new, |other| format!(": it is part of the run record of migration {other}"))
}

/// How a plan is split.
#[derive(Serialize, Deserialize)]
struct Parts {
    /// Objects that hold it.
    parts: usize,
    /// Of all their bytes.
    digest: String,
}

fn plan_bytes(object: &Value) -> Result<Vec<u8>, String> {
    let text = object["binaryData"][PLAN_KEY].as_str().unwrap_or_default();
    STANDARD.decode(text).map_err(|error| error.to_string())
}

/// Reads and writes the record of one migration.
#[derive(Clone)]
pub struct RecordStore {
    kube: Kube,
    namespace: String,
    migration: String,
    /// The versions that this driver's own writes gave its documents: as long as nobody else writes, a write needs no
    /// look before it.
    versions: Arc<Mutex<BTreeMap<String, Value>>>,
}

thread_local! {
    /// The plan that was read last, and what it was packed as. It is read three times before a driver begins: by `apply`,
    /// and before and after the lease is taken.
    static UNPACKED: RefCell<Option<Unpacked>> = const { RefCell::new(None) };
}

/// A plan as it is recorded.
struct Recorded {
    /// The run it is of.
    run: String,
    /// Of its bytes: [`Plan::hash`], as the build that wrote it has it.
    hash: String,
    plan: Plan,
}

struct Unpacked {
    packed: Vec<u8>,
    hash: String,
    plan: Plan,
}

/// What is looked at of a document before all else.
#[derive(Deserialize)]
struct Versioned {
    format: format::Format,
}

impl RecordStore {
    /// The record of a migration in a namespace.
    pub fn new(kube: Kube, namespace: &str, migration: &str) -> Self {
        Self { kube, namespace: namespace.to_owned(), migration: migration.to_owned(), versions: Arc::default() }
    }

    /// The whole record, or none if the migration was never begun.
    pub async fn load(&self) -> Result<Option<(RunRecord, Plan)>, StoreError> {
        // One list, seen at one moment, instead of a look at every document of every member.
        let selector = format!("labelSelector={}%3D{}", labels::MIGRATION.replace('/', "%2F"), self.migration);
        let objects = self.kube.list(&format!("{}?{selector}", paths::config_maps(&self.namespace))).await?;
        let mut found: BTreeMap<String, Value> =
            objects.into_iter().map(|object| (text(&object, "/metadata/name").to_owned(), object)).collect();
        let Some(header) = self.one(&mut found, &names::record(&self.migration)).await? else { return Ok(None) };
        let header = self.header_of(&header)?;
        let name = names::plan_record(&self.migration);
        let Some(Recorded { run, hash, plan }) = self.load_plan(&mut found).await? else {
            return Err(StoreError::Damaged { name, reason: "the plan of the recorded run is missing".to_owned() });
        };
        // Over a run that is rolled back the next one's plan is written before its header.
        if run != header.run.as_str() && !header.phase.is_back() {
            return Err(StoreError::Damaged {
                name,
                reason: format!("it is the plan of run {run}, not {}", header.run),
            });
        }
        // What is carried out is what was reviewed: the header's hash is shown with it, and a plan file is compared by it.
        if run == header.run.as_str() && hash != header.plan_hash {
            return Err(StoreError::Changed { name, run: header.run, found: hash, planned: header.plan_hash });
        }
        let mut steps = BTreeMap::new();
        for document in self.step_documents(&plan) {
            if let Some(object) = self.one(&mut found, &document).await?
                && label(&object, labels::RUN) == Some(header.run.as_str())
            {
                let part: BTreeMap<StepId, StepRecord> = Self::decode(&document, &object, "steps.json")?;
                steps.extend(part);
            }
        }
        Ok(Some((RunRecord { header, steps }, plan)))
    }

    /// The header alone.
    pub async fn load_header(&self) -> Result<Option<RunHeader>, StoreError> {
        let name = names::record(&self.migration);
        let object = self.read(&name).await?;
        object.map(|object| self.header_of(&object)).transpose()
    }

    fn header_of(&self, object: &Value) -> Result<RunHeader, StoreError> {
        let name = names::record(&self.migration);
        let raw: Value = Self::decode(&name, object, "run.json")?;
        let version: format::Format = serde_json::from_value(raw["format"].clone())
            .map_err(|error| StoreError::Damaged { name: name.clone(), reason: format!("format: {error}") })?;
        version.check(format::RUN)?;
        serde_json::from_value(raw).map_err(|error| StoreError::Damaged { name, reason: error.to_string() })
    }

    /// Writes the header, creating it if it is the first.
    pub(crate) async fn save_header(&self, header: &RunHeader, lease: &Lease) -> Result<(), StoreError> {
        let data = json!({"run.json": serde_json::to_string_pretty(header).unwrap_or_default()});
        self.write(&names::record(&self.migration), header.run.as_str(), json!({"data": data}), lease).await
    }

    /// Writes the plan of a run, compressed; in several objects if it is too large for one. The first, without which no
    /// plan is there, is written last.
    pub(crate) async fn save_plan(&self, run: &str, plan: &Plan, lease: &Lease) -> Result<(), StoreError> {
        let name = names::plan_record(&self.migration);
        let damaged = |reason: String| StoreError::Damaged { name: name.clone(), reason };
        // In one piece: a write for each token of the JSON makes the compressor ten times slower.
        let plain = serde_json::to_vec(plan).map_err(|error| damaged(error.to_string()))?;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&plain).map_err(|error| damaged(error.to_string()))?;
        let bytes = encoder.finish().map_err(|error| damaged(error.to_string()))?;
        let parts: Vec<&[u8]> = bytes.chunks(PLAN_PART_BYTES).collect();
        let (first, others) = parts.split_first().ok_or_else(|| damaged("it is empty".to_owned()))?;
        let digest = blake3::hash(&bytes).to_hex().to_string();
        for (number, part) in others.iter().enumerate() {
            // Named after what they hold, so that those of an earlier plan are whole until the first part changes.
            let content = json!({"immutable": true, "binaryData": {PLAN_KEY: STANDARD.encode(part)}});
            self.write(&names::plan_part(&self.migration, &digest, number + 1), run, content, lease).await?;
        }
        let mut content = json!({"binaryData": {PLAN_KEY: STANDARD.encode(first)}});
        if !others.is_empty() {
            let parts = Parts { parts: parts.len(), digest };
            content["data"] = json!({PARTS_KEY: serde_json::to_string(&parts).unwrap_or_default()});
        }
        self.write(&name, run, content, lease).await
    }

    /// The recorded plan.
    async fn load_plan(&self, found: &mut BTreeMap<String, Value>) -> Result<Option<Recorded>, StoreError> {
        let name = names::plan_record(&self.migration);
        let damaged = |reason: String| StoreError::Damaged { name: name.clone(), reason };
        let Some(object) = self.one(found, &name).await? else { return Ok(None) };
        let run = label(&object, labels::RUN).unwrap_or_default().to_owned();
        let mut bytes = plan_bytes(&object).map_err(&damaged)?;
        if object["data"][PARTS_KEY].is_string() {
            let parts: Parts = Self::decode(&name, &object, PARTS_KEY)?;
            for number in 1..parts.parts.min(PLAN_MAX_PARTS) {
                let part = names::plan_part(&self.migration, &parts.digest, number);
                let object = self.one(found, &part).await?;
                let object = object.ok_or_else(|| damaged(format!("ConfigMap {part} is missing")))?;
                bytes.extend(plan_bytes(&object).map_err(&damaged)?);
            }
            if blake3::hash(&bytes).to_hex().as_str() != parts.digest {
                return Err(damaged("its parts are not of one plan".to_owned()));
            }
        }
        let known = |last: &Option<Unpacked>| {
            let known = last.as_ref().filter(|last| last.packed == bytes)?;
            Some(Recorded { run: run.clone(), hash: known.hash.clone(), plan: known.plan.clone() })
        };
        if let Some(known) = UNPACKED.with_borrow(known) {
            return Ok(Some(known));
        }
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bytes.as_slice())
            .take(PLAN_MAX_BYTES)
            .read_to_end(&mut plain)
            .map_err(|error| damaged(error.to_string()))?;
        let Versioned { format: version } =
            serde_json::from_slice(&plain).map_err(|error| damaged(error.to_string()))?;
        version.check(format::PLAN)?;
        let plan: Plan = serde_json::from_slice(&plain).map_err(|error| damaged(error.to_string()))?;
        let hash = blake3::hash(&plain).to_hex().to_string();
        UNPACKED.set(Some(Unpacked { packed: bytes, hash: hash.clone(), plan: plan.clone() }));
        Ok(Some(Recorded { run, hash, plan }))
    }

    /// Writes the steps of one member, or of the cluster.
    pub(crate) async fn save_steps(
        &self,
        run: &str,
        member: Option<&MemberName>,
        steps: &BTreeMap<StepId, StepRecord>,
        lease: &Lease,
    ) -> Result<(), StoreError> {
        let data = json!({"steps.json": serde_json::to_string(steps).unwrap_or_default()});
        self.write(&self.step_document(member), run, json!({"data": data}), lease).await
    }

    fn step_document(&self, member: Option<&MemberName>) -> String {
        // "cluster" cannot clash with a member: members' documents end in a digest of ten characters.
        member.map_or_else(
            || format!("{}-cluster", names::record(&self.migration)),
            |member| names::member_record(&self.migration, member),
        )
    }

    fn step_documents(&self, plan: &Plan) -> Vec<String> {
        let mut documents = vec![self.step_document(None)];
        documents.extend(plan.members.iter().map(|member| self.step_document(Some(&member.name))));
        documents
    }

    fn versions(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
        // Whole entries only are put in or taken out: what a panic leaves is still good.
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A document from a list of this migration's. One that is not in the list is asked for by name: it may be there without
    /// our label, and a record of which a part is passed over would be taken for that of a run that has done less.
    async fn one(&self, found: &mut BTreeMap<String, Value>, name: &str) -> Result<Option<Value>, StoreError> {
        match found.remove(name) {
            Some(object) => Ok(Some(object)),
            None => self.read(name).await,
        }
    }

    async fn read(&self, name: &str) -> Result<Option<Value>, StoreError> {
        let object = self.kube.get(&paths::config_map(&self.namespace, name)).await?;
        match object {
            Some(object) if label(&object, labels::MIGRATION) != Some(&self.migration) => {
                let of = label(&object, labels::MIGRATION).map(str::to_owned);
                Err(StoreError::Stranger { name: name.to_owned(), migration: self.migration.clone(), of })
            }
            other => Ok(other),
        }
    }

    fn decode<T: serde::de::DeserializeOwned>(name: &str, object: &Value, key: &str) -> Result<T, StoreError> {
        let text = object.get("data").and_then(|data| data.get(key)).and_then(Value::as_str).unwrap_or_default();
        serde_json::from_str(text)
            .map_err(|error| StoreError::Damaged { name: name.to_owned(), reason: format!("{key}: {error}") })
    }

    /// Creates or replaces a document. The Lease keeps a second driver away; the resourceVersion keeps the write from
    /// landing on something this driver has not seen. Both are looked at anew before every try: a driver that stood
    /// still meanwhile would else read what its successor wrote, and write its own old lines over them.
    async fn write(&self, name: &str, run: &str, content: Value, lease: &Lease) -> Result<(), StoreError> {
        let path = paths::config_map(&self.namespace, name);
        let mut last = None;
        let mut pause = RETRY;
        for _ in 0..WRITE_TRIES {
            // A write that failed may have met another's, or a connection that was dead when this machine woke up: of a driver
            // that took over while this one's clocks stood still the Lease alone tells.
            if last.is_some()
                && let Err(error) = lease.confirm().await
            {
                // One that the apiserver does not know may be known to it in a moment, as everywhere.
                if error.kind == StepErrorKind::Interrupted && !error.is_unauthorized() {
                    return Err(StoreError::NotOurs(error.message));
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_MAX);
                continue;
            }
            let known = self.versions().remove(name);
            let version = match known {
                Some(version) => Some(version),
                None => match self.read(name).await {
                    Ok(existing) => existing.map(|existing| existing["metadata"]["resourceVersion"].clone()),
                    Err(StoreError::Kube(error)) if !error.is_final() => {
                        last = Some(error);
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(RETRY_MAX);
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            let mut object = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {
                    "name": name, "namespace": self.namespace,
                    "labels": {labels::MIGRATION: self.migration, labels::RUN: run},
                },
            });
            for (field, value) in content.as_object().into_iter().flatten() {
                object[field] = value.clone();
            }
            lease.check().map_err(|error| StoreError::NotOurs(error.message))?;
            let written = if let Some(version) = version {
                object["metadata"]["resourceVersion"] = version;
                self.kube.write("PUT", &path, &object).await
            } else {
                self.kube.write("POST", &paths::config_maps(&self.namespace), &object).await
            };
            match written {
                Ok(version) => {
                    self.versions().insert(name.to_owned(), version);
                    return Ok(());
                }
                Err(error) if error.is_final() => return Err(error.into()),
                // The reply may have been lost: the next look tells whether this write is there.
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
        Err(last.map_or_else(
            || StoreError::Damaged { name: name.to_owned(), reason: "no write was tried".to_owned() },
            StoreError::from,
        ))
    }
}
