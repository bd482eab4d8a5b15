//! The nouns of rehome: migration, survey, finding, plan, event, run record.
