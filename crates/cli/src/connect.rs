//! Connecting the ports to the real world.

use anyhow::Result;
use rehome_engine::Ports;
use rehome_model::migration::Migration;

use crate::exit::{Exit, problem};

/// A client of the target cluster.
pub async fn kube(context: Option<&str>) -> Result<kube::Client> {
    let options = kube::config::KubeConfigOptions { context: context.map(str::to_owned), ..Default::default() };
    let unreachable = |error: String| {
        let hint = "set KUBECONFIG or spec.target.context; `kubectl get nodes` should answer. Nothing was changed";
        problem(Exit::Unreachable, format!("no usable kubeconfig: {error}"), hint)
    };
    let mut config = match context {
        Some(_) => kube::Config::from_kubeconfig(&options).await.map_err(|error| unreachable(error.to_string()))?,
        None => kube::Config::infer().await.map_err(|error| unreachable(error.to_string()))?,
    };
    // Sent again by itself, a write would go out when the lease it was checked against is long over (invariant I10).
    config.default_retry = false;
    kube::Client::try_from(config).map_err(|error| unreachable(error.to_string()))
}

/// All ports of a migration.
#[cfg(feature = "aws")]
pub async fn ports(migration: &Migration) -> Result<Ports> {
    use std::sync::Arc;

    use rehome_model::migration::HostAccess;

    let source = &migration.spec.source;
    let kube = kube(migration.spec.target.context.as_deref()).await?;
    let options = rehome_aws::Options { region: Some(source.region.clone()), ..rehome_aws::Options::default() };
    let (cloud, ssm) = rehome_aws::connect(options).await.map_err(|error| {
        let hint = "configure credentials as for the AWS CLI (`aws sts get-caller-identity` should answer). Nothing was changed";
        problem(Exit::Unreachable, error.to_string(), hint)
    })?;
    let cloud = Arc::new(cloud);
    let hosts: Arc<dyn rehome_ports::Hosts> = match &source.hosts {
        HostAccess::Ssm => Arc::new(ssm),
        HostAccess::Ssh(access) => Arc::new(rehome_ssh::OpenSsh::new(access.clone(), Arc::clone(&cloud))),
    };
    let pods = Arc::new(rehome_pods::KubePods::new(kube.clone()));
    Ok(Ports { cloud, hosts, pods, kube })
}

/// The cloud alone.
#[cfg(feature = "aws")]
pub async fn cloud(region: &str) -> Result<std::sync::Arc<dyn rehome_ports::Cloud>> {
    let options = rehome_aws::Options { region: Some(region.to_owned()), ..rehome_aws::Options::default() };
    let (cloud, _) = rehome_aws::connect(options).await.map_err(|error| {
        let hint = "configure credentials as for the AWS CLI (`aws sts get-caller-identity` should answer). Nothing was changed";
        problem(Exit::Unreachable, error.to_string(), hint)
    })?;
    Ok(std::sync::Arc::new(cloud))
}

/// The cloud alone.
#[cfg(not(feature = "aws"))]
#[expect(clippy::unused_async, reason = "the same signature as with the SDK")]
pub async fn cloud(_region: &str) -> Result<std::sync::Arc<dyn rehome_ports::Cloud>> {
    let hint = "build rehome with its default features; `rehome demo` works without";
    Err(problem(Exit::Usage, "this build has no access to AWS", hint))
}

/// All ports of a migration.
#[cfg(not(feature = "aws"))]
#[expect(clippy::unused_async, reason = "the same signature as with the SDK")]
pub async fn ports(_migration: &Migration) -> Result<Ports> {
    let hint = "build rehome with its default features; `rehome demo` works without";
    Err(problem(Exit::Usage, "this build has no access to AWS", hint))
}
