//! What rehome knows of each application: its scripts, its answers, its identity on disk.
//!
//! In: tasks, and text or bytes that members gave. Out: scripts, and the model's values. Pure: nothing is run here.

pub mod cassandra;
mod parts;
mod profile;
mod reference;

pub use parts::{ANSWER_MAX_CHARS, Parts, PartsError};
pub use profile::{AnswerError, Gate, Profile, ProfileLimits, ScriptContext, SetConfiguration, find, names, offered};
pub use reference::Reference;
