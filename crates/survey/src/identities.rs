//! Who each member's disk says it is, read as the cutover will read it once the member has stopped.
//!
//! A disk whose format cannot be read is better known before the downtime than in it.

use rehome_model::survey::{DiskIdentity, MemberSurvey};
use rehome_ports::Hosts;
use rehome_profiles::{Parts, Profile, ScriptContext};

use crate::ask::{HOSTS_AT_ONCE, twice, whole};

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
            // The member serves: its files may be written anew while they are read.
            let found = twice(async || {
                let archive = whole(hosts, profile, context, &member.instance.id, Parts::identity()).await?;
                profile.disk_identity(&archive).map_err(|error| error.to_string())
            })
            .await;
            member.disk = Some(match found {
                Ok(identity) => DiskIdentity::Read(identity),
                Err(reason) => DiskIdentity::Unreadable(reason),
            });
        })
        .buffer_unordered(HOSTS_AT_ONCE)
        .collect::<()>()
        .await;
}
