//! What rehome knows of each application: scripts, identity on disk, hazards.
