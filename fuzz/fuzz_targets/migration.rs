//! Migration files: errors are told, and what is read means the same when it is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rehome_model::migration::Migration;

fuzz_target!(|text: &str| {
    match serde_saphyr::from_str::<Migration>(text) {
        Ok(migration) => {
            let written = serde_json::to_string(&migration).expect("a migration can be written");
            let again: Migration = serde_saphyr::from_str(&written).expect("and read again");
            assert_eq!(migration, again);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
