//! Forms as anybody may send them: each line of the input is one, carried out on an account that goes on over all of them.
//! Nothing may panic, and what a form stands for must not depend on anything but the form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rehome_ec2_emulator::core::{Config, Ec2};
use rehome_ec2_emulator::wire::parse_request;

fuzz_target!(|bytes: &[u8]| {
    let mut ec2 = Ec2::new(Config::immediate());
    let member = ec2.member(0, "db-0");
    let volume = ec2.core.instances[&member].block_devices[0].volume.to_string();
    for form in bytes.split(|byte| *byte == b'\n') {
        // Ids that are there, which no fuzzer would guess.
        let form = String::from_utf8_lossy(form).replace("INSTANCE", member.as_str()).replace("VOLUME", &volume);
        let parsed = parse_request(form.as_bytes());
        assert_eq!(parsed, parse_request(form.as_bytes()));
        if let Ok((action, _)) = parsed {
            let _ = action.resources();
            let _ = ec2.call(&action);
            ec2.pass(1_000);
        }
    }
});
