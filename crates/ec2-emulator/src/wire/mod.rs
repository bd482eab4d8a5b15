//! The wire face: EC2, Auto Scaling and STS in the Query protocol and SSM in JSON, as the AWS SDKs and the AWS CLI speak
//! them.
//!
//! It answers on loopback only what the core knows; unknown actions answer as EC2 does (`InvalidAction`, 400).
//! Under `/_emulator/` it is told what shall go wrong.

mod admin;
mod faults;
mod lifeline;
mod params;
mod request;
mod response;
mod server;
mod ssm;
mod transcript;
mod xml;

pub use faults::parse_faults;
pub use server::{ServeError, keep_time, parse_request, serve, serve_noting};
pub use transcript::Transcript;
