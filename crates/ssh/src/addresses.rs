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
                let Some(found) = shown.into_iter().next() else {
                    let reason = "EC2 does not show the instance".to_owned();
                    return Err(ScriptError::Unreachable { target, reason });
                };
                found.private_ip.ok_or_else(unknown)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rehome_ec2_emulator::core::Config;
    use rehome_ec2_emulator::face::Emulator;

    use super::*;

    #[tokio::test]
    async fn an_instance_that_ec2_does_not_show_yet_may_be_asked_for_again() {
        let ec2 = Emulator::new(Config::default(), 0, std::time::Duration::ZERO);
        let error = Addresses::from(Arc::new(ec2)).find(&InstanceId::from("i-0123456789abcdef0")).await.unwrap_err();
        assert!(matches!(error, ScriptError::Unreachable { .. }), "{error:?}");
    }
}
