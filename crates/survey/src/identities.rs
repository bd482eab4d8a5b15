//! Who each member's disk says it is, read as the cutover will read it once the member has stopped.
//!
//! A disk whose format cannot be read is better known before the downtime than in it.

use std::time::Duration;

use rehome_model::answer::MemberIdentity;
use rehome_model::ids::InstanceId;
use rehome_model::survey::{DiskIdentity, MemberSurvey};
use rehome_ports::{HostScript, Hosts};
use rehome_profiles::{IdentityParts, Profile, ScriptContext};

use crate::survey::{HOST_SURVEY_S, HOSTS_AT_ONCE, ask};

/// How long a member that writes its files anew may take for it.
const REWRITTEN_WITHIN: Duration = Duration::from_secs(2);

/// Reads the disk of each member that answers.
pub(crate) async fn read(
    hosts: &dyn Hosts,
    profile: &dyn Profile,
    context: &ScriptContext<'_>,
    members: &mut [MemberSurvey],
) {
    use futures::stream::{self, StreamExt};
    let answering = members.iter_mut().filter(|member| member.host.as_ref().is_some_and(|host| host.view.is_some()));
    stream::iter(answering)
        .map(|member| async move {
            let mut found = one(hosts, profile, context, &member.instance.id).await;
            // The member serves: its files may have been written anew while they were read.
            if found.is_err() {
                tokio::time::sleep(REWRITTEN_WITHIN).await;
                found = one(hosts, profile, context, &member.instance.id).await;
            }
            member.disk = Some(match found {
                Ok(identity) => DiskIdentity::Read(identity),
                Err(reason) => DiskIdentity::Unreadable(reason),
            });
        })
        .buffer_unordered(HOSTS_AT_ONCE)
        .collect::<()>()
        .await;
}

async fn one(
    hosts: &dyn Hosts,
    profile: &dyn Profile,
    context: &ScriptContext<'_>,
    instance: &InstanceId,
) -> Result<MemberIdentity, String> {
    let mut parts = IdentityParts::default();
    loop {
        let task = parts.task();
        let text = profile.host_script(&task, context);
        let script = HostScript { task, text, limit_s: HOST_SURVEY_S };
        let output = ask(hosts, instance, &script).await.map_err(|error| error.to_string())?;
        if output.exit_code != 0 {
            return Err(format!("the script ended with exit code {}: {}", output.exit_code, output.stderr.trim()));
        }
        let answer = profile.read_host_answer(&script.task, &output.stdout).map_err(|error| error.to_string())?;
        if let Some(archive) = parts.add(answer).map_err(|error| error.to_string())? {
            return profile.disk_identity(&archive).map_err(|error| error.to_string());
        }
    }
}
