//! Whether the credentials are of the account and region that a run's ids are looked up in. In another account all of it
//! looks as if it were gone: a finalize would find nothing left to do, a rollback nothing to start.

use rehome_model::cloud::CallerIdentity;
use rehome_model::ids::InstanceId;
use rehome_model::plan::Plan;
use rehome_ports::{Cloud, CloudError, ErrorClass};
use thiserror::Error;

use crate::error::StepError;
use crate::limits::{CALLER, RETRY};

/// Credentials of another account or region than the run's.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "the run is of account {planned}, and these credentials are of account {actual}, where all that it made or took would \
     look as if it were gone"
)]
pub struct OtherAccount {
    /// The plan's, `123456789012 in us-east-1`.
    pub planned: String,
    /// The caller's.
    pub actual: String,
}

/// Why it is not told to be the same.
#[derive(Debug)]
pub(crate) enum Mismatch {
    /// It is another one.
    Other(OtherAccount),
    /// Nobody told, within [`CALLER`].
    Unknown(String),
}

/// Compares the caller's account and region with the plan's. Of a plan that names none nothing is asked.
///
/// Where AWS does not tell who calls, instances of the plan tell as much: they are shown in their own account and region
/// only. That service may be away while EC2 is not, and production may wait for a rollback. If those are not shown either
/// it is refused: what EC2 does not show now could not be started either.
pub(crate) async fn compare(cloud: &dyn Cloud, plan: &Plan) -> Result<(), Mismatch> {
    let Some(planned) = rehome_planner::account(plan) else { return Ok(()) };
    let error = match asked(cloud).await {
        Ok(caller) => return same(planned, &caller).map_err(Mismatch::Other),
        Err(error) => error,
    };
    // With credentials that are not taken no act would be either.
    if error.class() != ErrorClass::Credentials && shows_an_instance(cloud, plan).await {
        tracing::warn!(%error, "the account is told by its instances only");
        return Ok(());
    }
    Err(Mismatch::Unknown(format!("which account the credentials are of: {}", StepError::from(error))))
}

fn same((account, region): (&str, &str), caller: &CallerIdentity) -> Result<(), OtherAccount> {
    if account == caller.account && region == caller.region {
        return Ok(());
    }
    let place = |account: &str, region: &str| format!("{account} in {region}");
    Err(OtherAccount { planned: place(account, region), actual: place(&caller.account, &caller.region) })
}

/// Who calls, asked again within [`CALLER`] while it may pass.
async fn asked(cloud: &dyn Cloud) -> Result<CallerIdentity, CloudError> {
    let mut last = CloudError::new("GetCallerIdentity", "Timeout", format!("no answer in {} s", CALLER.as_secs()));
    let answer = async {
        loop {
            match cloud.caller().await {
                Err(error) if error.class() == ErrorClass::Retry => last = error,
                end => return end,
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    match tokio::time::timeout(CALLER, answer).await {
        Ok(end) => end,
        Err(_) => Err(last),
    }
}

/// Whether EC2 shows an instance of the plan.
async fn shows_an_instance(cloud: &dyn Cloud, plan: &Plan) -> bool {
    let ids: Vec<InstanceId> = plan.members.iter().map(|member| member.instance.clone()).collect();
    let shown = tokio::time::timeout(CALLER, cloud.describe_instances_alone(&ids)).await;
    shown.is_ok_and(|found| found.is_ok_and(|found| !found.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_account_and_another_region_are_refused_by_name() {
        let caller = |account: &str, region: &str| CallerIdentity {
            account: account.to_owned(),
            arn: String::new(),
            region: region.to_owned(),
        };
        let planned = ("111122223333", "us-east-1");
        assert_eq!(same(planned, &caller("111122223333", "us-east-1")), Ok(()));
        for (account, region) in [("444455556666", "us-east-1"), ("111122223333", "eu-west-1")] {
            let said = same(planned, &caller(account, region)).unwrap_err().to_string();
            assert!(said.contains("111122223333 in us-east-1"), "{said}");
            assert!(said.contains(&format!("{account} in {region}")), "{said}");
        }
    }
}
