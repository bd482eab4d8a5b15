//! Many that ask for the same kind of thing are answered by one call.
//!
//! A question is put before its call is sent, never after: whoever asks is answered by what EC2 said later than that, so
//! that a decision rests on a look that began after the act before it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

/// Collects questions, and puts them together. `Q` is one question, `A` the answer to all.
#[derive(Debug)]
pub(crate) struct Batch<Q, A> {
    /// How long the first one waits for others.
    linger: Duration,
    /// The least time between two calls.
    gap: Duration,
    state: Mutex<State<Q, A>>,
}

#[derive(Debug)]
struct State<Q, A> {
    open: Option<Open<Q, A>>,
    /// Counts the batches, so that one is not taken for the next.
    number: u64,
    sent_at: Option<Instant>,
}

#[derive(Debug)]
struct Open<Q, A> {
    questions: Vec<Q>,
    waiting: Vec<oneshot::Sender<(A, usize)>>,
}

/// The one who sends for all. If it gives up before, the others ask anew.
struct Leader<'a, Q, A> {
    batch: &'a Batch<Q, A>,
    number: u64,
}

impl<Q, A> Drop for Leader<'_, Q, A> {
    fn drop(&mut self) {
        let mut state = self.batch.state();
        if state.number == self.number {
            state.open = None;
        }
    }
}

impl<Q, A: Clone> Batch<Q, A> {
    pub(crate) fn new(linger: Duration, gap: Duration) -> Self {
        Self { linger, gap, state: Mutex::new(State { open: None, number: 0, sent_at: None }) }
    }

    /// Asks. Answers what `send` answered to all questions of the batch, and how many those were. Only one of the askers
    /// sends.
    pub(crate) async fn ask(&self, question: impl Fn() -> Q, mut send: impl AsyncFnMut(Vec<Q>) -> A) -> (A, usize) {
        loop {
            match self.join(question()) {
                Joined::Follows(answer) => {
                    if let Ok(answered) = answer.await {
                        return answered;
                    }
                    // Who was to send is gone.
                }
                Joined::Leads(leader, at) => {
                    tokio::time::sleep_until(at).await;
                    let Some(open) = leader.close() else { continue };
                    let count = open.questions.len();
                    let answer = send(open.questions).await;
                    for waiting in open.waiting {
                        // Nobody may be waiting there any more.
                        let _ = waiting.send((answer.clone(), count));
                    }
                    return (answer, count);
                }
            }
        }
    }

    fn join(&self, question: Q) -> Joined<'_, Q, A> {
        let mut state = self.state();
        if let Some(open) = &mut state.open {
            let (sender, answer) = oneshot::channel();
            open.questions.push(question);
            open.waiting.push(sender);
            return Joined::Follows(answer);
        }
        state.open = Some(Open { questions: vec![question], waiting: Vec::new() });
        state.number += 1;
        let now = Instant::now();
        let at = state.sent_at.map_or(now, |sent| sent + self.gap).max(now + self.linger);
        Joined::Leads(Leader { batch: self, number: state.number }, at)
    }
}

impl<Q, A> Batch<Q, A> {
    fn state(&self) -> MutexGuard<'_, State<Q, A>> {
        // Whole values only: what a panic leaves is still good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Q, A> Leader<'_, Q, A> {
    /// Nobody joins any more.
    fn close(&self) -> Option<Open<Q, A>> {
        let mut state = self.batch.state();
        state.sent_at = Some(Instant::now());
        state.open.take()
    }
}

enum Joined<'a, Q, A> {
    Leads(Leader<'a, Q, A>, Instant),
    Follows(oneshot::Receiver<(A, usize)>),
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const LINGER: Duration = Duration::from_millis(20);
    const GAP: Duration = Duration::from_millis(1000);

    fn batch() -> Batch<u32, Vec<u32>> {
        Batch::new(LINGER, GAP)
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_together_are_answered_by_one_call() {
        let (batch, calls) = (batch(), Cell::new(0));
        let all = (0..10).map(|n| {
            batch.ask(
                move || n,
                async |asked| {
                    calls.set(calls.get() + 1);
                    asked
                },
            )
        });
        let answers = futures::future::join_all(all).await;
        assert_eq!(calls.get(), 1);
        assert!(answers.iter().all(|(answer, count)| *count == 10 && *answer == (0..10).collect::<Vec<_>>()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_put_while_a_call_is_under_way_is_answered_by_a_later_one() {
        let batch = batch();
        let began = Instant::now();
        let slow = async |_: Vec<u32>| {
            let sent = began.elapsed();
            tokio::time::sleep(Duration::from_millis(500)).await;
            vec![sent.as_millis() as u32]
        };
        let first = batch.ask(|| 1, slow);
        let second = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            batch.ask(|| 2, slow).await
        };
        let ((first, _), (second, count)) = futures::join!(first, second);
        assert_eq!((first, second, count), (vec![20], vec![1020], 1));
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_sender_gives_up_another_one_sends() {
        let batch = batch();
        let gives_up = tokio::time::timeout(Duration::from_millis(5), batch.ask(|| 1, async |asked| asked));
        let stays = batch.ask(|| 2, async |asked| asked);
        let (gone, stayed) = futures::join!(gives_up, stays);
        assert!(gone.is_err());
        assert_eq!(stayed, (vec![2], 1));
    }
}
