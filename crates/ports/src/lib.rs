//! The ports: what rehome asks of a cloud, of hosts and of pods, as traits with contracts.
