//! A simulated Kubernetes: an API on JSON objects, and the controllers that matter here, in steps of time.
//!
//! In: HTTP requests as `kube::Client` sends them, and a time. Out: replies as the apiserver gives them. It is stricter
//! than the real one: a request for anything it does not know is refused.

mod ailments;
mod api;
mod attachments;
mod binder;
mod cluster;
mod mounts;
mod objects;
mod pods;
mod rules;
mod sets;

pub(crate) use ailments::Ailing;
pub use ailments::Ailment;
pub use cluster::{Cluster, KubeTiming, Machines};
pub use objects::{Failure, Key};
