//! Reads are sent again; nothing else is.

use std::future::Future;
use std::time::Duration;

use rehome_ports::{CloudError, ErrorClass};

/// How often a read is sent at most.
const ATTEMPTS: u32 = 6;
/// The first pause; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause. All of them together stay under half a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Sends a read until it is answered or refused for good. The last error is returned as it is.
pub(crate) async fn read<T, F>(mut call: impl FnMut() -> F) -> Result<T, CloudError>
where
    F: Future<Output = Result<T, CloudError>>,
{
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS {
        match call().await {
            Err(error) if error.class() == ErrorClass::Retry => {
                tracing::debug!(operation = error.operation, code = %error.code, ?pause, "a read is sent again");
                tokio::time::sleep(pause).await;
                pause = LONGEST_PAUSE.min(pause * 2);
            }
            end => return end,
        }
    }
    call().await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    async fn sent(code: &str) -> (u32, Result<(), CloudError>) {
        let sent = Cell::new(0);
        let end = read(|| {
            sent.set(sent.get() + 1);
            async { Err(CloudError::new("DescribeVolumes", code, "")) }
        })
        .await;
        (sent.get(), end)
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttled_read_is_given_up_after_the_limit() {
        let (sent, end) = sent("RequestLimitExceeded").await;
        assert_eq!((sent, end.map_err(|error| error.code)), (ATTEMPTS, Err("RequestLimitExceeded".to_owned())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_read_is_sent_once() {
        assert_eq!(sent("UnauthorizedOperation").await.0, 1);
    }
}
