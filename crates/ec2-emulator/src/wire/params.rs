//! Form parameters of the Query protocol.

use std::collections::BTreeMap;

use rehome_model::cloud::Tags;

use crate::core::{ApiError, Filter};

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

    pub(crate) fn required(&self, name: &str) -> Result<String, ApiError> {
        self.get(name)
            .map(str::to_owned)
            .ok_or_else(|| ApiError::new("MissingParameter", format!("The request must contain the parameter {name}")))
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u32>, ApiError> {
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                ApiError::new("InvalidParameterValue", format!("Value ({text}) for parameter {name} is invalid."))
            })
        };
        self.get(name).map(parse).transpose()
    }

    /// `VolumeId.1`, `VolumeId.2`, ...
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        (1..=LIST_MAX).map_while(|index| self.get(&format!("{name}.{index}")).map(str::to_owned)).collect()
    }

    /// Numbers of the elements of a list of structures, `Filter.1.Name` being one of element 1.
    fn elements<'a>(&'a self, name: &'a str, field: &'a str) -> impl Iterator<Item = String> + 'a {
        (1..=LIST_MAX)
            .map(move |index| format!("{name}.{index}"))
            .take_while(move |prefix| self.get(&format!("{prefix}.{field}")).is_some())
    }

    pub(crate) fn filters(&self) -> Vec<Filter> {
        self.elements("Filter", "Name")
            .map(|prefix| Filter {
                name: self.get(&format!("{prefix}.Name")).unwrap_or_default().to_owned(),
                values: self.list(&format!("{prefix}.Value")),
            })
            .collect()
    }

    /// Tags under a prefix: `Tag` or `TagSpecification.1.Tag`.
    pub(crate) fn tags(&self, prefix: &str) -> Tags {
        self.elements(prefix, "Key")
            .map(|prefix| {
                let part = |field: &str| self.get(&format!("{prefix}.{field}")).unwrap_or_default().to_owned();
                (part("Key"), part("Value"))
            })
            .collect()
    }

    /// `BlockDeviceMapping.N.DeviceName` and its `Ebs.DeleteOnTermination`.
    pub(crate) fn delete_on_termination(&self) -> BTreeMap<String, bool> {
        self.elements("BlockDeviceMapping", "DeviceName")
            .map(|prefix| {
                let device = self.get(&format!("{prefix}.DeviceName")).unwrap_or_default().to_owned();
                (device, self.flag(&format!("{prefix}.Ebs.DeleteOnTermination")))
            })
            .collect()
    }
}
