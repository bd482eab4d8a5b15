//! Where instances are.

use std::collections::BTreeMap;
use std::sync::Arc;

use rehome_model::ids::InstanceId;
use rehome_ports::{Cloud, ErrorClass, InstanceFilter, ScriptError};

/// How the address of an instance is found.
#[derive(Clone)]
pub enum Addresses {
    /// Given: host names, IP addresses, or hosts of the user's ssh configuration.
    Given(BTreeMap<InstanceId, String>),
    /// Its private address, as the cloud shows it. A stopped instance keeps it, so it is asked for once.
    Private(Arc<dyn Cloud>),
}

impl From<BTreeMap<InstanceId, String>> for Addresses {
    fn from(given: BTreeMap<InstanceId, String>) -> Self {
        Self::Given(given)
    }
}

impl<C: Cloud + 'static> From<Arc<C>> for Addresses {
    fn from(cloud: Arc<C>) -> Self {
        Self::Private(cloud)
    }
}

impl Addresses {
    /// The address of an instance.
    pub(crate) async fn find(&self, instance: &InstanceId) -> Result<String, ScriptError> {
        let target = instance.to_string();
        let unknown =
            || ScriptError::Refused { target: target.clone(), reason: "no address of it is known".to_owned() };
        match self {
            Self::Given(given) => given.get(instance).cloned().ok_or_else(unknown),
            Self::Private(cloud) => {
                let shown = cloud.describe_instances(&InstanceFilter::Ids(vec![instance.clone()])).await;
                let shown = shown.map_err(|error| match error.class() {
                    ErrorClass::Credentials => {
                        ScriptError::Credentials { target: target.clone(), reason: error.to_string() }
                    }
                    ErrorClass::Stop => ScriptError::Refused { target: target.clone(), reason: error.to_string() },
                    _ => ScriptError::Unreachable { target: target.clone(), reason: error.to_string() },
                })?;
                shown.into_iter().find_map(|instance| instance.private_ip).ok_or_else(unknown)
            }
        }
    }
}
