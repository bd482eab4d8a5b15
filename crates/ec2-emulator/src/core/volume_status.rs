//! DescribeVolumeStatus: how far a volume has filled.

use rehome_model::cloud::VolumeState;

use crate::api::{ApiError, DescribeById, Initialization, InitializationType, Reply, VolumeStatus};

use super::handle::Call;
use super::page;
use super::state::{Core, VolumeRecord};

impl Core {
    pub(crate) fn describe_volume_status(&self, call: &Call, by: &DescribeById) -> Result<Reply, ApiError> {
        let plain = DescribeById { filters: Vec::new(), ..by.clone() };
        let filters: Vec<_> = by
            .filters
            .iter()
            .map(|filter| match filter.name.as_str() {
                "volume-status.status" | "volume-id" | "availability-zone" => Ok(filter),
                other => Err(ApiError::parameter(format!("The filter '{other}' is invalid"))),
            })
            .collect::<Result<_, _>>()?;
        let mut items = Vec::new();
        for (id, record) in self.shown_volumes(call, &plain)? {
            let status = status(record);
            let all = filters.iter().all(|filter| {
                let value = match filter.name.as_str() {
                    "volume-status.status" => status.to_owned(),
                    "volume-id" => id.to_string(),
                    _ => record.zone.to_string(),
                };
                super::filter::any_matches(&filter.values, &[value])
            });
            if all {
                let initialization = self.initialization(call, record);
                let mut details = vec![("io-enabled".to_owned(), io_enabled(record).to_owned())];
                let completed = initialization.as_ref().is_none_or(|found| found.progress == 100);
                let state = if completed { "completed" } else { "initializing" };
                details.push(("initialization-state".to_owned(), state.to_owned()));
                items.push((
                    id.to_string(),
                    VolumeStatus {
                        volume: id,
                        zone: record.zone.clone(),
                        status: status.to_owned(),
                        details,
                        initialization,
                    },
                ));
            }
        }
        call.permit()?;
        page::cut(items, &by.page, !by.ids.is_empty(), page::ec2("volumeIds")).map(Reply::VolumeStatuses)
    }

    /// As it was some time ago: EBS says up to 5 min.
    fn initialization(&self, call: &Call, record: &VolumeRecord) -> Option<Initialization> {
        let hydration = record.hydration.as_ref()?;
        let seen = call.now.saturating_sub(self.config.consistency.volume_status_lag_ms);
        let whole = hydration.until.saturating_sub(hydration.from).max(1);
        let done = seen.saturating_sub(hydration.from);
        let progress = if seen >= hydration.until { 100 } else { (done * 100 / whole).min(99) as u8 };
        let estimated_seconds = (hydration.kind == InitializationType::ProvisionedRate)
            .then(|| hydration.until.saturating_sub(seen).div_ceil(1_000));
        Some(Initialization { kind: hydration.kind, progress, estimated_seconds })
    }
}

fn status(record: &VolumeRecord) -> &'static str {
    match record.state {
        VolumeState::Creating => "insufficient-data",
        VolumeState::Error => "impaired",
        _ => "ok",
    }
}

fn io_enabled(record: &VolumeRecord) -> &'static str {
    if status(record) == "ok" { "passed" } else { "failed" }
}
