//! Kubernetes' quantities: read or refused; what is read, and Kubernetes can hold, is the same quantity as a plain number of
//! its bytes, and has no spaces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rehome_model::quantity;

fuzz_target!(|text: &str| {
    if let Ok(bytes) = quantity::bytes(text) {
        // Kubernetes caps at 2^63-1.
        if bytes <= i64::MAX as u128 {
            assert_eq!(quantity::bytes(&bytes.to_string()), Ok(bytes), "{text:?}");
        }
        assert!(!text.contains(char::is_whitespace), "{text:?}");
    }
});
