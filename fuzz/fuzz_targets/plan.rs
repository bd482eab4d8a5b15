//! Plan files: a plan that is read keeps its hash when it is written and read again, else a run of it could not go on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rehome_model::format;
use rehome_model::plan::Plan;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(plan) = serde_json::from_slice::<Plan>(bytes) {
        let _ = plan.format.check(format::PLAN);
        let written = serde_json::to_vec(&plan).expect("a plan can be written");
        let again: Plan = serde_json::from_slice(&written).expect("and read again");
        assert_eq!(plan.hash(), again.hash());
    }
});
