//! Snapshots.

use aws_sdk_ec2::operation::create_snapshots::builders::CreateSnapshotsFluentBuilder;
use aws_sdk_ec2::types::{self as ec2, InstanceSpecification, ResourceType};
use rehome_model::cloud::Snapshot;
use rehome_ports::{CloudError, CreateSnapshots, SnapshotFilter};

use crate::cloud::AwsCloud;
use crate::convert;
use crate::error::cloud_error;
use crate::filters::{IDS_PER_CALL, PAGE, carries, id_filter, tag_filters, tag_specifications};
use crate::retry::read;

const DESCRIBE: &str = "DescribeSnapshots";
const CREATE: &str = "CreateSnapshots";

impl AwsCloud {
    /// Own snapshots in the order of ids. Ids go into a filter, for unknown ones to be left out.
    pub(crate) async fn snapshots(&self, wanted: &SnapshotFilter) -> Result<Vec<Snapshot>, CloudError> {
        let mut found = Vec::new();
        match wanted {
            SnapshotFilter::Ids(ids) => {
                for ids in ids.chunks(IDS_PER_CALL) {
                    let ids = id_filter("snapshot-id", ids);
                    self.snapshot_pages(vec![ids], &mut found).await?;
                }
            }
            SnapshotFilter::Tags(tags) => {
                self.snapshot_pages(tag_filters(tags), &mut found).await?;
                found.retain(|snapshot| carries(&snapshot.tags, tags));
            }
        }
        found.sort_by(|one, other| one.id.cmp(&other.id));
        found.dedup_by(|one, other| one.id == other.id);
        Ok(found)
    }

    async fn snapshot_pages(&self, filters: Vec<ec2::Filter>, found: &mut Vec<Snapshot>) -> Result<(), CloudError> {
        let mut token = None;
        loop {
            let page = read(|| async {
                let call = self.ec2.describe_snapshots().owner_ids("self").max_results(PAGE);
                let call = call.set_filters(Some(filters.clone())).set_next_token(token.clone());
                call.send().await.map_err(|error| cloud_error(DESCRIBE, &error))
            })
            .await?;
            for snapshot in page.snapshots() {
                found.push(convert::snapshot(DESCRIBE, snapshot)?);
            }
            token = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if token.is_none() {
                return Ok(());
            }
        }
    }

    /// Sent once: CreateSnapshots has no client token, and sent twice it captures twice.
    pub(crate) async fn snapshot_instance(&self, request: &CreateSnapshots) -> Result<Vec<Snapshot>, CloudError> {
        let sent = self.capture(request).send().await;
        let made = sent.map_err(|error| cloud_error(CREATE, &error))?;
        let mut made: Vec<Snapshot> =
            made.snapshots().iter().map(|info| convert::snapshot_info(CREATE, info)).collect::<Result<_, _>>()?;
        made.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(made)
    }

    /// The call, to send or to try.
    pub(crate) fn capture(&self, request: &CreateSnapshots) -> CreateSnapshotsFluentBuilder {
        let exclude: Vec<String> = request.exclude.iter().map(ToString::to_string).collect();
        let instance = InstanceSpecification::builder()
            .instance_id(request.instance.as_str())
            .exclude_boot_volume(!request.include_root)
            .set_exclude_data_volume_ids((!exclude.is_empty()).then_some(exclude))
            .build();
        let call = self.ec2.create_snapshots().instance_specification(instance).description(&request.description);
        call.set_tag_specifications(tag_specifications(ResourceType::Snapshot, &request.tags))
    }
}
