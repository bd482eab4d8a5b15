//! One ssh process, from its start to its end or its deadline.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::task::JoinHandle;

/// How long the rest of the output may take once the process has ended. A kept connection's background process may
/// hold the pipe open: the end of the pipe is not waited for without a limit.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// Output beyond this is read and thrown away, in bytes.
const OUTPUT_LIMIT: usize = 4 << 20;

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// None if it was killed at its deadline.
    pub status: Option<ExitStatus>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command with `input` on its standard input; kills it after `limit`.
pub(crate) async fn run(command: &mut Command, input: String, limit: Duration) -> io::Result<Ended> {
    // A group of its own: Ctrl-C at the terminal asks rehome to stop after what is under way, and must not cut that off.
    let mut child = command
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = Collector::start(child.stdout.take());
    let stderr = Collector::start(child.stderr.take());
    let writer = child.stdin.take().map(|mut stdin| {
        tokio::spawn(async move {
            // A process that ends without reading is told by its exit code, not by this.
            let _ = stdin.write_all(input.as_bytes()).await;
        })
    });
    let status = if let Ok(status) = tokio::time::timeout(limit, child.wait()).await {
        Some(status?)
    } else {
        child.kill().await?;
        None
    };
    if let Some(writer) = writer {
        writer.abort();
    }
    Ok(Ended { status, stdout: stdout.finish().await, stderr: stderr.finish().await })
}

/// Reads a pipe into memory.
struct Collector {
    text: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

impl Collector {
    fn start(pipe: Option<impl AsyncRead + Unpin + Send + 'static>) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&text);
        let task = tokio::spawn(async move {
            let Some(mut pipe) = pipe else { return };
            let mut buffer = [0; 8192];
            while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
                let mut text = into.lock().unwrap_or_else(PoisonError::into_inner);
                let room = OUTPUT_LIMIT.saturating_sub(text.len()).min(count);
                text.extend_from_slice(&buffer[..room]);
            }
        });
        Self { text, task }
    }

    async fn finish(mut self) -> String {
        if tokio::time::timeout(DRAIN_LIMIT, &mut self.task).await.is_err() {
            self.task.abort();
        }
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).into_owned()
    }
}
