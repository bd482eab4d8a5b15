//! The pure planner: migration and survey in, plan out.
