//! The command line of rehome.
fn main() {}
