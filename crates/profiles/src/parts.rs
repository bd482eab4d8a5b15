//! An identity archive comes in parts, since what a script may print is cut.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rehome_model::task::{HostAnswer, HostTask};

/// The largest identity archive, in base64 characters.
pub const IDENTITY_MAX_CHARS: usize = 8 << 20;

/// Why the parts do not make an archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartsError {
    /// The script answered something else.
    #[error("read-identity gave no identity but {0}")]
    OtherAnswer(String),
    /// More than anybody's identity should be.
    #[error("the identity files are {0} characters, more than {IDENTITY_MAX_CHARS}")]
    TooLarge(usize),
    /// The files were written to meanwhile, or output was lost.
    #[error("the parts of the identity do not fit together: {0}")]
    Torn(String),
}

/// The parts so far.
#[derive(Clone, Debug, Default)]
pub struct IdentityParts {
    text: String,
    next: u32,
    total_chars: Option<usize>,
}

impl IdentityParts {
    /// What to ask the host next.
    pub fn task(&self) -> HostTask {
        HostTask::ReadIdentity { part: self.next }
    }

    /// Takes the answer to [`Self::task`]; gives the archive once it is whole.
    pub fn add(&mut self, answer: HostAnswer) -> Result<Option<Vec<u8>>, PartsError> {
        let HostAnswer::IdentityPart { text, total_chars } = answer else {
            return Err(PartsError::OtherAnswer(format!("{answer:?}")));
        };
        if total_chars > IDENTITY_MAX_CHARS {
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
    use super::{HostAnswer, HostTask, IDENTITY_MAX_CHARS, IdentityParts, PartsError};

    fn part(text: &str, total_chars: usize) -> HostAnswer {
        HostAnswer::IdentityPart { text: text.to_owned(), total_chars }
    }

    #[test]
    fn parts_are_asked_for_in_turn_until_all_characters_are_there() {
        let mut parts = IdentityParts::default();
        assert_eq!(parts.task(), HostTask::ReadIdentity { part: 0 });
        assert_eq!(parts.add(part("aGVs", 8)), Ok(None));
        assert_eq!(parts.task(), HostTask::ReadIdentity { part: 1 });
        assert_eq!(parts.add(part("bG8=", 8)), Ok(Some(b"hello".to_vec())));
    }

    #[test]
    fn files_that_were_written_to_between_two_parts_make_no_archive() {
        let mut parts = IdentityParts::default();
        assert_eq!(parts.add(part("aGVs", 8)), Ok(None));
        assert!(matches!(parts.add(part("bG8=", 12)), Err(PartsError::Torn(_))));
        assert!(matches!(IdentityParts::default().add(part("", 8)), Err(PartsError::Torn(_))));
        assert!(matches!(IdentityParts::default().add(part("~~~~", 4)), Err(PartsError::Torn(_))));
    }

    #[test]
    fn what_is_no_identity_or_too_large_for_one_is_refused() {
        assert!(matches!(IdentityParts::default().add(HostAnswer::Done), Err(PartsError::OtherAnswer(_))));
        let chars = IDENTITY_MAX_CHARS + 1;
        assert_eq!(IdentityParts::default().add(part("a", chars)), Err(PartsError::TooLarge(chars)));
    }
}
