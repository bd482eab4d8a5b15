//! Form parameters of the Query protocol.

use std::collections::BTreeMap;

use rehome_model::cloud::Tags;

use crate::api::{ApiError, Filter, NewBlockDevice, Page, TagSpecification};

/// The most list elements that are read: EC2 itself takes at most 1,000 ids a call.
const LIST_MAX: usize = 1_000;

/// All parameters of a request.
pub(crate) struct Params(BTreeMap<String, String>);

impl Params {
    pub(crate) fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The names of all parameters, in their order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    /// An id, or any other newtype over text.
    pub(crate) fn id<T: for<'a> From<&'a str>>(&self, name: &str) -> Option<T> {
        self.get(name).map(T::from)
    }

    pub(crate) fn required<T: for<'a> From<&'a str>>(&self, name: &str) -> Result<T, ApiError> {
        self.id(name).ok_or_else(|| ApiError::missing(name))
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        Ok(self.boolean(name)? == Some(true))
    }

    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        let parse = |text: &str| {
            text.to_ascii_lowercase().parse().map_err(|_| {
                ApiError::parameter(format!("Value ({text}) for parameter {name} is invalid. Expected true or false."))
            })
        };
        self.get(name).map(parse).transpose()
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let parse = |text: &str| {
            text.parse().map_err(|_| ApiError::parameter(format!("Value ({text}) for parameter {name} is invalid.")))
        };
        self.get(name).map(parse).transpose()
    }

    /// `VolumeId.1`, `VolumeId.2`, ...
    pub(crate) fn list<T: for<'a> From<&'a str>>(&self, name: &str) -> Vec<T> {
        (1..=LIST_MAX).map_while(|index| self.id(&format!("{name}.{index}"))).collect()
    }

    /// Prefixes of the elements of a list of structures, of which each has `field`: `Filter.1` has `Filter.1.Name`.
    pub(crate) fn elements<'a>(&'a self, name: &'a str, field: &'a str) -> impl Iterator<Item = String> + 'a {
        (1..=LIST_MAX)
            .map(move |index| format!("{name}.{index}"))
            .take_while(move |prefix| self.get(&format!("{prefix}.{field}")).is_some())
    }

    fn part(&self, prefix: &str, field: &str) -> String {
        self.text(&format!("{prefix}.{field}")).unwrap_or_default()
    }

    pub(crate) fn filters(&self) -> Vec<Filter> {
        self.elements("Filter", "Name")
            .map(|prefix| Filter { name: self.part(&prefix, "Name"), values: self.list(&format!("{prefix}.Value")) })
            .collect()
    }

    /// `MaxResults` (Auto Scaling: `MaxRecords`) and `NextToken`.
    pub(crate) fn page(&self, size: &str) -> Result<Page, ApiError> {
        Ok(Page { max_results: self.number(size)?, next_token: self.text("NextToken") })
    }

    /// Tags under a prefix: `Tag` or `TagSpecification.1.Tag`.
    pub(crate) fn tags(&self, prefix: &str) -> Tags {
        self.elements(prefix, "Key").map(|prefix| (self.part(&prefix, "Key"), self.part(&prefix, "Value"))).collect()
    }

    /// Tags of which some may have no value: DeleteTags.
    pub(crate) fn tags_or_keys(&self) -> BTreeMap<String, Option<String>> {
        self.elements("Tag", "Key")
            .map(|prefix| (self.part(&prefix, "Key"), self.text(&format!("{prefix}.Value"))))
            .collect()
    }

    pub(crate) fn tag_specifications(&self) -> Vec<TagSpecification> {
        self.elements("TagSpecification", "ResourceType")
            .map(|prefix| TagSpecification {
                resource_type: self.part(&prefix, "ResourceType"),
                tags: self.tags(&format!("{prefix}.Tag")),
            })
            .collect()
    }

    /// `BlockDeviceMapping.N` of RunInstances.
    pub(crate) fn new_block_devices(&self) -> Result<Vec<NewBlockDevice>, ApiError> {
        self.elements("BlockDeviceMapping", "DeviceName")
            .map(|prefix| {
                let ebs = |field: &str| format!("{prefix}.Ebs.{field}");
                Ok(NewBlockDevice {
                    device_name: self.part(&prefix, "DeviceName"),
                    snapshot_id: self.id(&ebs("SnapshotId")),
                    volume_size: self.number(&ebs("VolumeSize"))?,
                    volume_type: self.text(&ebs("VolumeType")),
                    iops: self.number(&ebs("Iops"))?,
                    throughput: self.number(&ebs("Throughput"))?,
                    encrypted: self.boolean(&ebs("Encrypted"))?,
                    kms_key_id: self.text(&ebs("KmsKeyId")),
                    delete_on_termination: self.boolean(&ebs("DeleteOnTermination"))?,
                })
            })
            .collect()
    }

    /// `BlockDeviceMapping.N.DeviceName` and its `Ebs.DeleteOnTermination`.
    pub(crate) fn delete_on_termination(&self) -> Result<BTreeMap<String, bool>, ApiError> {
        self.elements("BlockDeviceMapping", "DeviceName")
            .map(|prefix| {
                let delete = self.flag(&format!("{prefix}.Ebs.DeleteOnTermination"))?;
                Ok((self.part(&prefix, "DeviceName"), delete))
            })
            .collect()
    }
}
