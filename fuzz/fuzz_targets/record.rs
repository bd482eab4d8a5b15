//! Run records: headers and the steps of a member, as ConfigMaps hold them.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use rehome_model::format;
use rehome_model::ids::StepId;
use rehome_model::record::{RunHeader, StepRecord};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = serde_json::from_slice::<RunHeader>(bytes) {
        let _ = header.format.check(format::RUN);
        let written = serde_json::to_vec(&header).expect("a header can be written");
        let again: RunHeader = serde_json::from_slice(&written).expect("and read again");
        assert_eq!(header, again);
    }
    if let Ok(steps) = serde_json::from_slice::<BTreeMap<StepId, StepRecord>>(bytes) {
        let written = serde_json::to_vec(&steps).expect("steps can be written");
        let again: BTreeMap<StepId, StepRecord> = serde_json::from_slice(&written).expect("and read again");
        assert_eq!(steps, again);
    }
});
