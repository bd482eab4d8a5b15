//! Faults as users write them: what is taken is shown in a form that is taken again, and no call panics under it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rehome_ec2_emulator::api::{Action, DescribeById};
use rehome_ec2_emulator::core::{Config, Ec2};
use rehome_ec2_emulator::wire::parse_faults;

fuzz_target!(|text: &str| {
    let Ok(rules) = parse_faults(text) else { return };
    let written = serde_json::json!({"faults": rules}).to_string();
    assert_eq!(parse_faults(&written).as_ref(), Ok(&rules));
    let mut ec2 = Ec2::new(Config::immediate());
    let member = ec2.member(0, "db-0");
    if ec2.core.faults.set(ec2.now, rules).is_ok() {
        for _ in 0..3 {
            let _ = ec2.call(&Action::DescribeInstances(DescribeById::ids([&member])));
            let _ = ec2.call(&Action::StartInstances(vec![member.clone()]));
            ec2.pass(1_000);
        }
    }
});
