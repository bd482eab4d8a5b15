//! The simulated world: Kubernetes, hosts, a replicated database, faults and checkers.
pub mod kubernetes;
