//! The API: verbs on JSON objects.

use rehome_model::quantity;
use serde::Serialize;
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::objects::{Failure, Key, RESOURCES, Resource, text, time};
use super::rules::{check_immutable, check_version, check_volume, merge};

/// HTTP's methods, as far as Kubernetes uses them.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// What a PUT leaves as it is, whatever it says.
const KEPT: [&str; 4] = ["uid", "creationTimestamp", "deletionTimestamp", "finalizers"];

/// What a path means.
struct Target {
    resource: &'static Resource,
    namespace: String,
    name: Option<String>,
    subresource: Option<String>,
}

/// What is answered, once it is written out.
enum Reply {
    /// The object, as it now is.
    Stored(Key),
    /// The same of one that is new.
    Created(Key),
    /// Something that is kept nowhere.
    Made(Value),
    /// Bytes already.
    Written(Vec<u8>),
}

/// A list, written out without a copy of what is in it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    kind: String,
    api_version: &'a str,
    metadata: ListMetadata,
    items: Vec<&'a Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
}

/// Nothing that is kept here fails to be written: all keys are strings.
pub(crate) fn written(object: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(object).unwrap_or_default()
}

impl Cluster {
    /// Answers a request: HTTP status and body.
    pub fn handle(
        &mut self,
        now: u64,
        verb: &str,
        path: &str,
        query: &str,
        content: &str,
        body: &[u8],
    ) -> (u16, Vec<u8>) {
        let stored = |this: &Self, key: &Key| this.get(key).map(written).ok_or_else(|| Failure::not_found(key));
        let reply = self.route(now, verb, path, query, content, body).and_then(|reply| match reply {
            Reply::Created(key) => Ok((201, stored(self, &key)?)),
            Reply::Stored(key) => Ok((200, stored(self, &key)?)),
            // Reviews are posted, and kept nowhere.
            Reply::Made(object) => Ok((if verb == "POST" { 201 } else { 200 }, written(&object))),
            Reply::Written(bytes) => Ok((200, bytes)),
        });
        match reply {
            Ok(answer) => answer,
            Err(failure) => (failure.code, written(&failure.body())),
        }
    }

    fn route(
        &mut self,
        now: u64,
        verb: &str,
        path: &str,
        query: &str,
        content: &str,
        body: &[u8],
    ) -> Result<Reply, Failure> {
        if path == "/version" {
            return Ok(Reply::Made(json!({"gitVersion": self.version_name})));
        }
        let sent: Value = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(body).map_err(|error| Failure::new(400, "BadRequest", error.to_string()))?
        };
        if path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" {
            return Ok(Reply::Made(self.review(sent)));
        }
        let target = parse(path)?;
        let method = METHODS.into_iter().find(|method| *method == verb).unwrap_or("OTHER");
        *self.calls.entry((method, target.resource.plural)).or_default() += 1;
        self.authorize(verb, &target)?;
        let key = Key::new(target.resource.plural, &target.namespace, target.name.as_deref().unwrap_or_default());
        let written = key.plural == "leases" && matches!(verb, "POST" | "PUT");
        let holder = if written { text(&sent, "/spec/holderIdentity").to_owned() } else { String::new() };
        let written = written && !holder.is_empty();
        let reply = self.answer(now, verb, &target, &key, query, content, sent);
        if let Ok(Reply::Stored(stored) | Reply::Created(stored)) = &reply
            && stored.plural == "leases"
            && verb != "GET"
        {
            self.tell_when(now, stored);
        }
        if written && reply.is_ok() {
            self.lease_writes.insert(holder, now);
        }
        reply
    }

    /// When it was written, by the apiserver's clock, which shows seconds. Of other objects nobody asks.
    fn tell_when(&mut self, now: u64, key: &Key) {
        if let Some(object) = self.objects.get_mut(key) {
            let written = json!({"manager": "rehome", "operation": "Update", "time": time(now / 1_000 * 1_000)});
            object["metadata"]["managedFields"] = json!([written]);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a request has these parts")]
    fn answer(
        &mut self,
        now: u64,
        verb: &str,
        target: &Target,
        key: &Key,
        query: &str,
        content: &str,
        sent: Value,
    ) -> Result<Reply, Failure> {
        match (verb, target.name.is_some(), target.subresource.as_deref()) {
            ("GET", true, None) => Ok(Reply::Stored(key.clone())),
            ("GET", false, None) => Ok(self.list(target, query)),
            ("GET", true, Some("scale")) => self.scale(key),
            ("POST", false, None) if query.split('&').any(|pair| pair == "dryRun=All") => {
                self.would_create(target, sent)
            }
            ("POST", false, None) => self.create(now, target, sent),
            // Of all that is known here only Leases are made by a PUT (leaseStrategy.AllowCreateOnUpdate).
            ("PUT", true, None) if key.plural == "leases" && self.get(key).is_none() => {
                if !text(&sent, "/metadata/uid").is_empty() {
                    return Err(Failure::conflict(key, "Precondition failed: UID in precondition does not match"));
                }
                self.create(now, target, sent)
            }
            ("PUT", true, None) => self.replace(key, sent),
            ("PUT", true, Some("scale")) => self.set_scale(key, &sent),
            ("PATCH", true, None) if content.starts_with("application/merge-patch+json") => self.patch(key, &sent),
            ("DELETE", true, None) => self.delete(now, key, &sent),
            _ => Err(Failure::new(405, "MethodNotAllowed", format!("{verb} of {} is not simulated", key.plural))),
        }
    }

    fn authorize(&self, verb: &str, target: &Target) -> Result<(), Failure> {
        if self.denied.is_empty() {
            return Ok(());
        }
        let kubernetes_verb = match (verb, target.name.is_some()) {
            ("GET", true) => "get",
            ("GET", false) => "list",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            _ => "delete",
        };
        let plural = target.resource.plural;
        if self.denied.contains(&format!("{kubernetes_verb} {plural}")) {
            return Err(Failure::new(
                403,
                "Forbidden",
                format!("{plural} is forbidden: User \"rehome\" cannot {kubernetes_verb} resource \"{plural}\""),
            ));
        }
        Ok(())
    }

    fn review(&self, mut sent: Value) -> Value {
        let attributes = &sent["spec"]["resourceAttributes"];
        let (verb, resource) = (text(attributes, "/verb"), text(attributes, "/resource"));
        let allowed = !self.denied.contains(&format!("{verb} {resource}"));
        sent["status"] = json!({"allowed": allowed});
        sent
    }

    fn list(&self, target: &Target, query: &str) -> Reply {
        let (labels, fields) = (selector(query, "labelSelector="), selector(query, "fieldSelector="));
        let matches = |object: &Value| {
            let label = |key: &String| object["metadata"]["labels"].get(key).and_then(Value::as_str);
            labels.iter().all(|(key, value)| label(key) == Some(value))
                && fields.iter().all(|(path, value)| text(object, &format!("/{}", path.replace('.', "/"))) == value)
        };
        let items: Vec<&Value> = self
            .of(target.resource.plural)
            .filter(|(key, object)| {
                (target.namespace.is_empty() || key.namespace == target.namespace) && matches(object)
            })
            .map(|(_, object)| object)
            .collect();
        Reply::Written(written(&List {
            kind: format!("{}List", target.resource.kind),
            api_version: target.resource.prefix.trim_start_matches("api/").trim_start_matches("apis/"),
            metadata: ListMetadata { resource_version: self.version.to_string() },
            items,
        }))
    }

    fn create(&mut self, now: u64, target: &Target, mut object: Value) -> Result<Reply, Failure> {
        let key = Key::new(target.resource.plural, &target.namespace, text(&object, "/metadata/name"));
        if target.resource.namespaced && self.get(&Key::new("namespaces", "", &key.namespace)).is_none() {
            return Err(Failure::not_found(&Key::new("namespaces", "", &key.namespace)));
        }
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if key.name.is_empty() || key.name.len() > 253 || !key.name.chars().all(valid) {
            return Err(Failure::invalid(&key, "metadata.name: a lowercase RFC 1123 subdomain is required"));
        }
        match key.plural {
            "persistentvolumeclaims" => {
                // Admission, and so before anybody looks whether it is there already.
                self.within_quota(now, &key)?;
                self.admit_claim(&key, &mut object)?;
            }
            "persistentvolumes" => check_volume(&key, &object)?,
            _ => {}
        }
        self.put_new(now, &key, object)?;
        Ok(Reply::Created(key))
    }

    /// Creates nothing, and says what would come of it; of what a claim costs a quota nobody asks.
    fn would_create(&self, target: &Target, object: Value) -> Result<Reply, Failure> {
        if let Some(webhook) = &self.effective_webhook {
            let why = format!("admission webhook {webhook:?} does not support dry run");
            return Err(Failure::new(400, "BadRequest", why));
        }
        let key = Key::new(target.resource.plural, &target.namespace, text(&object, "/metadata/name"));
        check_volume(&key, &object)?;
        if self.get(&key).is_some() {
            return Err(Failure::exists(&key));
        }
        Ok(Reply::Made(object))
    }

    /// What admission and validation do with a new claim: the default class is put in if none is named.
    fn admit_claim(&self, key: &Key, object: &mut Value) -> Result<(), Failure> {
        if quantity::bytes(text(object, "/spec/resources/requests/storage")).is_err() {
            return Err(Failure::invalid(key, "spec.resources[storage]: Required value"));
        }
        if object["spec"]["storageClassName"].is_null() {
            let default = self.all("storageclasses").into_iter().find(|class| {
                class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"
            });
            if let Some(class) = default {
                object["spec"]["storageClassName"] = class["metadata"]["name"].clone();
            }
        }
        Ok(())
    }

    fn replace(&mut self, key: &Key, mut object: Value) -> Result<Reply, Failure> {
        let found = self.objects.get_mut(key).ok_or_else(|| Failure::not_found(key))?;
        check_version(key, found, &object)?;
        check_immutable(key, found, &object)?;
        if key.plural == "leases" && text(&object, "/metadata/resourceVersion").is_empty() {
            return Err(Failure::invalid(key, "metadata.resourceVersion: must be specified for an update"));
        }
        for field in KEPT {
            if let Some(kept) = found["metadata"].get_mut(field).map(Value::take).filter(|kept| !kept.is_null()) {
                object["metadata"][field] = kept;
            }
        }
        if let Some(status) = found.get_mut("status").map(Value::take).filter(|status| !status.is_null()) {
            object["status"] = status;
        }
        *found = object;
        self.changed(key)?;
        Ok(Reply::Stored(key.clone()))
    }

    fn patch(&mut self, key: &Key, patch: &Value) -> Result<Reply, Failure> {
        let found = self.get(key).ok_or_else(|| Failure::not_found(key))?;
        let mut object = found.clone();
        merge(&mut object, patch);
        // A patch makes an object, and an object's uid never changes: no precondition as that of a PUT.
        if object["metadata"]["uid"] != found["metadata"]["uid"] {
            return Err(Failure::invalid(key, "metadata.uid: Invalid value: field is immutable"));
        }
        check_version(key, found, &object)?;
        check_immutable(key, found, &object)?;
        // What changes nothing makes no new version, and nobody is told of it.
        if object != *found {
            self.objects.insert(key.clone(), object);
            self.changed(key)?;
        }
        Ok(Reply::Stored(key.clone()))
    }

    fn delete(&mut self, now: u64, key: &Key, options: &Value) -> Result<Reply, Failure> {
        let found = self.get(key).ok_or_else(|| Failure::not_found(key))?;
        let wanted = text(options, "/preconditions/uid");
        if !wanted.is_empty() && wanted != text(found, "/metadata/uid") {
            return Err(Failure::conflict(key, "the UID in the precondition does not match the UID in record"));
        }
        if !matches!(key.plural, "pods" | "persistentvolumeclaims" | "persistentvolumes") {
            // Nothing holds it: it is gone with the answer.
            let gone = found.clone();
            self.objects.remove(key);
            self.version += 1;
            return Ok(Reply::Made(gone));
        }
        if !super::objects::is_going(found)
            && let Some(object) = self.objects.get_mut(key)
        {
            object["metadata"]["deletionTimestamp"] = json!(time(now));
            self.changed(key)?;
        }
        Ok(Reply::Stored(key.clone()))
    }

    fn scale(&self, key: &Key) -> Result<Reply, Failure> {
        let set = self.get(key).ok_or_else(|| Failure::not_found(key))?;
        Ok(Reply::Made(json!({
            "kind": "Scale", "apiVersion": "autoscaling/v1",
            "metadata": {
                "name": key.name, "namespace": key.namespace,
                "uid": set["metadata"]["uid"], "resourceVersion": set["metadata"]["resourceVersion"],
            },
            "spec": {"replicas": set["spec"]["replicas"]},
            "status": {"replicas": set["status"]["replicas"].as_u64().unwrap_or(0)},
        })))
    }

    fn set_scale(&mut self, key: &Key, sent: &Value) -> Result<Reply, Failure> {
        let found = self.objects.get_mut(key).ok_or_else(|| Failure::not_found(key))?;
        check_version(key, found, sent)?;
        if found["spec"]["replicas"] != sent["spec"]["replicas"] {
            found["spec"]["replicas"] = sent["spec"]["replicas"].clone();
            self.changed(key)?;
        }
        self.scale(key)
    }
}

/// The equalities of a selector in a query.
fn selector(query: &str, name: &str) -> Vec<(String, String)> {
    let given = query.split('&').filter_map(|pair| pair.strip_prefix(name));
    let plain = given.map(|given| given.replace("%3D", "=").replace("%2F", "/").replace("%2C", ","));
    plain
        .flat_map(|given| {
            let all = given.split(',').filter_map(|one| one.split_once('='));
            all.map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<Vec<_>>()
        })
        .collect()
}

fn parse(path: &str) -> Result<Target, Failure> {
    let unknown = || Failure::new(404, "NotFound", "the server could not find the requested resource");
    let trimmed = path.trim_start_matches('/');
    let prefix = RESOURCES
        .iter()
        .map(|resource| resource.prefix)
        .find(|prefix| trimmed.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/')))
        .ok_or_else(unknown)?;
    let segments: Vec<&str> = trimmed[prefix.len() + 1..].split('/').collect();
    let (namespace, rest) = match segments.as_slice() {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        rest => ("", rest),
    };
    let [plural, rest @ ..] = rest else { return Err(unknown()) };
    let resource = RESOURCES
        .iter()
        .find(|resource| resource.prefix == prefix && resource.plural == *plural)
        .ok_or_else(unknown)?;
    if !namespace.is_empty() && !resource.namespaced {
        return Err(unknown());
    }
    Ok(Target {
        resource,
        namespace: namespace.to_owned(),
        name: rest.first().map(|name| (*name).to_owned()),
        subresource: rest.get(1).map(|sub| (*sub).to_owned()),
    })
}
