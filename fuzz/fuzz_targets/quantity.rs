//! Kubernetes' quantities: read or refused; what is read is no more than the largest that a claim can have by far, and
//! reading does not depend on spaces that Kubernetes refuses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rehome_model::quantity;

fuzz_target!(|text: &str| {
    if let Ok(bytes) = quantity::bytes(text) {
        // A plain number of the same bytes is the same quantity.
        assert_eq!(quantity::bytes(&bytes.to_string()), Ok(bytes), "{text:?}");
        assert!(!text.contains(char::is_whitespace), "{text:?}");
    }
});
