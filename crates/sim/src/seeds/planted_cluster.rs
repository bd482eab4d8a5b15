//! Planted bugs between the engine and the cluster.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};
use tower::Service;

use super::planted::Planted;
use crate::ports::SimPorts;

#[derive(Clone)]
pub(super) struct BadCluster {
    inner: SimPorts,
    planted: Planted,
    /// The first volume's handle.
    handle: Arc<Mutex<Option<Value>>>,
    /// The lease as this driver last saw itself write it.
    lease: Arc<Mutex<Option<Value>>>,
}

type Reply = Result<http::Response<Body>, std::io::Error>;

impl BadCluster {
    pub(super) fn new(inner: SimPorts, planted: Planted) -> Self {
        Self { inner, planted, handle: Arc::default(), lease: Arc::default() }
    }

    async fn serve(mut self, request: http::Request<Body>) -> Reply {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        let mut sent: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let path = parts.uri.path().to_owned();
        let method = parts.method.to_string();
        if path.contains("/leases/")
            && let Some(lease) = self.imagined_lease(&method, &sent)
        {
            return answer(&lease);
        }
        self.spoil(&method, &path, &mut sent);
        let bytes = if sent.is_null() { body.to_vec() } else { sent.to_string().into_bytes() };
        let reply = self.inner.call(http::Request::from_parts(parts, Body::from(bytes))).await?;
        if method == "GET" && path.contains("/leases/") && self.planted == Planted::TakesTheLeaseByForce {
            let body = reply.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
            let mut lease: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
            if lease["kind"] == "Status" {
                return refuse(&lease);
            }
            // As if nobody held it; its own is its own still.
            let own = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
            if own.as_ref().is_none_or(|own| own["spec"]["holderIdentity"] != lease["spec"]["holderIdentity"]) {
                lease["spec"]["holderIdentity"] = json!("");
            }
            return answer(&lease);
        }
        if path.contains("/leases") && matches!(method.as_str(), "PUT" | "POST") && reply.status().is_success() {
            *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = Some(sent);
        }
        Ok(reply)
    }

    /// Once it holds the lease, the driver believes every renewal to have succeeded.
    fn imagined_lease(&self, method: &str, sent: &Value) -> Option<Value> {
        if self.planted != Planted::ActsAfterItsLease {
            return None;
        }
        let held = self.lease.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some(if method == "GET" { held } else { sent.clone() })
    }

    fn spoil(&self, method: &str, path: &str, sent: &mut Value) {
        if method != "POST" {
            return;
        }
        if path.ends_with("/persistentvolumes") {
            if self.planted == Planted::MakesVolumesDelete {
                sent["spec"]["persistentVolumeReclaimPolicy"] = json!("Delete");
            }
            if self.planted == Planted::ReusesAHandle {
                let mut first = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
                let handle = first.get_or_insert_with(|| sent["spec"]["csi"]["volumeHandle"].clone());
                sent["spec"]["csi"]["volumeHandle"] = handle.clone();
            }
        }
        if path.ends_with("/persistentvolumeclaims") && self.planted == Planted::OwnsTheClaims {
            sent["metadata"]["ownerReferences"] = json!([{
                "apiVersion": "v1", "kind": "ConfigMap", "name": "rehome-run-refdb", "uid": "0",
            }]);
        }
    }
}

fn answer(object: &Value) -> Reply {
    respond(200, object)
}

fn refuse(status: &Value) -> Reply {
    respond(status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500), status)
}

fn respond(status: u16, object: &Value) -> Reply {
    http::Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(object.to_string().into_bytes()))
        .map_err(std::io::Error::other)
}

impl Service<http::Request<Body>> for BadCluster {
    type Response = http::Response<Body>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Reply> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.clone().serve(request))
    }
}
