//! `emulate`.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Result;
use rehome_ec2_emulator::core::{Config, Core, Rule};
use rehome_ec2_emulator::face::{Emulator, StateFile};
use rehome_ec2_emulator::host::{Devices, Guests, HostDisks};
use rehome_ec2_emulator::wire::{self, Transcript};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::EmulateEc2;
use crate::exit::{Exit, problem};
use crate::output::{esay, say};

/// Where udev links the disks of this machine.
const BY_ID: &str = "/dev/disk/by-id";

/// Serves EC2 until it is interrupted.
pub async fn ec2(options: &EmulateEc2) -> Result<Exit> {
    let state = &options.state;
    let unusable = |error: String| problem(Exit::Usage, error, "give --state a directory that this user can write to");
    let faults = faults(options)?;
    let devices = if options.devices { Devices::Loop { links: BY_ID.into() } } else { Devices::None };
    let guests = options.guests.as_ref().map(Guests::new);
    let mut disks = HostDisks::open(state, devices, guests.clone())
        .map_err(|error| unusable(format!("{}: {error}", state.display())))?;
    let file = StateFile::new(state.join("account.json"));
    let core = file.load().map_err(|error| problem(Exit::Usage, error.to_string(), "nothing was changed"))?;
    let mut core = core.unwrap_or_else(|| Core::new(config(options)));
    let now = u64::try_from(UNIX_EPOCH.elapsed().unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
    if let Some((path, rules)) = faults {
        core.faults.resume(now, rules).map_err(|wrong| unusable_faults(path, &wrong.join("\n  ")))?;
    }
    disks
        .restore()
        .map_err(|error| problem(Exit::Failed, error.to_string(), "look at `losetup --list`; devices need root"))?;
    let emulator = Emulator::on(core, disks, now, Duration::ZERO)
        .saved_in(file)
        .map_err(|error| unusable(format!("{}: {error}", state.display())))?;
    let transcript = transcript(options)
        .map_err(|error| problem(Exit::Usage, error.to_string(), "give --transcript a file that can be written"))?;
    let listener = TcpListener::bind((options.address, options.port)).await.map_err(|error| {
        let place = format!("{}:{}", options.address, options.port);
        problem(Exit::Usage, format!("{place}: {error}"), "give --port one that is free")
    })?;
    let url = format!("http://{}", listener.local_addr()?);
    say!("{url}")?;
    esay!("serving EC2 at {url}, state in {}; Ctrl-C ends it", Path::new(state).display());
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = wire::serve_noting(listener, emulator.clone(), guests, transcript) => ended?,
        error = wire::keep_time(&emulator) => return Err(error.into()),
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminated.recv() => {}
    }
    Ok(Exit::Ok)
}

/// The rules of `--faults`, and where they are from. Nothing is served with a file that is wrong.
fn faults(options: &EmulateEc2) -> Result<Option<(&Path, Vec<Rule>)>> {
    let Some(path) = options.faults.as_deref() else { return Ok(None) };
    let text = std::fs::read_to_string(path).map_err(|error| unusable_faults(path, &error.to_string()))?;
    let rules = wire::parse_faults(&text).map_err(|error| unusable_faults(path, &error))?;
    Ok(Some((path, rules)))
}

fn unusable_faults(path: &Path, error: &str) -> anyhow::Error {
    problem(Exit::Usage, format!("{}: {error}", path.display()), "docs/emulator.md has the form; nothing was changed")
}

fn transcript(options: &EmulateEc2) -> std::io::Result<Option<Transcript>> {
    options.transcript.as_ref().map_or_else(Transcript::from_environment, |path| Transcript::open(path).map(Some))
}

fn config(options: &EmulateEc2) -> Config {
    let default = Config::default();
    let (timing, consistency) =
        (default.timing.scaled(options.time_scale), default.consistency.scaled(options.time_scale));
    Config { seed: options.seed, timing, consistency, ..default }
}
