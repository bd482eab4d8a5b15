//! The pod port on Kubernetes' exec API (`pods/exec` over a websocket).
//!
//! In: a script for a container. Out: its exit code and what it printed, or why that is not known.

mod exec;

pub use exec::KubePods;
