//! Faults as users write them: `--faults FILE`, and what the admin endpoint takes. YAML, of which JSON is a part.

use serde::{Deserialize, Serialize};

use crate::core::Rule;

/// A file of faults.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    faults: Vec<Rule>,
}

/// Reads rules. What is wrong is told with line, column and the known values; whether the rules make sense is for
/// [`crate::core::Faults`] to say. Rules without a name are called by their place.
pub fn parse_faults(text: &str) -> Result<Vec<Rule>, String> {
    if text.trim().is_empty() {
        return Err("there is nothing in it; expected is a list under `faults`".to_owned());
    }
    let File { mut faults } = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    for (index, rule) in faults.iter_mut().enumerate().filter(|(_, rule)| rule.name.is_empty()) {
        rule.name = format!("faults[{index}]");
    }
    Ok(faults)
}
