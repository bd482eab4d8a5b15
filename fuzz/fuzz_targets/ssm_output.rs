//! What scripts printed, whole, cut, or something else altogether.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rehome_model::task::HostTask;

fuzz_target!(|text: &str| {
    for name in rehome_profiles::names() {
        let profile = rehome_profiles::find(name).expect("it is there by its name");
        for task in [HostTask::Survey, HostTask::View { part: 0 }, HostTask::StopService] {
            let _ = profile.read_host_answer(&task, text);
        }
        let _ = profile.read_pod_view(text);
        let _ = profile.host_view(text.as_bytes());
    }
});
