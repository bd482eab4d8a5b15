//! Describe filters.

use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};
use rehome_model::cloud::Tags;

/// Values a filter takes in one call (EC2 API reference, "Filter": at most 200 values).
pub(crate) const IDS_PER_CALL: usize = 200;
/// Objects a page, where EC2 lets us choose (5 to 1,000). An unpaged describe has a smaller token bucket.
pub(crate) const PAGE: i32 = 500;

/// One filter per tag: all must match.
pub(crate) fn tag_filters(tags: &Tags) -> Vec<Filter> {
    tags.iter().map(|(key, value)| filter(&format!("tag:{key}"), [escape(value)])).collect()
}

/// A filter for ids, which are no patterns.
pub(crate) fn id_filter<T: ToString>(name: &str, ids: &[T]) -> Filter {
    filter(name, ids.iter().map(|id| escape(&id.to_string())))
}

/// A filter that any of the values matches.
pub(crate) fn filter(name: &str, values: impl IntoIterator<Item = String>) -> Filter {
    Filter::builder().name(name).set_values(Some(values.into_iter().collect())).build()
}

/// Whether an object really carries the tags: filters are patterns, tags are not.
pub(crate) fn carries(found: &Tags, wanted: &Tags) -> bool {
    wanted.iter().all(|(key, value)| found.get(key) == Some(value))
}

/// Tags set with a creation. None at all if there are none: EC2 refuses an empty specification.
pub(crate) fn tag_specifications(resource: ResourceType, tags: &Tags) -> Option<Vec<TagSpecification>> {
    let specification = TagSpecification::builder().resource_type(resource).set_tags(Some(to_tags(tags))).build();
    (!tags.is_empty()).then(|| vec![specification])
}

pub(crate) fn to_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

/// `*` and `?` in a filter match more than themselves unless escaped (EC2 user guide, "Filtering using the CLI").
fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for character in value.chars() {
        if matches!(character, '*' | '?' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_with_a_star_does_not_match_every_tag() {
        let filters = tag_filters(&Tags::from([("owner".to_owned(), "team-*?".to_owned())]));
        assert_eq!(filters[0].values(), ["team-\\*\\?"]);
    }

    #[test]
    fn an_id_with_a_star_does_not_match_every_id() {
        assert_eq!(id_filter("instance-id", &["i-*"]).values(), ["i-\\*"]);
    }

    #[test]
    fn all_wanted_tags_must_be_carried() {
        let of = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let found: Tags = of(&[("run", "r1"), ("step", "s1")]);
        assert!(carries(&found, &of(&[("run", "r1")])));
        assert!(!carries(&found, &of(&[("run", "r1"), ("step", "s2")])));
    }
}
