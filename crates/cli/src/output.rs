//! What people read: plans, findings, progress. Plain text that is good without colour.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write};

use rehome_model::event::{Event, EventKind};
use rehome_model::finding::{Finding, Severity};
use rehome_model::format::Format;
use rehome_model::plan::{Action, Plan, Step, Undo};
use rehome_model::record::{Phase, RunRecord, StepState};
use rehome_model::survey::Survey;

use crate::exit::{Exit, problem};

/// `print!` that ends in an error and not in a panic.
macro_rules! show {
    ($($text:tt)*) => { $crate::output::to_stdout(format_args!($($text)*)) };
}

/// `println!` of the same kind.
macro_rules! say {
    ($($text:tt)*) => { $crate::output::to_stdout(format_args!("{}\n", format_args!($($text)*))) };
}

/// `eprint!` that does not panic where standard error takes no more: what is driven goes on, and the exit code tells of it.
macro_rules! eshow {
    ($($text:tt)*) => { $crate::output::to_stderr(format_args!($($text)*)) };
}

/// `eprintln!` of the same kind.
macro_rules! esay {
    ($($text:tt)*) => { $crate::output::to_stderr(format_args!("{}\n", format_args!($($text)*))) };
}

pub(crate) use {esay, eshow, say, show};

/// Writes to standard error, if it takes it.
pub fn to_stderr(text: std::fmt::Arguments<'_>) {
    // There is nowhere left to say that it does not.
    let _ = write(anstream::stderr(), text);
}

/// Writes to standard output. A reader that is gone, as `head` is, has read what it wanted.
pub fn to_stdout(text: std::fmt::Arguments<'_>) -> anyhow::Result<()> {
    match write(anstream::stdout(), text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(problem(
            Exit::Failed,
            format!("standard output takes no more: {error}"),
            "what was to be shown is lost, and nothing else; show it once more where there is room",
        )),
        _ => Ok(()),
    }
}

/// All that people read goes through here, but for a run's events, which are lines of [`line()`], and what is logged.
fn write(mut to: impl Write, text: std::fmt::Arguments<'_>) -> std::io::Result<()> {
    to.write_all(shown(&text.to_string()).as_bytes())?;
    to.flush()
}

/// Whether a character moves the cursor, begins a sequence that a terminal obeys, or changes the order in which others are seen
/// (Unicode's bidirectional controls and separators of lines).
fn acts(c: char) -> bool {
    let of_order = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{61c}');
    c.is_control() || of_order
}

/// A text as people get it. What hosts, cluster and cloud say is in it: a file or a process may have a name that would hide
/// lines of a report, or write others.
pub fn shown(text: &str) -> String {
    text.replace(|c| acts(c) && c != '\n' && c != '\t', "\u{fffd}")
}

/// The same of what has one line.
fn one_line(text: &str) -> String {
    shown(text).replace(['\n', '\t'], " ")
}

/// JSON in which only white space acts. The value is the same: characters like these are in nothing but its strings.
pub fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if acts(c) && c != '\n' {
            // All are of the basic plane. Writing to a String cannot fail, here and below.
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    text
}

/// A document for programs: a format name, a version, and the value. A plan has the version of plans.
pub fn json(known: (&'static str, u32), value: impl serde::Serialize) -> anyhow::Result<String> {
    let document = serde_json::json!({"format": Format::current(known), "value": value});
    Ok(escaped(&serde_json::to_string_pretty(&document)?) + "\n")
}

/// A duration for people.
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The survey in a few lines.
pub fn survey(survey: &Survey) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "Survey of account {} in {}:", survey.caller.account, survey.caller.region);
    for member in &survey.members {
        let instance = &member.instance;
        let view = member.host.as_ref().and_then(|host| host.view.as_ref());
        let identity = view.map_or("(does not answer)", |view| view.identity.id.as_str());
        let state = instance.state;
        let _ = writeln!(text, "  {:<14} {} {} {state} {identity}", member.name, instance.id, instance.zone);
    }
    let ready = survey.cluster.nodes.iter().filter(|node| node.ready && node.schedulable).count();
    let _ = writeln!(
        text,
        "  cluster        {}, {ready} of {} nodes usable",
        survey.cluster.version,
        survey.cluster.nodes.len()
    );
    text
}

/// Findings, the worst first.
pub fn findings(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        let (subject, message) = (one_line(&finding.subject), one_line(&finding.message));
        let _ = writeln!(text, "{severity}[{}]: {subject}: {message}", finding.code);
        for evidence in finding.evidence.iter().filter(|line| !line.is_empty()) {
            let _ = writeln!(text, "  seen: {}", one_line(evidence));
        }
        if finding.severity != Severity::Info {
            let _ = writeln!(text, "  fix:  {}", finding.fix);
        }
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let _ = writeln!(text, "{errors} errors, {warnings} warnings, {} for information.", count(Severity::Info));
    text
}

/// The sign of a step: what it does to the world.
pub fn sign(step: &Step) -> &'static str {
    match &step.action {
        action if action.is_gate() => "?",
        Action::DeleteSnapshots { .. }
        | Action::DeleteVolumes { .. }
        | Action::RemoveGate { .. }
        | Action::RetireGate { .. } => "-",
        Action::ParkClaim { .. }
        | Action::SnapshotInstance { .. }
        | Action::CreateVolume { .. }
        | Action::ReleaseVolume { .. }
        | Action::CloseSet { .. } => "+",
        _ => "~",
    }
}

/// A plan, to be reviewed line by line.
pub fn plan(plan: &Plan) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "Migration {} into namespace {} (account {}, {})\n",
        plan.migration, plan.namespace, plan.account, plan.region
    );
    // What runs as root on the hosts is part of what is reviewed.
    for (name, value) in &plan.settings {
        let _ = writeln!(text, "  setting {name}: {}", one_line(value));
    }
    for member in &plan.members {
        let to = member.slot.pod.as_deref().unwrap_or("(claims only)");
        let _ = writeln!(text, "  {} on {} in {} -> pod {to}", member.name, member.instance, member.zone);
        let _ = writeln!(text, "      identity {}", member.identity.id);
        for volume in &member.volumes {
            let spec = &volume.spec;
            let _ = writeln!(
                text,
                "      {} {} ({} {} GiB, {}) -> claim {}",
                volume.role, volume.legacy_volume, spec.volume_type, spec.size_gib, volume.fs_type, volume.claim.name
            );
        }
        let _ = writeln!(text, "      because: {}", member.reason);
    }
    let _ = writeln!(text, "\nSteps (+ creates, ~ changes, - deletes, ? only looks):\n");
    let mut group = None;
    for step in &plan.steps {
        if step.group != group {
            let title = plan.groups.iter().find(|found| Some(&found.id) == step.group.as_ref());
            if let Some(found) = title {
                let _ = writeln!(text, "  -- {}: {} (downtime) --", found.id, found.title);
            }
            group.clone_from(&step.group);
        }
        let _ = writeln!(text, "  {} {:<38} {}", sign(step), step.id, one_line(&step.title));
        let _ = writeln!(text, "      {}", one_line(&step.why));
    }
    let estimate = &plan.estimate;
    let range = |(low, high): (u64, u64)| format!("{} to {}", duration(low), duration(high));
    let _ = writeln!(text, "\nEstimates: whole {}; downtime {}", range(estimate.total_s), range(estimate.downtime_s));
    let _ = writeln!(
        text,
        "  extra until you delete the legacy volumes and the snapshots: ${}.{:02} a month",
        estimate.monthly_cost_cents / 100,
        estimate.monthly_cost_cents % 100
    );
    for assumption in &estimate.assumptions {
        let _ = writeln!(text, "  assumed: {assumption}");
    }
    let _ = writeln!(text, "\n{} facts are compared again before the first act.", plan.facts.len());
    let count = |wanted: &str| plan.steps.iter().filter(|step| sign(step) == wanted).count();
    let undone = plan.steps.iter().filter(|step| matches!(step.undo, Undo::Act(_))).count();
    let _ = writeln!(
        text,
        "Plan: {} to create, {} to change, {} to delete, {} to look at; {undone} can be undone.",
        count("+"),
        count("~"),
        count("-"),
        count("?")
    );
    text
}

/// One event as a line; none if it is not worth one.
pub fn event(event: &Event, began_ms: u64) -> Option<String> {
    let text = match &event.kind {
        EventKind::RunStarted { run, resumed, steps, steps_done } => {
            let word = if *resumed { "goes on" } else { "begins" };
            format!("run {run} {word}: {steps_done} of {steps} steps done")
        }
        EventKind::PhaseChanged { phase } => format!("== {} ==", phase_name(*phase)),
        EventKind::StepEnded { title, took_ms, .. } => {
            format!("{title} ({:.1} s)", *took_ms as f64 / 1000.0)
        }
        EventKind::StepFailed { title, error, .. } => format!("FAILED {title}: {error}"),
        EventKind::StepRetried { step, error, attempt } => format!("{step}: {error}; trying again (attempt {attempt})"),
        EventKind::Note { text } => text.clone(),
        EventKind::StepStarted { .. } | EventKind::StepWaiting { .. } | EventKind::RunEnded { .. } => return None,
    };
    Some(line(event.at_ms, began_ms, &text))
}

/// A line of what happens, with its time.
pub fn line(at_ms: u64, began_ms: u64, text: &str) -> String {
    format!("{:>9.1} s  {}", at_ms.saturating_sub(began_ms) as f64 / 1000.0, one_line(text))
}

/// A phase in words.
pub fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Preparing => "preparing: production serves",
        Phase::Cutover => "cutover: downtime",
        Phase::Completed => "completed: the new side serves",
        Phase::Undoing => "undoing",
        Phase::RolledBack => "rolled back: the legacy side serves",
        Phase::Stuck => "stuck: a person must look",
        Phase::Finalizing => "finalizing: there is no way back any more",
        Phase::Finalized => "finalized: the new side is the only one",
        Phase::Returning => "rolling back: the volumes return with all writes",
        Phase::Returned => "rolled back: the legacy side serves, with all writes",
    }
}

/// Where a run stands.
pub fn status(record: &RunRecord, plan: &Plan) -> String {
    let mut text = String::new();
    let header = &record.header;
    let _ = writeln!(text, "Run {} of migration {}: {}", header.run, header.migration, phase_name(header.phase));
    if let Some(reason) = &header.reason {
        let _ = writeln!(text, "  because: {}", one_line(reason));
    }
    let done = record.steps.values().filter(|step| step.state == StepState::Done).count();
    let _ = writeln!(text, "  {done} of {} steps done", plan.steps.len());
    for step in &plan.steps {
        let Some(found) = record.steps.get(&step.id).filter(|found| found.state != StepState::Done) else { continue };
        let state = format!("{:?}", found.state).to_lowercase();
        let error = one_line(found.error.as_deref().unwrap_or_default());
        let _ = writeln!(text, "  {state:<9} {} {error}", step.id);
    }
    for left in record.left() {
        let _ = writeln!(text, "  left: {}", one_line(left));
    }
    if let (Some(from), Some(to)) = (header.cutover_at_ms, header.opened_at_ms) {
        let _ = writeln!(text, "  downtime {}", duration(to.saturating_sub(from) / 1000));
    }
    let _ = writeln!(text, "  next: {}", next(header.phase, &header.migration));
    text
}

/// The command to go on with.
fn next(phase: Phase, migration: &str) -> String {
    match phase {
        Phase::Preparing | Phase::Cutover => format!("rehome apply -f <file of {migration}>"),
        Phase::Undoing | Phase::Stuck => format!("rehome rollback -f <file of {migration}> --discard-writes"),
        Phase::Completed => format!(
            "rehome verify -f <file of {migration}>; rehome finalize -f <same>, when the old side is no longer needed"
        ),
        Phase::Finalizing => format!("rehome finalize -f <file of {migration}>"),
        Phase::Finalized => format!("rehome gc -f <file of {migration}>, when the final snapshots' time is over"),
        Phase::Returning => format!("rehome rollback -f <file of {migration}> --keep-writes"),
        Phase::RolledBack | Phase::Returned => {
            format!("rehome plan -f <file of {migration}>, when what failed is mended")
        }
    }
}

#[cfg(test)]
mod tests {
    use rehome_model::format;

    use super::*;

    /// Red, a title for the window, a line that is written over, the eight-bit form, and a line read from its end.
    const FORGED: &str = "7 a\x1b[31mb\x1b]0;c\x07\rd\u{9b}2Ke\u{202e}f\nerror[RH0001]: g";

    #[test]
    fn what_others_say_neither_moves_the_cursor_nor_writes_lines_of_its_own() {
        let finding = Finding {
            code: "RH0222".into(),
            severity: Severity::Error,
            subject: FORGED.into(),
            message: FORGED.to_owned(),
            evidence: vec![FORGED.to_owned()],
            fix: "stop them".to_owned(),
        };
        let event = Event {
            at_ms: 0,
            kind: EventKind::StepFailed { step: "a".into(), title: "b".to_owned(), error: FORGED.to_owned() },
        };
        for (text, lines) in [(findings(&[finding]), 4), (event_of(&event), 1)] {
            assert!(!text.chars().any(|c| acts(c) && c != '\n'), "{text:?}");
            assert_eq!(text.lines().count(), lines, "{text:?}");
            assert!(!text.lines().any(|line| line.starts_with("error[RH0001]")), "{text:?}");
        }
        assert_eq!(shown("a\tb\nc \u{e4} \u{1b}[0m"), "a\tb\nc \u{e4} \u{fffd}[0m");
    }

    fn event_of(happened: &Event) -> String {
        event(happened, 0).unwrap_or_default()
    }

    #[test]
    fn documents_say_the_same_with_nothing_in_them_that_acts() {
        let text = json(format::FINDINGS, FORGED).unwrap_or_default();
        assert!(!text.chars().any(|c| acts(c) && c != '\n'), "{text:?}");
        let document: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        assert_eq!(document["value"], FORGED);
    }

    #[test]
    fn a_document_has_the_version_of_what_is_in_it() {
        let text = json(format::PLAN, "a plan").unwrap_or_default();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        assert_eq!(document["format"]["version"], format::PLAN.1);
    }
}
