//! What stands at every port of a world: it sees each call before and after its effect, and may let it go wrong.

use std::time::Duration;

/// A call on its way.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Which port.
    pub port: Port,
    /// EC2's action, the script's task, `kube update`.
    pub name: &'static str,
    /// Instance, pod or path; empty for the cloud.
    pub subject: &'a str,
    /// Whether it changes something.
    pub mutates: bool,
}

/// The ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "named after the ports")]
pub enum Port {
    Cloud,
    Hosts,
    Pods,
    Cluster,
}

/// How a call goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// No answer comes.
    NoReply,
    /// The cloud answers with this code.
    Code(&'static str),
    /// The apiserver answers with this status and reason.
    Status(u16, &'static str),
    /// The script's caller is told that it timed out; its effect comes so many ms later.
    GoesOn(u64),
    /// The host takes no key of the caller's.
    NotLetIn,
    /// The host lets the caller in, and not be root.
    NoRoot,
    /// The script's output ends in the middle.
    Cut,
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It goes on.
    Go,
    /// It goes wrong.
    Wrong(Mishap),
    /// Its caller stands still for so long, and then the call goes on.
    Late(Duration),
    /// Its caller is dead.
    Never,
}

/// Stands at every port of one driver.
pub trait Gate: Send + Sync {
    /// Before the call has any effect. With the ruling comes a ticket, by which `after` knows the call again.
    fn before(&self, call: &Call<'_>) -> (u64, Ruling);

    /// After its effect, before its reply.
    fn after(&self, _ticket: u64, _call: &Call<'_>) -> Ruling {
        Ruling::Go
    }
}

/// Carries a ruling out.
pub(crate) async fn obey(ruling: Ruling) -> Result<(), Mishap> {
    match ruling {
        Ruling::Go => Ok(()),
        Ruling::Wrong(mishap) => Err(mishap),
        Ruling::Late(pause) => {
            tokio::time::sleep(pause).await;
            Ok(())
        }
        Ruling::Never => std::future::pending().await,
    }
}
