//! The events of a run, as they come.

use std::io::Write;

use rehome_model::event::Event;
use rehome_model::format;
use serde_json::json;
use tokio::sync::mpsc;

use crate::args::Format;
use crate::output;

/// Shows events until there are no more.
pub async fn print(mut events: mpsc::UnboundedReceiver<Event>, format: Format) {
    let mut printer = match format {
        Format::Json => Printer::new(anstream::stdout(), format),
        Format::Text => Printer::new(anstream::stderr(), format),
    };
    while let Some(event) = events.recv().await {
        printer.tell(&event);
    }
}

/// Writes events to where they are read. A reader that is gone, or a disk that is full, does not touch the run.
struct Printer {
    to: Box<dyn Write + Send>,
    format: Format,
    began_ms: Option<u64>,
    lost: bool,
}

impl Printer {
    fn new(to: impl Write + Send + 'static, format: Format) -> Self {
        let mut printer = Self { to: Box::new(to), format, began_ms: None, lost: false };
        if format == Format::Json {
            // First, so that a reader knows what the other lines are before it reads any.
            printer.line(&json!({"format": format::Format::current(format::EVENTS)}).to_string());
        }
        printer
    }

    fn tell(&mut self, event: &Event) {
        let began_ms = *self.began_ms.get_or_insert(event.at_ms);
        let line = match self.format {
            Format::Json => serde_json::to_string(event).ok(),
            Format::Text => output::event(event, began_ms),
        };
        if let Some(line) = line {
            self.line(&line);
        }
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

    use rehome_model::event::EventKind;

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
            printer.tell(&Event { at_ms, kind: EventKind::Note { text: "seen".to_owned() } });
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
    }

    #[test]
    fn a_full_disk_ends_the_printing_and_nothing_else() {
        assert_eq!(printed(0), "");
    }
}
