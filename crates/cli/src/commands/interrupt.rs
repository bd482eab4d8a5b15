//! Ctrl-C and SIGTERM while something is driven: the first ends it between two acts, the second at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::exit::Exit;
use crate::output::esay;

/// Both signals, from now on: neither ends the process by itself any more.
pub struct Signals {
    interrupted: Signal,
    /// What a shutdown, a cancelled pipeline or a deleted pod sends.
    terminated: Signal,
}

impl Signals {
    /// Begins to listen.
    pub fn new() -> io::Result<Self> {
        Ok(Self { interrupted: signal(SignalKind::interrupt())?, terminated: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupted.recv() => {}
            _ = self.terminated.recv() => {}
        }
    }

    /// Asks for a stop at the first signal; returns at the second.
    async fn heed(mut self, stopper: watch::Sender<bool>) {
        self.next().await;
        // Before the message, whatever becomes of that. The driver may have ended already.
        let _ = stopper.send(true);
        esay!("stopping after what is under way; the same command goes on later. Once more: stop at once");
        self.next().await;
    }

    /// The same, and ends the process at the second. That is a kill, which no run minds at any instant.
    pub async fn obey(self, stopper: watch::Sender<bool>) {
        self.heed(stopper).await;
        esay!(
            "stopped at once. What was under way may still happen; the same command looks what became of it, and goes on \
             as soon as this driver's lease has run out"
        );
        std::process::exit(Exit::Interrupted as i32);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;

    fn send(signal: &str) {
        let own = std::process::id().to_string();
        assert!(Command::new("kill").args([signal, &own]).status().unwrap().success());
    }

    #[tokio::test]
    async fn the_first_signal_asks_for_a_stop_and_the_second_does_not_wait() {
        const LIMIT: Duration = Duration::from_secs(60);
        for (first, second) in [("-INT", "-TERM"), ("-TERM", "-INT")] {
            let (stopper, mut stop) = watch::channel(false);
            let heeding = tokio::spawn(Signals::new().unwrap().heed(stopper));
            send(first);
            tokio::time::timeout(LIMIT, stop.wait_for(|stop| *stop)).await.expect("it is asked to stop").unwrap();
            assert!(!heeding.is_finished());
            send(second);
            tokio::time::timeout(LIMIT, heeding).await.expect("it does not wait").unwrap();
        }
    }
}
