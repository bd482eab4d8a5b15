//! `cargo xtask lab soak`: moves there and back, killed at random instants, under a client that keeps a ledger.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::calls::{self, kept, rehome_command};
use super::command::{mortal, tail};
use super::hammer::{self, Hammer, Where};
use super::layout::state;
use super::story;
use super::{Up, cloud, process};
use crate::cargo;
use crate::evidence::{self, Ledger};

/// A driver lives so long at most before it is killed.
const LONGEST_LIFE: Duration = Duration::from_secs(24);
/// Every so many kills a part of the lab is killed and started again as well.
const PART_EVERY: u64 = 8;
const PARTS: [&str; 4] = ["kube-apiserver", "etcd", cloud::EMULATOR, "node-1-kubelet"];
/// Exit codes of rehome's after which the same command goes on.
const PUT_BACK: i32 = 1;
const UNREACHABLE: i32 = 4;
const STUCK: i32 = 5;
const INTERRUPTED: i32 = 6;
/// How often a verb may be started until it has to be done.
const STARTS: u32 = 150;
const LOOK: Duration = Duration::from_millis(20);
/// What the account does to everybody's calls meanwhile: replies are lost after the effect, or late; calls are refused as too
/// many; what a describe shows is old.
const FAULTS: &str = "faults:
- {name: lost, action: '*', calls: {chance: {percent: 2, seed: 1}}, effect: noReply}
- {name: late, action: '*', calls: {chance: {percent: 2, seed: 2}}, effect: {delayMs: 3000}}
- {name: throttled, action: '*', calls: {chance: {percent: 3, seed: 3}}, effect: throttle}
- {name: stale, action: 'Describe*', calls: {chance: {percent: 5, seed: 4}}, effect: {staleMs: 5000}}
";

/// What was seen of one move there and back.
#[derive(Default)]
struct Seen {
    kills: u64,
    restarts: u64,
    faults: u64,
    put_back: u64,
    stuck: u64,
    acknowledged: u64,
}

/// Moves there and back until so many drivers were killed; what each was seen to be is added to the evidence as it ends.
pub fn soak(options: &Up, kills: u64, seed: u64) -> Result<()> {
    let commit = evidence::commit()?;
    // The lab may have come up with an older one. A rename: the emulator runs from the file that is there.
    let fresh = state("bin/rehome.new");
    fs::copy(cargo::rehome()?, &fresh)?;
    fs::rename(&fresh, state("bin/rehome"))?;
    let mut dice = Dice(seed);
    let mut killed = 0;
    calls::proof(&["before"])?;
    for round in 0.. {
        let seen = there_and_back(options, round, killed, &mut dice)?;
        killed += seen.kills;
        let result = json!({
            "round": round, "kills": seen.kills, "parts_restarted": seen.restarts, "faults_of_the_account": seen.faults,
            "put_back": seen.put_back, "stuck": seen.stuck, "acknowledged": seen.acknowledged, "lost": 0,
        });
        println!("{killed:5} kills: and back");
        Ledger::Lab.append(&commit, &format!("cargo xtask lab soak --kills {kills} --seed {seed}"), &result)?;
        if killed >= kills {
            break;
        }
    }
    Ok(())
}

/// One move and its way back, under a client that writes and drivers that are killed. That a write is lost is an error.
fn there_and_back(options: &Up, round: u32, killed: u64, dice: &mut Dice) -> Result<Seen> {
    let mut seen = Seen::default();
    cloud::faults("PUT", FAULTS)?;
    let name = format!("soak-{round}");
    let client = Hammer::start(&name, 2, Duration::from_millis(20))?;
    to_its_end(&["apply", "--yes"], dice, &mut seen)?;
    seen.faults += fired()?;
    client.wait_for_writes()?;
    println!("{:5} kills: moved; {}", killed + seen.kills, client.stop()?);
    calls::proof_quietly(&["adopted"])?;
    seen.acknowledged = hammer::verify(&name, None, Where::Pods)?;
    cloud::faults("PUT", FAULTS)?;
    to_its_end(&["rollback", "--discard-writes", "--yes"], dice, &mut seen)?;
    seen.faults += fired()?;
    calls::proof_quietly(&["rolled-back"])?;
    hammer::verify(&name, Some(hammer::cutover(&name)?), Where::Legacy)?;
    story::check_rows(options.rows, &story::legacy_addresses())?;
    Ok(seen)
}

/// How many calls met a fault; from here on none does, so that foreign clients see the account as it is.
fn fired() -> Result<u64> {
    let told: Value = serde_json::from_str(&cloud::faults("GET", "")?).context("the emulator's faults")?;
    cloud::faults("DELETE", "")?;
    let rules = told["faults"].as_array().context("the emulator tells no faults")?;
    Ok(rules.iter().filter_map(|rule| rule["fired"].as_u64()).sum())
}

/// Starts a verb again and again, each driver killed with -9 after a random time, until one ends by itself.
fn to_its_end(words: &[&str], dice: &mut Dice, seen: &mut Seen) -> Result<()> {
    let verb = words[0];
    for _ in 0..STARTS {
        let log = kept("soak.log");
        let mut command = mortal(&rehome_command(words)?);
        command
            .stdin(Stdio::null())
            .stdout(fs::File::create(&log)?)
            .stderr(fs::File::options().append(true).open(&log)?);
        let mut child = command.spawn().with_context(|| format!("rehome {verb}"))?;
        let life = LONGEST_LIFE.mul_f64(dice.roll());
        let started = Instant::now();
        let ended = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if started.elapsed() >= life {
                child.kill()?;
                child.wait()?;
                break None;
            }
            std::thread::sleep(LOOK);
        };
        match ended {
            Some(status) if status.success() => return Ok(()),
            Some(status) => {
                println!("          {verb} ended with {status}: {}", tail(&log, 3));
                match status.code() {
                    Some(PUT_BACK) => seen.put_back += 1,
                    Some(STUCK) => seen.stuck += 1,
                    Some(UNREACHABLE | INTERRUPTED) => {}
                    _ => bail!("{verb} ended with {status} after {} kills: {}", seen.kills, tail(&log, 25)),
                }
                continue;
            }
            None => seen.kills += 1,
        }
        if seen.kills.is_multiple_of(PART_EVERY) {
            let part = PARTS[dice.below(PARTS.len())];
            println!("          killed and started again: {part}");
            process::restart(part)?;
            seen.restarts += 1;
        }
        // A quarter of the dead drivers' leases are waited out.
        if dice.roll() < 0.75 {
            // One that was killed before it had taken it leaves none.
            if let Err(error) = calls::give_lease_back() {
                println!("          the lease was not given back: {error:#}");
            }
        }
    }
    bail!("{verb} was not done after {STARTS} starts: {}", tail(&kept("soak.log"), 25))
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to 1.
    fn roll(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn dice_roll_the_same_for_the_same_seed_and_stay_inside() {
        let (mut one, mut other) = (Dice(7), Dice(7));
        for _ in 0..1000 {
            let roll = one.roll();
            assert!((0.0..1.0).contains(&roll) && roll.to_bits() == other.roll().to_bits());
        }
    }
}
