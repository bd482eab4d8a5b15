//! Ctrl-C and SIGTERM while something is driven: the first ends it between two acts, the second at once. A terminal that is
//! gone ends nothing: in the downtime production would wait for whoever runs the command again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::exit::Exit;
use crate::output::esay;

/// These signals, from now on: none ends the process by itself any more.
pub struct Signals {
    interrupted: Signal,
    /// What a shutdown, a cancelled pipeline or a deleted pod sends.
    terminated: Signal,
    /// What a closed terminal sends, or an ssh session that was cut.
    hung_up: Signal,
}

impl Signals {
    /// Begins to listen.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            interrupted: signal(SignalKind::interrupt())?,
            terminated: signal(SignalKind::terminate())?,
            hung_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupted.recv() => return,
                _ = self.terminated.recv() => return,
                _ = self.hung_up.recv() => {
                    esay!("the terminal is gone, and the run goes on; `rehome status` tells how far it is");
                }
            }
        }
    }

    /// Asks for a stop at the first signal; returns at the second.
    async fn heed(mut self, stopper: watch::Sender<bool>) {
        self.next().await;
        // Before the message, whatever becomes of that. The driver may have ended already.
        let _ = stopper.send(true);
        esay!("stopping after what is under way; it says at the end which command goes on. Once more: stop at once");
        self.next().await;
    }

    /// The same, and ends the process at the second. That is a kill, which no run minds at any instant.
    pub async fn obey(self, stopper: watch::Sender<bool>) {
        self.heed(stopper).await;
        esay!(
            "stopped at once. What was under way may still happen; `rehome status` tells which command looks what became of it, \
             and goes on as soon as this driver's lease has run out"
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
    async fn the_first_signal_asks_for_a_stop_the_second_does_not_wait_and_a_closed_terminal_is_none() {
        const LIMIT: Duration = Duration::from_secs(60);
        for (first, second) in [("-INT", "-TERM"), ("-TERM", "-INT")] {
            let (stopper, mut stop) = watch::channel(false);
            let heeding = tokio::spawn(Signals::new().unwrap().heed(stopper));
            send("-HUP");
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(!*stop.borrow_and_update());
            send(first);
            tokio::time::timeout(LIMIT, stop.wait_for(|stop| *stop)).await.expect("it is asked to stop").unwrap();
            assert!(!heeding.is_finished());
            send(second);
            tokio::time::timeout(LIMIT, heeding).await.expect("it does not wait").unwrap();
        }
    }
}
