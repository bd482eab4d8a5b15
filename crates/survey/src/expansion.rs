//! `$(NAME)` in the value of a container's variable (kubernetes `third_party/forked/golang/expansion`).

use std::collections::BTreeMap;

use rehome_model::cluster::EnvValue;

/// The value that a container sees, where it can be told: a reference to a variable before it whose value is known is
/// replaced, `$$` stands for `$`, and any other reference is somebody's who is not asked (a field of the pod, a Service's
/// variable, a Secret).
pub(crate) fn expanded(text: &str, before: &BTreeMap<String, EnvValue>) -> EnvValue {
    let (mut said, mut left) = (String::new(), text);
    while let Some((plain, from)) = left.split_once('$') {
        said.push_str(plain);
        left = if let Some(after) = from.strip_prefix('$') {
            said.push('$');
            after
        } else if let Some((name, after)) = from.strip_prefix('(').and_then(|name| name.split_once(')')) {
            let Some(value) = before.get(name).and_then(EnvValue::known) else {
                return EnvValue::Other(text.to_owned());
            };
            said.push_str(value);
            after
        } else {
            said.push('$');
            from
        };
    }
    said.push_str(left);
    EnvValue::Literal(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_what_stands_before_is_put_in_and_all_else_is_not_known() {
        let before = BTreeMap::from([
            ("DC".to_owned(), EnvValue::Literal("east".to_owned())),
            ("ZONE".to_owned(), EnvValue::Other("a field".to_owned())),
        ]);
        for (text, seen) in [
            ("plain", "plain"),
            ("$(DC)", "east"),
            ("a-$(DC)-$(DC)", "a-east-east"),
            ("$$(DC)", "$(DC)"),
            ("$$$(DC)", "$east"),
            ("$DC", "$DC"),
            ("$(DC", "$(DC"),
            ("100$", "100$"),
            ("", ""),
        ] {
            assert_eq!(expanded(text, &before), EnvValue::Literal(seen.to_owned()), "{text}");
        }
        for text in ["$(ZONE)", "rack-$(ZONE)", "$(DC)$(NONE)"] {
            assert_eq!(expanded(text, &before), EnvValue::Other(text.to_owned()), "{text}");
        }
    }
}
