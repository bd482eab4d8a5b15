//! The engine: carries out a plan, step by step, resumable at any instant.
