//! A tap on a port: simulations see, delay, fail or end calls with it.

use async_trait::async_trait;

/// Stands between the caller and an implementation of a port.
#[async_trait]
pub trait Tap: Send + Sync {
    /// Before the call has any effect. `Err(code)` makes the call fail without one; `Ok` is a ticket by which `after`
    /// knows this call from others of its name that are under way.
    async fn before(&self, call: &'static str, mutates: bool) -> Result<u64, String>;

    /// After the call had its effect. `Err(code)` loses the reply.
    async fn after(&self, ticket: u64, call: &'static str, mutates: bool) -> Result<(), String>;
}
