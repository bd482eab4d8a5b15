//! An answer may be long, and comes in parts: what a script may print is cut.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rehome_model::task::{HostAnswer, HostTask};

/// The longest answer, in base64 characters.
pub const ANSWER_MAX_CHARS: usize = 8 << 20;

/// Why parts do not make an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartsError {
    /// The script answered something else.
    #[error("{task} gave no part of an answer but {answer}")]
    OtherAnswer {
        /// The task's name.
        task: &'static str,
        /// What came.
        answer: String,
    },
    /// More than anybody's should be.
    #[error("the answer has {0} characters, more than {ANSWER_MAX_CHARS}")]
    TooLarge(usize),
    /// It changed meanwhile, or output was lost.
    #[error("the parts of the answer do not fit together: {0}")]
    Torn(String),
}

/// The parts so far of what one task answers.
#[derive(Clone, Debug)]
pub struct Parts {
    of: fn(u32) -> HostTask,
    text: String,
    next: u32,
    total_chars: Option<usize>,
}

impl Parts {
    /// Of [`HostTask::ReadIdentity`].
    pub fn identity() -> Self {
        Self::of(|part| HostTask::ReadIdentity { part })
    }

    /// Of [`HostTask::View`].
    pub fn view() -> Self {
        Self::of(|part| HostTask::View { part })
    }

    fn of(of: fn(u32) -> HostTask) -> Self {
        Self { of, text: String::new(), next: 0, total_chars: None }
    }

    /// What to ask the host next.
    pub fn task(&self) -> HostTask {
        (self.of)(self.next)
    }

    /// Takes the answer to [`Self::task`]; gives all once it is whole.
    pub fn add(&mut self, answer: HostAnswer) -> Result<Option<Vec<u8>>, PartsError> {
        let HostAnswer::Part { text, total_chars } = answer else {
            return Err(PartsError::OtherAnswer { task: self.task().name(), answer: format!("{answer:?}") });
        };
        if total_chars > ANSWER_MAX_CHARS {
            return Err(PartsError::TooLarge(total_chars));
        }
        let known = *self.total_chars.get_or_insert(total_chars);
        if known != total_chars {
            return Err(PartsError::Torn(format!("they were {known} characters and are {total_chars}")));
        }
        if text.is_empty() && self.text.len() < total_chars {
            return Err(PartsError::Torn(format!("part {} is empty", self.next)));
        }
        self.text.push_str(&text);
        self.next += 1;
        if self.text.len() < total_chars {
            return Ok(None);
        }
        STANDARD.decode(self.text.trim()).map(Some).map_err(|error| PartsError::Torn(format!("base64: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::{ANSWER_MAX_CHARS, HostAnswer, HostTask, Parts, PartsError};

    fn part(text: &str, total_chars: usize) -> HostAnswer {
        HostAnswer::Part { text: text.to_owned(), total_chars }
    }

    #[test]
    fn parts_are_asked_for_in_turn_until_all_characters_are_there() {
        let mut parts = Parts::identity();
        assert_eq!(parts.task(), HostTask::ReadIdentity { part: 0 });
        assert_eq!(parts.add(part("aGVs", 8)), Ok(None));
        assert_eq!(parts.task(), HostTask::ReadIdentity { part: 1 });
        assert_eq!(parts.add(part("bG8=", 8)), Ok(Some(b"hello".to_vec())));
        assert_eq!(Parts::view().task(), HostTask::View { part: 0 });
    }

    #[test]
    fn what_changed_between_two_parts_makes_no_answer() {
        let mut parts = Parts::identity();
        assert_eq!(parts.add(part("aGVs", 8)), Ok(None));
        assert!(matches!(parts.add(part("bG8=", 12)), Err(PartsError::Torn(_))));
        assert!(matches!(Parts::view().add(part("", 8)), Err(PartsError::Torn(_))));
        assert!(matches!(Parts::view().add(part("~~~~", 4)), Err(PartsError::Torn(_))));
    }

    #[test]
    fn what_is_no_part_or_too_long_is_refused() {
        let error = Parts::view().add(HostAnswer::Done).expect_err("done is no part");
        assert_eq!(error.to_string(), "view gave no part of an answer but Done");
        let chars = ANSWER_MAX_CHARS + 1;
        assert_eq!(Parts::identity().add(part("a", chars)), Err(PartsError::TooLarge(chars)));
    }
}
