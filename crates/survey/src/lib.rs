//! The survey: everything observed at one time, cloud, hosts and cluster.
