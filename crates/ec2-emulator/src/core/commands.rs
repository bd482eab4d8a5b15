//! SSM's commands: what Run Command remembers of scripts in instances. Running them is a face's part.

use std::collections::BTreeMap;

use rehome_model::ids::InstanceId;
use serde::{Deserialize, Serialize, Serializer};

use crate::api::{ApiError, Caller, Service};
use crate::disks::Disks;

use super::faults::Effect;
use super::handle::{Answer, Call};
use super::state::Core;
use super::timing::Millis;

/// The most invocations that are remembered; SSM forgets them after 30 days.
const REMEMBERED: usize = 10_000;
/// The newest that have ended are saved: so many, with so much output. The state is written at every call.
const SAVED: usize = 200;
const SAVED_BYTES: usize = 256 * 1024;

/// How a script in an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandState {
    /// It runs.
    InProgress,
    /// Exit code 0.
    Success,
    /// Another exit code.
    Failed,
    /// It could not be handed to the agent.
    Undeliverable,
    /// Its limit was over.
    TimedOut,
}

/// A script in an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    /// How it stands.
    pub state: CommandState,
    /// -1 while there is none.
    pub exit_code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// From when on it counts as timed out, whatever becomes of it: a fault.
    pub given_up_at: Option<Millis>,
    /// Characters of each output that are shown: a fault.
    pub cut: Option<usize>,
}

impl Invocation {
    /// One that has begun.
    pub fn running() -> Self {
        Self::ended(CommandState::InProgress, -1, String::new(), String::new())
    }

    /// One that has ended.
    pub fn ended(state: CommandState, exit_code: i32, stdout: String, stderr: String) -> Self {
        Self { state, exit_code, stdout, stderr, given_up_at: None, cut: None }
    }

    fn bytes(&self) -> usize {
        self.stdout.len() + self.stderr.len()
    }

    /// As SSM shows it at a time.
    fn shown(&self, now: Millis, cut: Option<usize>) -> Self {
        if self.given_up_at.is_some_and(|at| at <= now) {
            return Self { state: CommandState::TimedOut, ..Self::running() };
        }
        let most = self.cut.into_iter().chain(cut).min();
        let first = |text: &str| most.map_or_else(|| text.to_owned(), |most| text.chars().take(most).collect());
        Self { stdout: first(&self.stdout), stderr: first(&self.stderr), ..self.clone() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    command: String,
    instance: InstanceId,
    invocation: Invocation,
}

/// All commands that SSM remembers, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Commands {
    sent: u64,
    #[serde(serialize_with = "newest")]
    entries: BTreeMap<u64, Entry>,
}

/// The state holds the newest that have ended. What runs, runs in a process of the emulator's: one that is started again
/// knows nothing of its end, and says so by not knowing the command.
fn newest<S: Serializer>(entries: &BTreeMap<u64, Entry>, serializer: S) -> Result<S::Ok, S::Error> {
    let (mut count, mut bytes) = (0, 0);
    let ended = entries.iter().rev().filter(|(_, entry)| entry.invocation.state != CommandState::InProgress);
    let kept = ended.filter(|(_, entry)| {
        count += 1;
        bytes += entry.invocation.bytes();
        count <= SAVED && bytes <= SAVED_BYTES
    });
    serializer.collect_map(kept)
}

impl Commands {
    /// Notes that a script began in an instance.
    pub(crate) fn begin(&mut self, command: &str, instance: &InstanceId, invocation: Invocation) {
        self.sent += 1;
        let entry = Entry { command: command.to_owned(), instance: instance.clone(), invocation };
        self.entries.insert(self.sent, entry);
        while self.entries.len() > REMEMBERED {
            self.entries.pop_first();
        }
    }

    /// Notes how a script ended.
    pub fn end(&mut self, command: &str, instance: &InstanceId, ended: Invocation) {
        if let Some(entry) = self.find(command, instance) {
            let Invocation { given_up_at, cut, .. } = entry.invocation;
            entry.invocation = Invocation { given_up_at, cut, ..ended };
        }
    }

    /// One invocation, as it is.
    pub fn get(&self, command: &str, instance: &InstanceId) -> Option<&Invocation> {
        let mut newest = self.entries.values().rev();
        newest.find(|entry| entry.command == command && entry.instance == *instance).map(|entry| &entry.invocation)
    }

    fn find(&mut self, command: &str, instance: &InstanceId) -> Option<&mut Entry> {
        let mut newest = self.entries.values_mut().rev();
        newest.find(|entry| entry.command == command && entry.instance == *instance)
    }
}

/// A call of SSM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SsmAction {
    /// A script for these instances. What is answered is which instances have an agent.
    SendCommand {
        /// The id it will have.
        command: String,
        /// Instances.
        instances: Vec<InstanceId>,
    },
    /// How a script stands.
    GetCommandInvocation {
        /// Command.
        command: String,
        /// Instance.
        instance: InstanceId,
    },
    /// Which instances have an agent, of those named, or of all.
    DescribeInstanceInformation {
        /// Instances.
        instances: Vec<InstanceId>,
    },
}

impl SsmAction {
    /// SSM's name of it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SendCommand { .. } => "SendCommand",
            Self::GetCommandInvocation { .. } => "GetCommandInvocation",
            Self::DescribeInstanceInformation { .. } => "DescribeInstanceInformation",
        }
    }

    fn instances(&self) -> &[InstanceId] {
        match self {
            Self::SendCommand { instances, .. } | Self::DescribeInstanceInformation { instances } => instances,
            Self::GetCommandInvocation { instance, .. } => std::slice::from_ref(instance),
        }
    }
}

/// What SSM answers, as far as the core knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SsmReply {
    /// The script may begin: the face runs it, and tells its end by [`Commands::end`].
    Sent,
    /// How it stands.
    Invocation(Invocation),
    /// Instances that run; whether their agents answer is for the face to find out.
    Online(Vec<InstanceId>),
}

impl Core {
    /// Carries out a call of SSM at a time.
    pub fn handle_ssm(
        &mut self,
        now: Millis,
        caller: &Caller,
        disks: &mut dyn Disks,
        action: &SsmAction,
    ) -> Answer<SsmReply> {
        self.advance(now, disks);
        let now = self.now;
        let ids = action.instances().iter().map(InstanceId::as_str).collect::<Vec<_>>();
        let call = Call::by_itself(now, action.name());
        let answer = self.answered(call, caller, disks, Service::Ssm, &ids, |core, _, _, effect| {
            core.perform_ssm(now, action, effect.as_ref())
        });
        self.advance(now, disks);
        answer
    }

    fn perform_ssm(&mut self, now: Millis, action: &SsmAction, effect: Option<&Effect>) -> Result<SsmReply, ApiError> {
        let agents = !matches!(effect, Some(Effect::AgentGone));
        let cut = match effect {
            Some(Effect::CutOutput(characters)) => Some(*characters),
            _ => None,
        };
        match action {
            SsmAction::SendCommand { command, instances } => {
                if let Some(down) = instances.iter().find(|id| !agents || !self.is_online(id)) {
                    let message = format!("Instances {down} not in a valid state for account");
                    return Err(ApiError::new("InvalidInstanceId", message));
                }
                let given_up_at = match effect {
                    Some(Effect::CommandTimesOutMs(ms)) => Some(now + ms),
                    _ => None,
                };
                for instance in instances {
                    self.commands.begin(command, instance, Invocation { given_up_at, cut, ..Invocation::running() });
                }
                Ok(SsmReply::Sent)
            }
            SsmAction::GetCommandInvocation { command, instance } => {
                let found = self.commands.get(command, instance);
                let found = found.ok_or_else(|| ApiError::new("InvocationDoesNotExist", ""))?;
                Ok(SsmReply::Invocation(found.shown(now, cut)))
            }
            SsmAction::DescribeInstanceInformation { instances } => {
                let asked = |id: &&InstanceId| instances.is_empty() || instances.contains(id);
                let online = self.instances.keys().filter(|id| agents && self.is_online(id)).filter(asked);
                Ok(SsmReply::Online(online.cloned().collect()))
            }
        }
    }
}
