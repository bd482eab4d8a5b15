//! The profile.

use std::collections::BTreeMap;

use rehome_model::answer::{MemberIdentity, MemberView};
use rehome_model::cluster::{ContainerReport, EnvValue, StatefulSetReport};
use rehome_model::task::{HostAnswer, HostTask, IS_BUSY, PodTask, ReturnedVolume};

use super::{answers, archive, identity, image, nodetool};
use crate::profile::{AnswerError, Gate, Profile, ProfileLimits, ScriptContext, SetConfiguration, image_tag};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Cassandra;

pub(crate) const NAME: &str = "cassandra";
const LIB: &str = include_str!("scripts/lib.sh");
const SURVEY: &str = include_str!("scripts/survey.sh");
const YAML: &str = include_str!("scripts/yaml.sh");
const DIRECTORIES: &str = include_str!("scripts/directories.sh");
const STOP: &str = include_str!("scripts/stop.sh");
const START: &str = include_str!("scripts/start.sh");
const VIEW: &str = include_str!("scripts/view.sh");
const MOUNTS: &str = include_str!("scripts/mounts.sh");
const TAKE_BACK: &str = include_str!("scripts/take_back.sh");

/// Characters of base64 in one part of an answer: SSM cuts output at 24,000.
const PART_CHARS: usize = 20_000;
/// The longest view, in characters, that comes with all else that a survey's script prints: that of some 300 members. A
/// longer one is asked for by itself. What a pod prints is not cut.
const VIEW_IN_SURVEY_CHARS: usize = 12_000;

/// Settings of a migration, with their defaults.
const SETTINGS: &[(&str, &str, &str)] = &[
    ("unit", "UNIT", "cassandra.service"),
    ("configFile", "CONF", "/etc/cassandra/cassandra.yaml"),
    ("dataDirectory", "DATA", "/var/lib/cassandra/data"),
];

/// Quotes for a POSIX shell.
pub(super) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn preamble(task: &HostTask, context: &ScriptContext<'_>) -> String {
    let run = context.run.map_or("survey", |run| run.as_str());
    let step = context.step.map_or("-", |step| step.as_str());
    // In a comment nothing is quoted: a line that ended there would be run.
    let words = |text: &str| text.replace(|c: char| c.is_control(), "?");
    let mut text = format!("# rehome {} run {} step {}\n", task.name(), words(run), words(step));
    for (setting, variable, default) in SETTINGS {
        let value = context.settings.get(*setting).map_or(*default, String::as_str);
        text.push_str(&format!("{variable}={}\n", quote(value)));
    }
    text.push_str(&format!("RUN={}\n", quote(run)));
    text.push_str(&format!("MOUNTS={}\n", quote(&context.mount_paths.join(" "))));
    text.push_str(LIB);
    text.push_str(&nodetool::function(context.settings.get(nodetool::ON_HOSTS)));
    if !matches!(task, HostTask::Survey | HostTask::View { .. } | HostTask::ReadIdentity { .. }) {
        text.push_str(&format!("TASK={}\nLOCK_S={LOCK_S}\n", quote(task.name())));
        text.push_str(LOCK);
    }
    // A script of no run has no direction.
    if context.run.is_some() {
        text.push_str(match task {
            HostTask::Flush | HostTask::StopService | HostTask::Unmount { .. } => TOO_LATE,
            HostTask::Mount { .. } | HostTask::TakeBack { .. } | HostTask::StartService => TAKES_BACK,
            HostTask::Survey | HostTask::View { .. } | HostTask::ReadIdentity { .. } => "",
        });
    }
    text
}

/// A driver that stood still sends its script when it wakes, and may find its run taken back: the member must stay in
/// service (invariant I10). What takes the run back leaves a word on the host; no script goes forward after it.
const TAKES_BACK: &str = "
leave taken-back \"$TASK\"
";
const TOO_LATE: &str = "
for word in /var/lib/rehome \"$OWN\"; do
  [ ! -e \"$word/$RUN.taken-back\" ] || fail \"run $RUN was taken back here: this script comes too late, nothing is done\"
done
";

/// One script of rehome at a time: a stop whose driver died goes on, and the start that takes it back must come after.
///
/// In a directory that only root enters: whoever can open a file can lock it (flock(2)), and in one that all may write to
/// (/run/lock, on Debian) another user's file of the name is refused even to root (fs.protected_regular, proc_sys_fs(5)). An
/// older build locks /run/lock/rehome. That is not waited for, since any user may hold it: who changes the build in the
/// midst of a run sees to it that no script of the older one runs any more.
const LOCK: &str = "
command -v flock >/dev/null || fail 'flock is not in PATH: it is part of util-linux'
OWN=/run/rehome
own() { mkdir -p -m 700 \"$1\" && [ ! -L \"$1\" ] && [ -O \"$1\" ] && chmod 700 \"$1\"; }
own \"$OWN\" || fail \"$OWN is not a directory of root's own: scripts run as root, and nobody else makes it\"
touch \"$OWN/lock\" || fail \"$OWN cannot be written\"
exec 9>>\"$OWN/lock\"
flock -w \"$LOCK_S\" 9 || {
  # Its shell may have been killed, and what it began goes on.
  exec 9>&-
  open=$(holders \"$OWN/lock\" | head -n 5 | tr '\\n' ';')
  fail \"another script of rehome is not at its end here after $LOCK_S s: $(cat \"$OWN/lock\"), its lock is open in: ${open:-?}\"
}
echo \"process $$, $TASK of run $RUN\" > \"$OWN/lock\"
# leave NAME TEXT: the run's word for scripts that come later. On the root volume, since it must outlast a restart; if that is
# full, until the next one.
leave() {
  for words in /var/lib/rehome \"$OWN\"; do
    { own \"$words\" && echo \"$2\" > \"$words/$RUN.$1\"; } 2>/dev/null && return
  done
  fail 'neither /var/lib nor /run can be written'
}
";
/// How long a script waits for another. Less than any script may take, so that it says itself for whom it waited.
const LOCK_S: u32 = 300;

fn body(task: &HostTask) -> String {
    match task {
        HostTask::Survey => format!(
            "{YAML}{DIRECTORIES}{SURVEY}
if view=$( (
{VIEW}) 2>&1 ); then
  text=$(printf '%s\\n' \"$view\" | lasting | packed)
  if [ \"${{#text}}\" -le {VIEW_IN_SURVEY_CHARS} ]; then section view; printf '%s\\n' \"$text\"; else section longview; fi
else section noview; printf '%s\\n' \"$view\" | grep -v '^@@' | tail -n 3; fi
exit 0
"
        ),
        HostTask::View { part } => format!(
            "view=$(
{VIEW}) || exit 1
part {part} {PART_CHARS} \"$(printf '%s\\n' \"$view\" | lasting | packed)\"
"
        ),
        HostTask::Flush => "nodetool flush || fail 'nodetool flush failed'\nsync\ndone_\n".to_owned(),
        HostTask::StopService => format!("{YAML}{DIRECTORIES}{STOP}done_\n"),
        HostTask::ReadIdentity { part } => format!(
            "{YAML}
dir=$(system_dir)
case $dir in /*) ;; *) dir=$DATA ;; esac
cd \"$dir\" || fail \"$dir is not there\"
ls system/local-*/*-Data.db >/dev/null 2>&1 || fail \"no system.local in $dir\"
part {part} {PART_CHARS} \"$(tar -cf - --exclude=snapshots --exclude=backups system/local-* system/peers_v2-* 2>/dev/null | packed)\"
"
        ),
        HostTask::Unmount { mount_points } => {
            let mut text = format!("{MOUNTS}IS_BUSY={}\nsync\n", quote(IS_BUSY));
            for point in outer_first(mount_points).iter().rev() {
                text.push_str(&format!("detach {}\n", quote(point)));
            }
            text + "done_\n"
        }
        HostTask::Mount { mount_points } => {
            let mut text = MOUNTS.to_owned();
            for point in outer_first(mount_points) {
                text.push_str(&format!("attach {}\n", quote(point)));
            }
            text + "done_\n"
        }
        HostTask::TakeBack { volumes } => {
            let mut text = format!("{MOUNTS}{TAKE_BACK}");
            for ReturnedVolume { mount_point, volume, device, top, files } in volumes {
                let (point, volume) = (quote(mount_point), quote(volume.as_str()));
                text.push_str(&format!(
                    "take_back {point} {volume} {} {} {}:{} {}\n",
                    files.uid,
                    files.gid,
                    top.uid,
                    top.gid,
                    quote(device.as_deref().unwrap_or_default())
                ));
            }
            text + "done_\n"
        }
        HostTask::StartService => format!("{START}done_\n"),
    }
}

/// A mount point may be inside another's, whatever the order in the migration file.
fn outer_first(mount_points: &[String]) -> Vec<&String> {
    let mut sorted: Vec<&String> = mount_points.iter().collect();
    sorted.sort();
    sorted
}

fn error(what: &str, reason: String) -> AnswerError {
    AnswerError { profile: NAME, what: what.to_owned(), reason }
}

impl Profile for Cassandra {
    fn name(&self) -> &'static str {
        NAME
    }

    fn settings(&self) -> Vec<&'static str> {
        SETTINGS.iter().map(|(setting, _, _)| *setting).chain([nodetool::ON_HOSTS, nodetool::IN_PODS]).collect()
    }

    fn check_setting(&self, name: &str, value: &str) -> Result<(), String> {
        if [nodetool::ON_HOSTS, nodetool::IN_PODS].contains(&name) { nodetool::check(value) } else { Ok(()) }
    }

    fn host_script(&self, task: &HostTask, context: &ScriptContext<'_>) -> String {
        preamble(task, context) + &body(task)
    }

    fn read_host_answer(&self, task: &HostTask, stdout: &str) -> Result<HostAnswer, AnswerError> {
        if *task == HostTask::Survey {
            let report = answers::report(stdout).map_err(|reason| error("survey", reason))?;
            return Ok(HostAnswer::Report(Box::new(report)));
        }
        let last = stdout.trim().lines().last().unwrap_or_default();
        serde_json::from_str(last).map_err(|parse| error(task.name(), parse.to_string()))
    }

    fn pod_script(&self, task: &PodTask, settings: &BTreeMap<String, String>) -> String {
        let function = nodetool::function(settings.get(nodetool::IN_PODS));
        let body = match task {
            PodTask::View => format!("fail() {{ echo \"$*\" >&2; exit 1; }}\n{VIEW}"),
            PodTask::Open => "nodetool enablebinary".to_owned(),
            PodTask::Close => "nodetool disablebinary".to_owned(),
            // Of a node that is drained already it says so in its log, and ends well (StorageService.drain).
            PodTask::Drain => "nodetool drain".to_owned(),
        };
        function + &body
    }

    fn read_pod_view(&self, stdout: &str) -> Result<MemberView, AnswerError> {
        answers::view(stdout).map_err(|reason| error("nodetool", reason))
    }

    fn host_view(&self, packed: &[u8]) -> Result<MemberView, AnswerError> {
        let text = archive::unpacked(packed).map_err(|reason| error("nodetool", reason))?;
        answers::view(&text).map_err(|reason| error("nodetool", reason))
    }

    fn disk_identity(&self, archive: &[u8]) -> Result<MemberIdentity, AnswerError> {
        let files = archive::unpack(archive).map_err(|reason| error("the archive of system.local", reason))?;
        let found = identity(&files).map_err(|reason| error("system.local", reason.to_string()))?;
        if found.bootstrapped.as_deref() != Some("COMPLETED") {
            return Err(error(
                "system.local",
                format!("bootstrapped is {:?}: it never finished joining", found.bootstrapped),
            ));
        }
        let tokens: Vec<String> = found.tokens.iter().map(ToString::to_string).collect();
        Ok(MemberIdentity {
            id: found.host_id,
            cluster: found.cluster_name,
            version: found.release_version,
            attributes: [
                ("data_center".to_owned(), found.data_center),
                ("rack".to_owned(), found.rack),
                ("tokens".to_owned(), tokens.join(",")),
                ("partitioner".to_owned(), found.partitioner),
            ]
            .into(),
        })
    }

    fn gate(&self) -> Gate {
        Gate { variable: "JVM_EXTRA_OPTS", closed: "-Dcassandra.start_native_transport=false", open: "" }
    }

    fn limits(&self) -> ProfileLimits {
        ProfileLimits { flush_s: 900, stop_s: 900, member_up_s: 1800 }
    }

    fn needs_parallel_start(&self) -> bool {
        true
    }

    fn usual_settings(&self) -> &'static [(&'static str, &'static str)] {
        &image::SETTINGS
    }

    fn set_configuration(
        &self,
        set: &StatefulSetReport,
        container: &ContainerReport,
        settings: &BTreeMap<String, String>,
    ) -> SetConfiguration {
        let known = |name: &str| container.env.get(name).and_then(EnvValue::known).map(str::to_owned);
        let mut configuration = SetConfiguration { container: container.name.clone(), ..SetConfiguration::default() };
        for (variable, attribute) in [
            ("CASSANDRA_CLUSTER_NAME", "cluster"),
            ("CASSANDRA_DC", "data_center"),
            ("CASSANDRA_RACK", "rack"),
            ("CASSANDRA_NUM_TOKENS", "token_count"),
        ] {
            if let Some(value) = known(variable) {
                configuration.attributes.insert(attribute.to_owned(), value);
            }
        }
        configuration.version = image_tag(&container.image);
        configuration.opening_fault = configuration.version.as_deref().and_then(image::opening_fault);
        configuration.question_refused = nodetool::refused(known("LOCAL_JMX").as_deref(), settings);
        configuration.uid = container.run_as_user.or(set.run_as_user);
        configuration.takes_files_over_as = image::takes_files_over_as(&container.image, configuration.uid);
        configuration.readiness_needs_clients = image::needs_clients(container.readiness.as_deref());
        configuration.closed_is_ended_by = [("liveness", &container.liveness), ("startup", &container.startup)]
            .into_iter()
            .find_map(|(kind, probe)| image::needs_clients(probe.as_deref()).then_some(kind));
        image::defaults(container, &mut configuration);
        configuration.unknown_attributes = image::unknown_attributes(&configuration);
        let seeds = known("CASSANDRA_SEEDS").unwrap_or_default();
        configuration.addresses = seeds.split(',').filter(|seed| !seed.is_empty()).map(str::to_owned).collect();
        configuration
    }
}
