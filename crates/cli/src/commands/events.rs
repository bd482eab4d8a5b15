//! The events of a run, as they come.

use std::collections::BTreeSet;
use std::io::Write;

use rehome_model::event::{Event, EventKind};
use rehome_model::format;
use rehome_model::ids::StepId;
use serde_json::json;
use tokio::sync::mpsc;

use crate::args::Format;
use crate::output;

/// Shows events until there are no more. It blocks: a terminal that is held with Ctrl-S, or a pager, would keep a worker of the
/// runtime from renewing the lease, and on a machine with one processor that is the only one.
pub fn print(mut events: mpsc::UnboundedReceiver<Event>, format: Format) {
    let mut printer = match format {
        Format::Json => Printer::new(anstream::stdout(), format),
        Format::Text => Printer::new(anstream::stderr(), format),
    };
    while let Some(event) = events.blocking_recv() {
        printer.tell(&event);
    }
}

/// Writes events to where they are read. A reader that is gone, or a disk that is full, does not touch the run.
struct Printer {
    to: Box<dyn Write + Send>,
    format: Format,
    began_ms: Option<u64>,
    /// When the last line was written, by the events' clock.
    told_ms: u64,
    waiting: BTreeSet<StepId>,
    lost: bool,
}

/// Text says nothing of a wait until nothing else was said for so long. Some places that run commands end those that are silent.
const SILENCE_MS: u64 = 60_000;

impl Printer {
    fn new(to: impl Write + Send + 'static, format: Format) -> Self {
        let mut printer =
            Self { to: Box::new(to), format, began_ms: None, told_ms: 0, waiting: BTreeSet::new(), lost: false };
        if format == Format::Json {
            // First, so that a reader knows what the other lines are before it reads any.
            printer.line(&json!({"format": format::Format::current(format::EVENTS)}).to_string());
        }
        printer
    }

    fn tell(&mut self, event: &Event) {
        let began_ms = *self.began_ms.get_or_insert_with(|| {
            self.told_ms = event.at_ms;
            event.at_ms
        });
        let line = match self.format {
            Format::Json => serde_json::to_string(event).ok().map(|line| output::escaped(&line)),
            Format::Text => self.wait(event, began_ms).or_else(|| output::event(event, began_ms)),
        };
        if let Some(line) = line {
            self.told_ms = event.at_ms;
            self.line(&line);
        }
    }

    /// What is waited for, if nothing was told for long.
    fn wait(&mut self, event: &Event, began_ms: u64) -> Option<String> {
        if let EventKind::StepEnded { step, .. } | EventKind::StepFailed { step, .. } = &event.kind {
            self.waiting.remove(step);
        }
        let EventKind::StepWaiting { step, reason } = &event.kind else { return None };
        self.waiting.insert(step.clone());
        if event.at_ms.saturating_sub(self.told_ms) < SILENCE_MS {
            return None;
        }
        let others = std::mem::take(&mut self.waiting).len() - 1;
        let more = if others == 0 { String::new() } else { format!(" (and {others} more)") };
        Some(output::line(event.at_ms, began_ms, &format!("waiting: {step}: {reason}{more}")))
    }

    fn line(&mut self, line: &str) {
        if self.lost {
            return;
        }
        if let Err(error) = writeln!(self.to, "{line}") {
            self.lost = true;
            // stderr may be what is lost.
            let _ = writeln!(
                anstream::stderr(),
                "warning: events cannot be printed any more: {error}; the run goes on, and `rehome status` tells of it"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    /// A disk with room for so many bytes.
    #[derive(Clone, Default)]
    struct Disk {
        room: usize,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            if written.len() + bytes.len() > self.room {
                return Err(Error::from(ErrorKind::StorageFull));
            }
            written.extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn printed(room: usize) -> String {
        let disk = Disk { room, ..Disk::default() };
        let mut printer = Printer::new(disk.clone(), Format::Json);
        for at_ms in 0..3 {
            printer.tell(&Event { at_ms, kind: EventKind::Note { text: "seen\u{9b}2K".to_owned() } });
        }
        let written = disk.written.lock().unwrap_or_else(PoisonError::into_inner).clone();
        String::from_utf8_lossy(&written).into_owned()
    }

    #[test]
    fn the_first_line_says_which_format_the_others_have() {
        let text = printed(10_000);
        let lines: Vec<serde_json::Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!(lines[0], json!({"format": {"name": "rehome.events", "version": 1}}));
        assert!(lines[3]["text"] == "seen\u{9b}2K" && !text.contains('\u{9b}'), "{text}");
    }

    #[test]
    fn a_long_wait_is_told_of_once_a_minute_and_a_short_one_is_not() {
        let disk = Disk { room: 10_000, ..Disk::default() };
        let mut printer = Printer::new(disk.clone(), Format::Text);
        let mut tell = |at_s: u64, kind: EventKind| printer.tell(&Event { at_ms: 7_000 + at_s * 1_000, kind });
        tell(0, EventKind::Note { text: "begun".to_owned() });
        for at_s in 1..=130 {
            for step in ["a", "b"] {
                let reason = format!("{at_s} %");
                tell(at_s, EventKind::StepWaiting { step: StepId::from(step), reason });
            }
        }
        let written = disk.written.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let text = String::from_utf8_lossy(&written).into_owned();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let wanted =
            ["0.0 s  begun", "60.0 s  waiting: a: 60 % (and 1 more)", "120.0 s  waiting: a: 120 % (and 1 more)"];
        assert_eq!(lines, wanted);
    }

    #[test]
    fn a_full_disk_ends_the_printing_and_nothing_else() {
        assert_eq!(printed(0), "");
    }
}
