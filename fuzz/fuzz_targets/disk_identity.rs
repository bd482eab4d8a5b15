//! Archives of what is on a captured disk: a tar with SSTables in it. It is compressed here, since no fuzzer would guess a
//! checksum of gzip's.
#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|tar: &[u8]| {
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    zipped.write_all(tar).expect("memory");
    let archive = zipped.finish().expect("memory");
    for name in rehome_profiles::names() {
        let profile = rehome_profiles::find(name).expect("it is there by its name");
        let _ = profile.disk_identity(&archive);
    }
});
