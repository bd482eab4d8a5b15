//! What the way back may leave: things of the run's own, used by nothing, whose deletion is refused for good. Production serves
//! by then, and a run that stayed stuck for them could neither end nor be collected.

use std::collections::BTreeMap;
use std::fmt::Display;

use rehome_model::plan::LEFT;
use rehome_ports::{CloudError, ErrorClass};
use tokio::time::Instant;

use crate::context::{Outputs, StepContext};
use crate::error::StepError;
use crate::limits::{SETTLE, SNAPSHOT_HELD};

/// The refusals of one step's deletions, by what was to be deleted.
#[derive(Default)]
pub(super) struct Refusals {
    first: BTreeMap<String, Instant>,
    left: BTreeMap<String, CloudError>,
}

impl Refusals {
    /// Takes a refusal in. Answers why to wait, or nothing if the thing is left. Forwards nothing is left: what is to be deleted
    /// there the user has asked to be.
    ///
    /// The caller has seen that nothing holds the thing.
    pub(super) async fn take(
        &mut self,
        context: &StepContext,
        id: &impl Display,
        error: CloudError,
    ) -> Result<Option<String>, StepError> {
        let id = id.to_string();
        let again = *self.first.entry(id.clone()).or_insert_with(Instant::now);
        match error.class() {
            // It may be a policy that was mended a moment ago, or an image that is about to go.
            ErrorClass::Stop if context.undo && again.elapsed() < SETTLE => {
                context.pause(SETTLE, &error.to_string()).await?;
                Ok(Some(error.to_string()))
            }
            ErrorClass::Stop if context.undo => {
                self.left.insert(id, error);
                Ok(None)
            }
            // An image was made of it.
            ErrorClass::Wait if context.undo && error.code == IN_USE && again.elapsed() >= SNAPSHOT_HELD => {
                self.left.insert(id, error);
                Ok(None)
            }
            ErrorClass::Wait => Ok(Some(error.message)),
            _ => Err(error.into()),
        }
    }

    /// Whether nothing is there any more but what is left.
    pub(super) fn are_all<'a>(&self, there: impl IntoIterator<Item = &'a str>) -> bool {
        there.into_iter().all(|id| self.left.contains_key(id))
    }

    /// What the record says of it.
    pub(super) fn outputs(self, context: &StepContext) -> Outputs {
        if self.left.is_empty() {
            return Outputs::new();
        }
        let each: Vec<String> = self.left.iter().map(|(id, error)| format!("{id} ({error})")).collect();
        let left = format!(
            "could not be deleted and left: {}; the run does not need them any more, and `rehome gc --delete` takes them away when that \
             is possible",
            each.join(", ")
        );
        context.note(left.clone());
        Outputs::from([(LEFT.to_owned(), left)])
    }
}

/// EC2's code for a snapshot that something is made of: a volume that is on its way, or an image.
const IN_USE: &str = "InvalidSnapshot.InUse";
